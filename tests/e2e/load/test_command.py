"""`spatial load` as it is typed: progress, interrupts, what it refuses to do, and its page in the documents."""

import os
import pty
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from service.catalog import Catalog, shipped_layers
from service.cli.load import load as spatial_load
from service.loading.made import MadeTable
from tests.conftest import ROOT
from tests.consoles import steps
from tests.loading import FAILED, run, write
from tests.processes import SPATIAL, environment, spatial
from tests.situations import eventually, fetch


def test_a_load_that_is_interrupted_leaves_no_new_table(plain: str, tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    path.write_text("lon,lat,n\n" + "".join(f"{n % 180},{n % 90},{n}\n" for n in range(300_000)))
    command = [str(SPATIAL), "load", str(path), "--layer", "many", "--create"]
    with subprocess.Popen(command, env=environment(database_url=plain), stderr=subprocess.PIPE) as process:
        eventually(lambda: fetch(plain, "SELECT to_regclass('many')") == [("many",)], within=120)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode != 0
    assert fetch(plain, "SELECT to_regclass('many')") == [(None,)]


@pytest.mark.parametrize("step", ["create", "finish"])
def test_a_load_that_is_interrupted_right_after_a_step_leaves_no_new_table(
    step: str, plain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "one.csv"
    path.write_text("lon,lat\n1,2\n")
    taken = getattr(MadeTable, step)

    def interrupted(made: MadeTable, engine: Engine) -> None:
        taken(made, engine)
        assert fetch(plain, "SELECT to_regclass('one')") == [("one",)]
        raise KeyboardInterrupt

    monkeypatch.setattr(MadeTable, step, interrupted)
    assert run(plain, str(path), "--layer", "one", "--create").returncode != 0
    assert fetch(plain, "SELECT to_regclass('one')") == [(None,)]


def test_a_terminal_sees_how_far_it_is(plain: str, tmp_path: Path, parcels: Any) -> None:
    path = write(tmp_path, "parcels.gpkg", parcels)
    ours, theirs = pty.openpty()
    command = [str(SPATIAL), "load", str(path), "--layer", "land", "--create"]
    with subprocess.Popen(
        command, env=environment(database_url=plain), stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        assert process.wait(timeout=60) == 0
    os.close(ours)
    assert b"100%" in shown
    assert b"353 of 353 rows" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # nobody writes to it any more
        return b""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere.gpkg", "--layer", "zones"], "Error: there is no file nowhere.gpkg"),
        (
            ["FILE", "--layer", "nothing"],
            "'nothing' cannot be loaded into: there is no such table or view with a geometry column; --create makes a",
        ),
        (["FILE", "--layer", "zone_centroids"], "takes no rows"),
        (["FILE", "--layer", "zones", "--create"], 'the table cannot be made: relation "zones" already exists'),
        (["FILE", "--layer", "a.b.c", "--create"], "neither a table nor schema.table"),
        (["FILE", "--layer", "zones", "--map", "name"], "say source=property"),
        (["FILE", "--layer", "zones", "--match", "code"], "--match goes with --mode upsert"),
        (["FILE", "--layer", "zones", "--embedded", "x", "--target", "y"], "--embedded is a database"),
        (["FILE", "--layer", "zones", "--srid", "4326"], "--srid goes with --create"),
        (["FILE", "--layer", "new", "--create", "--mode", "upsert"], "there is nothing to upsert"),
    ],
)
def test_a_load_that_cannot_be_fails_and_says_why(
    module_database: str, wrong: Path, arguments: list[str], complaint: str
) -> None:
    named = [str(wrong) if argument == "FILE" else argument for argument in arguments]
    ended = run(module_database, *named)

    assert (ended.returncode, ended.stdout) == (FAILED, "")
    assert complaint in ended.stderr


def test_a_database_that_is_away_is_said(wrong: Path) -> None:
    away = "postgresql://nobody@127.0.0.1:1/nothing"
    ended = spatial("load", str(wrong), "--layer", "zones", database_url=away)

    assert ended.returncode == FAILED
    assert "Error: the database: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_layers_that_ship_are_those_that_can_be_loaded_into() -> None:
    assert [layer.name for layer in Catalog(shipped_layers()) if not layer.writable] == ["zone_centroids"]


def test_the_document_shows_what_happens(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    monkeypatch.chdir(tmp_path)
    for step in steps((ROOT / "docs/loading.md").read_text()):
        printed = typed(database, step.command)
        assert step.is_answered_by(printed), f"{step.command}\nprinted instead:\n{printed}"


def typed(url: str, command: str) -> str:
    """What a shell prints; `spatial load` without the start of a process."""
    program, *words = shlex.split(command)
    if (program, words[0]) == ("spatial", "load"):
        return CliRunner().invoke(spatial_load, words[1:], env={"SPATIAL_DATABASE_URL": url}).output
    ended = subprocess.run(
        ["bash", "-c", command],
        env=environment(database_url=url),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.stdout
