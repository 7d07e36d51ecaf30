"""Every command in README.md and docs/ is run here, or stands below beside the test that runs it.

`console` blocks are sessions, page by page, whose output is compared; `sh` blocks are run for their exit code; `python`
blocks run in order and share what they define, page by page; `sql` is run by PostgreSQL, and taken back.
"""

import os
import re
import shlex
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import psycopg2
import pytest
from click.testing import CliRunner

from service import cli
from spatial.v1 import feature_pb2, query_pb2, query_pb2_grpc
from spatial_client import SpatialClient
from tests.clusters import DEMO
from tests.conftest import NewDatabase
from tests.consoles import Step, steps
from tests.documents import PAGES, blocks, commands, name
from tests.processes import ROOT, SPATIAL, environment, invoked
from tests.servers import Served, serving

# Pages whose sessions need a server of their own, and the test that has it.
ELSEWHERE = {
    "docs/quickstart.md": "tests/e2e/test_quickstart.py",
    "docs/loading.md": "tests/e2e/load/test_command.py",
}
# Commands that are not run here: what they begin with, and the test that runs them, or why none can.
NOT_HERE = {
    "make setup": "every run of the tests begins with it",
    "make tools": "every run of the tests begins with it",
    "make test": "is what runs this",
    "make run": "tests/e2e/test_serve.py",
    "make lint": ".ci/run",
    "make fix": "would change the very files that are being tested",
    "make proto": "tests/unit/test_contract.py",
    "make check-migrations": ".ci/run",
    "make test-crashes": "tests/faults/test_edit_crashes.py",
    "make test-soak": "tests/faults/test_soak.py",
    "make coverage": "runs what runs this",
    "make bench": "takes minutes, and the whole machine",
    "make fuzz": "tests/fuzz/test_rpcs.py",
    "SEED=1234 .venv/bin/pytest tests/fuzz": "tests/fuzz/test_rpcs.py",
    "docker ": "needs Docker, which no machine of ours has",
    "kubectl -n NAMESPACE apply -k k8s/alerts": "tests/unit/k8s/test_production.py",
    "kubectl apply -k": "tests/unit/k8s/test_production.py",
    "kubectl ": "needs a cluster, which no machine of ours has",
    "git clone ": "is how this got here",
    "cd spatial-service": "is where this is",
    "examples/go/generate": "tests/e2e/test_languages.py",
    "cd examples/go ": "tests/e2e/test_languages.py",
    "examples/node/generate": "tests/e2e/test_languages.py",
    "cd examples/node ": "tests/e2e/test_languages.py",
    "spatial serve": "tests/e2e/test_serve.py",
    "spatial health --address spatial.example": "tests/e2e/test_security.py",
    "spatial query nearest facilities --at 52.5,13.4 --target spatial.example": "tests/e2e/test_security.py",
    "openssl s_client": "needs a server in production, and its certificate",
    "pip install ": "tests/e2e/test_distribution.py",
    ".venv/bin/python k8s/dashboards/render.py": "tests/unit/test_dashboard.py",
}
SQL_ELSEWHERE = {"docs/deployment.md": "tests/integration/test_roles.py"}
PYTHON_ELSEWHERE = {"docs/quickstart.md": "tests/e2e/test_quickstart.py"}
SETTING = re.compile(r"(?:export )?(SPATIAL_\w+=.*)", re.DOTALL)
ANOTHER_MESSAGE = re.compile(
    r' {4}}\n  ]\n}\n{\n  "matches": \[\n'
)  # answers to probes, in as many as the moment has it
SHELL = re.compile(r"[|<>&;$`\n]")


class Command(NamedTuple):
    page: str
    text: str


class Demo(NamedTuple):
    """A server over the demo data, for the pages to change, and its database."""

    url: str
    served: Served


def scripts() -> list[Command]:
    """All that stands in `sh` blocks."""
    found = [(name(page), block) for page in PAGES for block in blocks(page) if block.language == "sh"]
    return [Command(page, text) for page, block in found for text in commands(block.text)]


def elsewhere(text: str) -> str | None:
    """Which test runs a command, by the longest beginning that fits."""
    beginnings = [beginning for beginning in NOT_HERE if f"{text} ".startswith(beginning)]
    return NOT_HERE[max(beginnings, key=len)] if beginnings else None


def sessions() -> dict[str, list[Step]]:
    typed = {name(page): steps(page.read_text()) for page in PAGES}
    return {page: found for page, found in typed.items() if found and page not in ELSEWHERE}


def snippets() -> dict[str, list[str]]:
    found = {name(page): [block.text for block in blocks(page) if block.language == "python"] for page in PAGES}
    return {page: texts for page, texts in found.items() if texts and page not in PYTHON_ELSEWHERE}


@pytest.fixture(scope="module")
def demo(new_database: NewDatabase) -> Iterator[Demo]:
    with new_database(template=DEMO) as url, serving(url) as served:
        yield Demo(url, served)


@pytest.fixture(scope="module")
def search_path(tool: Callable[[str], str]) -> str:
    programs = [str(SPATIAL.parent), *(str(Path(tool(each)).parent) for each in ("grpcurl", "promtool"))]
    return os.pathsep.join([*programs, os.environ["PATH"]])


@pytest.fixture
def session(search_path: str, demo: Demo, tmp_path: Path) -> Callable[[str], str]:
    """Types a command beside a server over the demo data, and says what is printed."""
    given = {"target": demo.served.address, "database_url": demo.url}
    addresses = {
        "localhost:9464": f"localhost:{demo.served.server.metrics_port}",
        "127.0.0.1:50051": demo.served.address,
        "/tmp/": f"{tmp_path}/",
    }

    def type_it(command: str) -> str:
        _, printed = _typed(_replaced(command, addresses), ROOT, search_path, **given)
        return ANOTHER_MESSAGE.sub("    },\n", printed.replace(demo.served.address, "127.0.0.1:50051"))

    return type_it


def _replaced(text: str, words: dict[str, str]) -> str:
    for word, other in words.items():
        text = text.replace(word, other)
    return text


def _typed(command: str, folder: Path, path: str, **settings: str) -> tuple[int, str]:
    """The exit code, and what was printed."""
    words = [] if SHELL.search(command) else shlex.split(command)
    while words and (setting := re.fullmatch(r"SPATIAL_(\w+)=(.*)", words[0])):
        settings[setting[1].lower()] = setting[2]
        words.pop(0)
    if words[:1] == ["spatial"]:  # without the two seconds that a process takes to start
        ours = {variable: None for variable in os.environ if variable.startswith("SPATIAL_")}
        given = {f"SPATIAL_{setting.upper()}": value for setting, value in settings.items()}
        ran = CliRunner().invoke(cli.spatial, words[1:], env={**ours, **given}, prog_name="spatial")
        return ran.exit_code, ran.output
    ended = subprocess.run(
        ["bash", "-c", command],
        env=environment(**settings) | {"PATH": path},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return ended.returncode, ended.stdout


@pytest.mark.parametrize("page", sessions())
def test_a_session_prints_what_the_page_shows(page: str, session: Callable[[str], str]) -> None:
    for step in sessions()[page]:
        if not elsewhere(step.command):
            shown = session(step.command)
            assert step.is_answered_by(shown), f"{step.command}\nprinted instead:\n{shown}"


HERE = [command for command in scripts() if not SETTING.fullmatch(command.text) and not elsewhere(command.text)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where commands of scripts are typed, one after the other."""
    folder = tmp_path_factory.mktemp("scripts")
    for link in (".venv", ".local", "k8s", "demo"):
        (folder / link).symlink_to(ROOT / link)
    return folder


@pytest.fixture(scope="module")
def plain_database(module_database: str) -> Iterator[str]:
    """Migrated, with the role that the pages call the service's own."""
    with closing(psycopg2.connect(module_database)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("CREATE ROLE the_service")
        yield module_database
        cursor.execute("DROP OWNED BY the_service; DROP ROLE the_service")


def test_what_the_scripts_say_succeeds(search_path: str, folder: Path, plain_database: str, demo: Demo) -> None:
    for page, text in HERE:
        words = {"ADDRESS": demo.served.address, " LAYER": " facilities"}
        code, printed = _typed(_replaced(text, words), folder, search_path, database_url=plain_database)
        assert code == 0, f"{page}: {text}\nprinted:\n{printed}"


@pytest.mark.parametrize(
    "command", [command for command in scripts() if SETTING.fullmatch(command.text)], ids=lambda command: command.page
)
def test_settings_in_a_script_are_such_that_a_server_would_take_them(command: Command) -> None:
    found = SETTING.fullmatch(command.text)
    assert found
    given, words = {}, shlex.split(found[1])
    while words and "=" in words[0]:
        variable, _, value = words.pop(0).partition("=")
        given[variable.removeprefix("SPATIAL_").lower()] = value.replace("…", "secret")
    assert words in ([], ["spatial", "serve"])
    ended = invoked("config", **given)
    assert ended.returncode == 0, ended.stderr
    assert {f"* SPATIAL_{setting.upper()}" for setting in given} <= {
        line.partition("=")[0] for line in ended.stdout.splitlines()
    }


@pytest.mark.parametrize("page", snippets())
def test_snippets_of_python_run(page: str, demo: Demo, tmp_path: Path) -> None:
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("error")
        client = stack.enter_context(SpatialClient(demo.served.address))
        given = _what_a_reader_has(page, demo, client, stack)
        for text in snippets()[page]:
            if "revision = " not in text:  # tests/integration/test_migrations.py runs that
                given["client"] = client
                ours = _replaced(text, {"127.0.0.1:50051": demo.served.address, "/tmp/": f"{tmp_path}/"})
                exec(compile(ours, page, "exec"), given)


def _what_a_reader_has(page: str, demo: Demo, client: SpatialClient, stack: ExitStack) -> dict[str, Any]:
    """What a page takes for granted: the names that its snippets use and do not define."""
    if page == "docs/bulk.md":
        request = query_pb2.StreamFeaturesRequest(layout=feature_pb2.BATCH_LAYOUT_ARROW)
        request.query.layer = "districts"
        channel = stack.enter_context(grpc.insecure_channel(demo.served.address))
        return {"stub": query_pb2_grpc.SpatialServiceStub(channel), "request": request}
    if page == "docs/writing.md":
        zones = client.stream_features("zones", properties=["code", "name", "category"]).to_geopandas()
        frame = zones.drop(columns="id")
        return {"frame": frame, "read": lambda: frame, "rows": [(-141.0, -30.0, "Buoy", "buoy")]}
    if page == "docs/schema.md":
        return _mapped(demo, stack)
    return {}


def _mapped(demo: Demo, stack: ExitStack) -> dict[str, Any]:
    from shapely import Point
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    from service.models import Facility

    engine = create_engine(demo.url.replace("postgresql://", "postgresql+psycopg2://"))
    stack.callback(engine.dispose)
    return {"session": stack.enter_context(Session(engine)), "facility": Facility(), "point": Point(1, 2)}


def queries() -> dict[str, str]:
    found = [(name(page), block) for page in PAGES for block in blocks(page) if block.language == "sql"]
    return {f"{page}:{block.line}": block.text for page, block in found if page not in SQL_ELSEWHERE}


@pytest.mark.parametrize("place", queries())
def test_sql_is_understood_by_postgresql(place: str, module_database: str) -> None:
    with closing(psycopg2.connect(module_database)) as connection, connection.cursor() as cursor:
        cursor.execute(queries()[place])
        connection.rollback()


def test_every_test_that_is_named_here_exists_and_every_beginning_stands_on_a_page() -> None:
    named = [*ELSEWHERE.values(), *NOT_HERE.values(), *SQL_ELSEWHERE.values(), *PYTHON_ELSEWHERE.values()]
    assert [path for path in named if path.startswith(("tests/", ".ci/")) and not (ROOT / path).exists()] == []
    typed = [text for _, text in scripts()] + [step.command for found in sessions().values() for step in found]
    assert [each for each in NOT_HERE if not any(f"{text} ".startswith(each) for text in typed)] == []
