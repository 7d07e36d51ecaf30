"""The wheel, installed as its users install it: what it brings, and what it does not need."""

import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable
from email.parser import Parser
from importlib.metadata import distribution, requires, version
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

from tests.conftest import NewDatabase
from tests.servers import Served

ROOT = Path(__file__).parents[2]
CLIENT_PROGRAM = """
from google.type import latlng_pb2
from spatial.v1 import query_pb2, query_pb2_grpc

request = query_pb2.SearchNearestRequest(limit=3)
request.query.layer = "facilities"
request.query.center.point.CopyFrom(latlng_pb2.LatLng(latitude=52.5, longitude=13.4))
again = query_pb2.SearchNearestRequest.FromString(request.SerializeToString())
assert again == request and again.query.center.point.longitude == 13.4
assert query_pb2_grpc.SpatialServiceStub
"""
ASKING_PROGRAM = """
import sys
from spatial_client import Feature, SpatialClient

with SpatialClient(sys.argv[1]) as client:
    (feature,) = client.search_nearest("facilities", (13.4, 52.5), 1)
    print(len(feature.wkb), sum(len(columns) for columns in client.stream_features("districts").columns()))
    for wanted in (lambda: feature.geometry, client.stream_features("districts").to_arrow):
        try:
            wanted()
        except ImportError as error:
            print(error)
"""


PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
INSTALLED = """
from importlib.metadata import distributions
print("\\n".join({each.name for each in distributions()}))
"""


class Environment:
    """A new virtual environment with nothing in it; pip works on it from outside."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder)
        self.programs = folder / "bin"
        (self.packages,) = folder.glob("lib/python*/site-packages")

    def run(self, program: str, *words: str | Path) -> str:
        """What the program printed; a failure of it is the test's, with all that it said."""
        return self._output(self.programs / program, *words)

    def pip(self, *words: str | Path) -> str:
        return self._output(*PIP, "--python", self.programs / "python", *words)

    def install(self, *words: str | Path) -> None:
        self.pip("install", "--quiet", "--no-index", *words)

    def link(self, names: Iterable[str]) -> None:
        """These distributions of ours, which are what the lock says: as if pip had got and unpacked them again."""
        for name in names:
            for file in distribution(name).files or ():
                if ".." not in file.parts:  # programs
                    path = self.packages / file
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.symlink_to(file.locate())

    def installed(self) -> set[str]:
        return {_canonical(name) for name in self.run("python", "-I", "-c", INSTALLED).splitlines()}

    def _output(self, *command: str | Path) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.programs)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], check=True, cwd=ROOT)
    (built,) = folder.glob("spatial_service-*.whl")
    return built


@pytest.fixture(scope="module")
def client(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What `pip install spatial-service` gives: the wheel and what it says it needs, and nothing else."""
    environment = Environment(tmp_path_factory.mktemp("client") / "venv")
    environment.link(_closure(_needs(wheel)))
    environment.install("--no-deps", wheel)
    return environment


@pytest.fixture(scope="module")
def server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What the container image installs: the server's lock, and then the wheel."""
    environment = Environment(tmp_path_factory.mktemp("server") / "venv")
    environment.link(entry.name for entry in _locked("requirements.lock"))
    # Without --no-deps: nothing that [server] asks for may be missing from the lock.
    environment.install(f"spatial-service[server] @ {wheel.as_uri()}")
    return environment


class Entry(NamedTuple):
    """What a lock says of a distribution."""

    name: str
    version: str
    hashes: frozenset[str]


def _locked(name: str) -> set[Entry]:
    """What a lock has for this Python."""
    entries = re.findall(r"^([a-z0-9][^\\\n]*)((?: *\\\n +--hash=\S+)+)", (ROOT / name).read_text(), flags=re.MULTILINE)
    read = [(Requirement(text), frozenset(re.findall(r"--hash=(\S+)", hashes))) for text, hashes in entries]
    return {
        Entry(_canonical(requirement.name), str(requirement.specifier), hashes)
        for requirement, hashes in read
        if _applies(requirement)
    }


def _needs(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    return _without_extras(metadata.get_all("Requires-Dist", []))


def _without_extras(lines: Iterable[str]) -> set[str]:
    wanted = [requirement for line in lines if _applies(requirement := Requirement(line))]
    return {_canonical(requirement.name) for requirement in wanted}


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def _closure(names: set[str]) -> set[str]:
    closure: set[str] = set()
    while new := names - closure:
        closure |= new
        names = set().union(*(_without_extras(requires(name) or []) for name in new))
    return closure


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def test_the_server_s_lock_is_part_of_the_one_that_is_installed_here() -> None:
    """So what is linked below is what pip gets by that lock, to the hash."""
    server = _locked("requirements.lock")
    assert server
    assert server <= _locked("requirements-dev.lock")
    for entry in server:
        assert entry.version == f"=={version(entry.name)}"


def test_the_server_s_lock_has_what_a_client_needs(wheel: Path) -> None:
    assert _closure(_needs(wheel)) <= {entry.name for entry in _locked("requirements.lock")}


def test_a_client_installs_nothing_but_grpc_and_protobuf(client: Environment) -> None:
    expected = {"grpcio", "protobuf", "googleapis-common-protos", "typing-extensions", "spatial-service"}
    assert client.installed() == expected
    client.pip("check")


def test_a_client_can_import_the_contract_and_exchange_messages(client: Environment) -> None:
    client.run("python", "-I", "-W", "error", "-c", CLIENT_PROGRAM)


def test_a_client_can_ask_and_is_told_which_extra_brings_more(client: Environment, demo_server: Served) -> None:
    asked, *told = client.run("python", "-I", "-W", "error", "-c", ASKING_PROGRAM, demo_server.address).splitlines()

    assert asked == "21 5"
    assert told == [
        "a geometry object needs shapely: pip install 'spatial-service[client]'",
        "to_arrow needs pyarrow: pip install 'spatial-service[client]'",
    ]


def test_the_command_tells_a_client_which_extra_it_lacks(client: Environment) -> None:
    done = subprocess.run([client.programs / "spatial", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "spatial-service[server]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_server_s_command_runs_from_the_wheel(server: Environment) -> None:
    commands = server.run("spatial", "--help")
    assert {"serve", "migrate", "query", "config"} <= set(commands.split())


def test_migrations_and_demo_data_come_with_the_wheel(server: Environment) -> None:
    program = (
        "import service.revisions as r, service.demo as d; print(r.__file__, r.head_revision(), d.find_directory())"
    )
    module, head, demo = server.run("python", "-I", "-c", program).split()
    assert "site-packages" in module
    assert head
    assert demo == str(Path(module).parent / "_demo")


def test_an_installed_server_migrates_and_loads_a_database(server: Environment, new_database: NewDatabase) -> None:
    program = (
        "import sys, service.migrations as m, service.demo as d; m.upgrade(sys.argv[1]); print(d.load(sys.argv[1]))"
    )
    with new_database(template="template1") as url:
        assert "facilities" in server.run("python", "-I", "-c", program, url)


@pytest.mark.parametrize(
    "unwanted", ["tests/", "benchmarks/", "k8s/", "alembic/", "generated/", "examples/", ".pyc", "conftest"]
)
def test_the_wheel_leaves_at_home_what_only_developers_need(wheel: Path, unwanted: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert [name for name in archive.namelist() if name.startswith(unwanted) or name.endswith(unwanted)] == []


def test_the_wheel_has_the_contract_with_its_stubs_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"spatial_client/__init__.py", "spatial_client/py.typed"} <= names
    assert {"spatial/v1/query_pb2.py", "spatial/v1/query_pb2.pyi", "spatial/v1/query_pb2_grpc.py"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
