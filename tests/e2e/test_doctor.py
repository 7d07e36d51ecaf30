"""`spatial doctor`, as people and CI use it: exit codes, statements to paste, JSON, a running server."""

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from service.cli.doctor import doctor as command
from tests.ailing import run
from tests.conftest import NewDatabase
from tests.processes import spatial
from tests.proxy import proxied
from tests.servers import Served, serving

WELL = "0 errors, 0 warnings, 0 notes"


@pytest.fixture
def spoiled(new_database: NewDatabase) -> Iterator[str]:
    """A database with a warning and an error."""
    with new_database() as url:
        run(url, "CREATE INDEX again ON zones USING gist (centroid)", "DROP INDEX ix_districts_boundary_gist")
        yield url


def doctor(*options: str, **settings: str) -> Result:
    """Without a process of its own, which would take longer than what it does."""
    given = {f"SPATIAL_{name.upper()}": value for name, value in settings.items()}
    return CliRunner().invoke(command, options, env={"SPATIAL_DATABASE_URL": None, **given})


def statements(shown: str) -> list[str]:
    """What is to be pasted: lines that end so."""
    return [line.strip() for line in shown.splitlines() if line.endswith(";")]


def test_the_demo_is_well(demo_database: str) -> None:
    shown = spatial("doctor", "--thorough", database_url=demo_database)
    assert (shown.returncode, shown.stderr) == (0, "")
    *_, summary = shown.stdout.splitlines()
    assert summary == WELL
    assert "facilities: a small search took" in shown.stdout
    assert "through ix_facilities_location_gist" in shown.stdout


def test_the_worst_comes_first_and_pasting_what_is_printed_mends_it(spoiled: str) -> None:
    shown = doctor(database_url=spoiled)
    assert (shown.exit_code, shown.stderr) == (2, "")
    lines = shown.stdout.splitlines()
    assert [line.split() for line in lines if line.startswith(("ERROR", "WARNING"))] == [
        ["ERROR", "missing-index", "districts"],
        ["WARNING", "duplicate-index", "zone_centroids"],
    ]
    assert lines[-1] == "1 error, 1 warning, 0 notes"

    for statement, code in zip(statements(shown.stdout), (1, 0), strict=True):
        run(spoiled, statement)
        assert doctor(database_url=spoiled).exit_code == code


def test_a_layer_of_several(spoiled: str) -> None:
    for layers, code in ((["facilities", "parcels"], 0), (["zones"], 1), (["zones", "districts"], 2)):
        options = [option for layer in layers for option in ("--layer", layer)]
        assert doctor(*options, database_url=spoiled).exit_code == code


def test_json_for_programs(spoiled: str) -> None:
    shown = doctor("--json", database_url=spoiled)
    found = json.loads(shown.stdout)
    assert shown.exit_code == 2
    assert set(found) == {"findings", "versions", "settings", "pools", "timings"}
    worst, _ = found["findings"]
    assert worst["severity"] == "SEVERITY_ERROR"
    assert worst["statement"] == "CREATE INDEX CONCURRENTLY ON public.districts USING gist (boundary)"
    assert set(worst) == {"severity", "kind", "layer", "message", "statement"}


def test_a_running_server_is_asked_and_knows_its_pools(spoiled: str) -> None:
    with serving(spoiled) as served:
        shown = doctor("--target", served.address, "--json")
    assert shown.exit_code == 2
    found = json.loads(shown.stdout)
    assert {pool["name"] for pool in found["pools"]} == {"read", "bulk", "write", "control"}
    assert [finding["layer"] for finding in found["findings"]] == ["districts", "zone_centroids"]


def test_where_nothing_can_be_looked_at_it_says_why(demo_server: Served, demo_database: str) -> None:
    with proxied(demo_database, listening=False) as nobody:
        away = doctor(database_url=nobody.url)
        silent = doctor("--target", f"127.0.0.1:{nobody.port}")
    unknown = doctor("--layer", "rivers", database_url=demo_database)
    asked = doctor("--layer", "rivers", "--target", demo_server.address)
    for shown, complaint in (
        (away, str(nobody.port)),
        (silent, "UNAVAILABLE"),
        (unknown, "no layer is called 'rivers'"),
        (asked, "no layer is called 'rivers'"),
    ):
        assert (shown.exit_code, shown.stdout) == (3, "")
        assert complaint in shown.stderr
        assert "Traceback" not in shown.stderr


def test_without_a_database_it_says_what_to_set() -> None:
    shown = doctor()
    assert shown.exit_code == 3
    assert "SPATIAL_DATABASE_URL" in shown.stderr


def test_a_table_that_is_asked_for_and_cannot_be_served(spoiled: str) -> None:
    run(spoiled, "CREATE TABLE keyless (geom geometry(Point, 4326))", "CREATE INDEX ON keyless USING gist (geom)")
    shown = doctor("--json", database_url=spoiled, layers="keyless")
    (refused,) = [finding for finding in json.loads(shown.stdout)["findings"] if finding["kind"] == "not-served"]
    assert (refused["severity"], refused["details"]) == ("SEVERITY_WARNING", {"table": "public.keyless"})
    assert shown.exit_code == 1


def test_a_setting_that_cannot_be_read(spoiled: str) -> None:
    shown = doctor(database_url=spoiled, layers=" ")
    assert (shown.exit_code, "SPATIAL_LAYERS" in shown.stderr) == (3, True)
