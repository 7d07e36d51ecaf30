"""The schema comes from the migrations alone: they match the models, and go up and down without a trace."""

import io
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import psycopg2
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, NullPool, create_engine, make_url, text

from service import migrations, revisions
from service.db import ledger
from service.db.engine import database_url
from service.models import Base

CHECKOUT = Path(__file__).parents[2]

CATALOGUE = CHECKOUT / "tests" / "data" / "catalogue.sql"
PROGRAMS = ("trigger", "function")
OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
INSERT = text("INSERT INTO facilities (name, kind, location) VALUES ('new', 'x', 'SRID=4326;POINT(0 0)')")
Catalogue = set[tuple[str, ...]]

MIGRATE = "import sys; from service.migrations import upgrade; upgrade(sys.argv[1])"
MIGRATE_WITH = """
import sys
from alembic import command, config
settings = config.Config()
settings.set_main_option("script_location", sys.argv[2])
settings.set_main_option("sqlalchemy.url", sys.argv[1].replace("%", "%%"))
command.upgrade(settings, "head")
"""


@contextmanager
def connect(
    url: str, isolation_level: Literal["READ COMMITTED", "AUTOCOMMIT"] = "READ COMMITTED"
) -> Iterator[Connection]:
    engine = create_engine(database_url(url), poolclass=NullPool, isolation_level=isolation_level)
    with engine.connect() as connection:
        yield connection


def catalogue(url: str) -> Catalogue:
    with connect(url) as connection:
        rows = connection.execute(text(CATALOGUE.read_text()))
        return {tuple(row) for row in rows if "alembic_version" not in "".join(row)}


def revision(url: str) -> str | None:
    with connect(url) as connection:
        return revisions.current_revision(connection)


@contextmanager
def migrating(url: str, scripts: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process of its own, as a pod is (Alembic's context is global to one), ended if it does not end."""
    arguments = [MIGRATE, url] if scripts is None else [MIGRATE_WITH, url, str(scripts)]
    with subprocess.Popen([sys.executable, "-c", *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


def wait_until(connection: Connection, count: str) -> None:
    deadline = time.monotonic() + 30
    while not connection.scalar(text(count)):
        assert time.monotonic() < deadline, f"never came true: {count}"
        time.sleep(0.05)


@pytest.fixture
def empty_database(new_database: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    """One that was never migrated."""
    with new_database(template="template1") as url:
        yield url


def test_the_models_ask_for_nothing_more(database: str) -> None:
    migrations.check(database)


def test_migrations_make_to_the_letter_what_the_models_say(database: str, empty_database: str) -> None:
    """Autogenerate overlooks checks, generated columns, and indexes' conditions and operator classes; this does not."""
    with connect(empty_database) as connection:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS postgis"))
        Base.metadata.create_all(connection)
        ledger.metadata.create_all(connection)
        connection.commit()

    migrated = {entry for entry in catalogue(database) if entry[0] not in PROGRAMS}

    assert migrated == catalogue(empty_database)
    kinds = Counter(kind for kind, *_ in migrated)
    assert (kinds["column"], kinds["index"], kinds["constraint"]) == (52, 28, 17)


def test_every_table_has_the_trigger_that_keeps_updated_at(database: str) -> None:
    triggers = {(table, name) for kind, table, name, _ in catalogue(database) if kind == "trigger"}

    assert triggers == {(table, f"{table}_touch_updated_at") for table in Base.metadata.tables}


def test_up_down_and_up_again_leaves_nothing_behind(empty_database: str) -> None:
    with connect(empty_database) as connection:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS postgis"))
        connection.commit()
    untouched = catalogue(empty_database)

    migrations.upgrade(empty_database)
    first = catalogue(empty_database)
    migrations.downgrade(empty_database, "base")
    assert catalogue(empty_database) == untouched
    assert revision(empty_database) is None

    migrations.upgrade(empty_database)
    assert catalogue(empty_database) == first


def test_going_down_leaves_the_extension_to_others(empty_database: str) -> None:
    migrations.upgrade(empty_database)
    with connect(empty_database) as connection:
        connection.execute(text("CREATE TABLE theirs (place geometry)"))
        connection.commit()

    migrations.downgrade(empty_database, "base")

    with connect(empty_database) as connection:
        assert connection.scalar(text("SELECT count(*) FROM theirs")) == 0


def test_a_database_knows_its_revision(empty_database: str) -> None:
    assert revision(empty_database) is None

    migrations.upgrade(empty_database)

    assert revision(empty_database) == revisions.head_revision()


def test_upgrading_what_is_at_head_changes_nothing(database: str) -> None:
    before = catalogue(database)

    migrations.upgrade(database)

    assert catalogue(database) == before


def test_the_sql_printed_offline_makes_the_same_schema(
    database: str, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPATIAL_DATABASE_URL", raising=False)
    script = io.StringIO()
    config = Config(output_buffer=script)
    config.set_main_option("script_location", str(CHECKOUT / "alembic"))

    command.upgrade(config, "head", sql=True)
    connection = psycopg2.connect(empty_database)
    try:
        connection.autocommit = True
        connection.cursor().execute(script.getvalue())
    finally:
        connection.close()

    assert catalogue(empty_database) == catalogue(database)
    assert revision(empty_database) == revisions.head_revision()


def test_the_command_reads_the_environment(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPATIAL_DATABASE_URL", empty_database)
    config = Config()
    config.set_main_option("script_location", str(CHECKOUT / "alembic"))

    command.upgrade(config, "head")

    assert revision(empty_database) == revisions.head_revision()


def test_no_database_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPATIAL_DATABASE_URL", raising=False)
    config = Config()
    config.set_main_option("script_location", str(CHECKOUT / "alembic"))

    with pytest.raises(SystemExit, match="SPATIAL_DATABASE_URL"):
        command.upgrade(config, "head")


def test_a_url_may_name_the_driver_and_carry_escapes(empty_database: str) -> None:
    url = make_url(empty_database).set(drivername="postgresql+psycopg2")
    escaped = url.update_query_dict({"application_name": "a % b"}).render_as_string(hide_password=False)
    assert "%" in escaped

    migrations.upgrade(escaped)

    assert revision(empty_database) == revisions.head_revision()


def test_several_processes_may_migrate_at_once(empty_database: str) -> None:
    with ExitStack() as processes:
        for process in [processes.enter_context(migrating(empty_database)) for _ in range(3)]:
            finished(process)

    assert revision(empty_database) == revisions.head_revision()


def test_who_waits_for_a_turn_does_not_hold_up_a_concurrent_index(database: str) -> None:
    with connect(database, "AUTOCOMMIT") as connection, ExitStack() as processes:
        migrations.wait_for_turn(connection)
        waiter = processes.enter_context(migrating(database))
        wait_until(connection, OTHERS)

        connection.execute(text("SET statement_timeout = '10s'"))
        connection.execute(text("CREATE INDEX CONCURRENTLY tried ON facilities (kind)"))
        assert waiter.poll() is None

        connection.execute(text("SELECT pg_advisory_unlock_all()"))
        finished(waiter)


@pytest.fixture
def scripts_with_recipe(tmp_path: Path) -> Path:
    """The migrations, and after them the one that docs/schema.md shows, under the next free number."""
    scripts = shutil.copytree(CHECKOUT / "alembic", tmp_path / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
    blocks = re.findall(r"```python\n(.*?)```", (CHECKOUT / "docs" / "schema.md").read_text(), re.DOTALL)
    (recipe,) = [block for block in blocks if "autocommit_block" in block]
    recipe = renumbered(recipe, "down_revision", revisions.head_revision())
    (scripts / "versions" / "recipe.py").write_text(renumbered(recipe, "revision", next_revision()))
    return scripts


def next_revision() -> str:
    return f"{int(revisions.head_revision()) + 1:04}"


def renumbered(recipe: str, name: str, revision: str) -> str:
    changed, times = re.subn(rf'^{name} = "\d+"$', f'{name} = "{revision}"', recipe, flags=re.MULTILINE)
    assert times == 1
    return changed


def test_the_documented_index_keeps_no_writer_out(database: str, scripts_with_recipe: Path) -> None:
    with ExitStack() as open_things:
        busy = open_things.enter_context(connect(database))
        other = open_things.enter_context(connect(database, "AUTOCOMMIT"))
        busy.execute(INSERT)  # not committed, so that the index has to wait for it
        process = open_things.enter_context(migrating(database, scripts_with_recipe))
        wait_until(other, "SELECT count(*) FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'")

        other.execute(text("SET lock_timeout = '1s'"))
        other.execute(INSERT)
        busy.commit()
        finished(process)

    assert is_valid(database, "ix_facilities_kind")
    assert revision(database) == next_revision()


def test_the_documented_index_is_built_anew_where_an_attempt_failed(database: str, scripts_with_recipe: Path) -> None:
    with connect(database) as connection:
        connection.execute(text("CREATE INDEX ix_facilities_kind ON facilities (kind)"))
        connection.execute(
            text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_facilities_kind'::regclass")
        )
        connection.commit()

    with migrating(database, scripts_with_recipe) as process:
        finished(process)

    assert is_valid(database, "ix_facilities_kind")


def is_valid(url: str, index: str) -> bool:
    with connect(url) as connection:
        statement = text("SELECT indisvalid FROM pg_index WHERE indexrelid = CAST(:index AS regclass)")
        return bool(connection.scalar(statement, {"index": index}))
