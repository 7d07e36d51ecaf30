"""The `spatial` command, as people and containers use it."""

import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager

import click
import psycopg2
import pytest

from service import cli, revisions
from service.settings import Settings
from tests.conftest import NewDatabase
from tests.processes import invoked, spatial
from tests.proxy import proxied
from tests.servers import Served, serving

HELP = {
    (): "spatial migrate",
    ("serve",): "SIGTERM",
    ("migrate",): "--to",
    ("config",): "--explain",
    ("health",): "liveness",
    ("doctor",): "spatial doctor --json",
    ("export",): "spatial export zones zones.gpkg",
    ("query",): "spatial query radius --help",
    ("query", "radius"): "spatial query radius facilities --at",
    ("query", "nearest"): "spatial query nearest zones --at",
    ("query", "intersects"): "--predicate contains",
    ("explain",): "spatial explain radius facilities --at",
    ("explain", "radius"): "--feature LAYER/ID",
    ("explain", "nearest"): "--inside WKT",
    ("explain", "intersects"): "spatial explain intersects parcels --bbox",
    ("explain", "layer"): "spatial explain layer zones --bbox",
    ("explain", "join"): "spatial explain join districts facilities",
}
AT = ("--at", "40.7128,-74.006")


@pytest.mark.parametrize("command", HELP, ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_each_command_teaches_its_use(command: tuple[str, ...], option: str) -> None:
    shown = invoked(*command, option)
    assert shown.returncode == 0
    assert shown.stdout.startswith("Usage: ")
    assert HELP[command] in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 100


@pytest.mark.parametrize("command", [(), ("explain", "join")], ids=" ".join)
def test_a_process_teaches_it_too(command: tuple[str, ...]) -> None:
    shown = spatial(*command, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"Usage: {' '.join(['spatial', *command])} ")
    assert HELP[command] in shown.stdout


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    context = click.Context(cli.spatial)
    said = {name: cli.spatial.get_command(context, name) for name in cli.COMMANDS}
    assert {name: command and command.get_short_help_str(100) for name, command in said.items()} == cli.COMMANDS


def test_the_version_is_the_distributions() -> None:
    assert re.fullmatch(r"spatial, version \d+\.\d+\.\d+\n", invoked("--version").stdout)


def test_a_command_that_does_not_exist_is_a_usage_error() -> None:
    shown = invoked("fly")
    assert shown.returncode == 2
    assert "No such command 'fly'" in shown.stderr


def test_config_lists_every_setting_and_marks_what_the_environment_set() -> None:
    shown = spatial("config", pool_size="7")
    names = re.findall(r"^[*=] SPATIAL_(\w+)=", shown.stdout, re.MULTILINE)
    assert names == [name.upper() for name in Settings.model_fields]
    assert "* SPATIAL_POOL_SIZE=7\n" in shown.stdout
    assert "= SPATIAL_LANES=4\n" in shown.stdout


def test_config_explains_each_setting() -> None:
    lines = invoked("config", "--explain").stdout.splitlines()
    assert len(lines) == 2 * len(Settings.model_fields)
    assert all(len(explanation.strip()) > 20 for explanation in lines[1::2])


@pytest.mark.parametrize("password", ["secret", "p%40ss%2Fword"])
def test_config_masks_the_password_and_nothing_else(password: str) -> None:
    shown = invoked("config", database_url=f"postgresql://reader:{password}@db.example:5432/gis")
    assert "SPATIAL_DATABASE_URL=postgresql://reader:***@db.example:5432/gis\n" in shown.stdout
    assert password not in shown.stdout + shown.stderr


def test_config_masks_a_url_that_cannot_be_parsed_altogether() -> None:
    shown = invoked("config", database_url="reader:secret@db.example/gis")
    assert "secret" not in shown.stdout + shown.stderr
    assert "Traceback" not in shown.stderr


def test_migrate_brings_an_empty_database_to_the_newest_schema_and_then_has_nothing_to_do(
    new_database: NewDatabase,
) -> None:
    with new_database(template="template1") as url:
        for run in (spatial, invoked):
            shown = run("migrate", database_url=url)
            assert (shown.returncode, shown.stdout) == (0, f"The schema is at {revisions.head_revision()}.\n")
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT version_num FROM alembic_version")
            assert cursor.fetchone() == (revisions.head_revision(),)


def test_migrate_makes_the_ledger_alone_beside_tables_of_others(new_database: NewDatabase) -> None:
    with new_database(template="template1") as url:
        for _ in range(2):
            shown = invoked("migrate", "--ledger", database_url=url)
            assert (shown.returncode, shown.stdout) == (0, "The ledger is there.\n")
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'")
            assert {name for (name,) in cursor} == {"spatial_requests", "spatial_imports"}


def test_migrate_says_in_a_line_why_the_ledger_cannot_be_made(new_database: NewDatabase) -> None:
    with new_database(template="template1") as url:
        with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("CREATE VIEW spatial_requests AS SELECT 1 AS id")
        shown = invoked("migrate", "--ledger", database_url=url)
    assert shown.returncode == 1
    assert "spatial_requests" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_the_ledger_is_no_revision_to_migrate_to(filled: str) -> None:
    shown = invoked("migrate", "--ledger", "--to", "0001", database_url=filled)
    assert shown.returncode == 2
    assert "--to" in shown.stderr


def test_migrate_without_a_database_says_what_to_set() -> None:
    shown = invoked("migrate")
    assert shown.returncode == 1
    assert "SPATIAL_DATABASE_URL" in shown.stderr


def test_migrate_says_in_a_line_that_the_database_is_away(filled: str) -> None:
    with proxied(filled, listening=False) as proxy:
        shown = invoked("migrate", database_url=proxy.url)
    assert shown.returncode == 1
    assert "Traceback" not in shown.stderr
    assert str(proxy.port) in shown.stderr


def test_migrate_names_a_revision_that_does_not_exist(filled: str) -> None:
    shown = invoked("migrate", "--to", "nowhere", database_url=filled)
    assert shown.returncode == 1
    assert "nowhere" in shown.stderr
    assert "Traceback" not in shown.stderr


QUERIES = {
    "radius": ("radius", "facilities", *AT, "--radius", "3000"),
    "nearest": ("nearest", "facilities", *AT),
    "intersects": ("intersects", "districts", *AT),
    "intersects a box": ("intersects", "parcels", "--bbox", "-74.02,40.70,-73.99,40.72"),
    "intersects a WKT": ("intersects", "districts", "--wkt", "POINT (-74.006 40.7128)", "--predicate", "contains"),
}


@pytest.mark.parametrize("arguments", QUERIES.values(), ids=QUERIES)
def test_a_query_as_a_table(demo_server: Served, arguments: tuple[str, ...]) -> None:
    shown = invoked("query", *arguments, "--target", demo_server.address, "--property", "name")
    assert (shown.returncode, shown.stderr) == (0, "")
    header, *rows = shown.stdout.splitlines()
    distance = ["distance_meters"] if arguments[0] != "intersects" else []
    assert header.split() == ["id", "name", *distance, "geometry"]
    assert rows
    column = header.index("name")
    for row in rows:
        assert int(row.split()[0]) > 0
        assert row[column - 1] == " "
        assert row[column] != " "


@pytest.mark.parametrize("arguments", QUERIES.values(), ids=QUERIES)
def test_a_query_as_geojson(demo_server: Served, arguments: tuple[str, ...]) -> None:
    shown = invoked("query", *arguments, "--target", demo_server.address, "--format", "geojson", "--limit", "3")
    collection = json.loads(shown.stdout)
    assert collection["type"] == "FeatureCollection"
    assert 1 <= len(collection["features"]) <= 3
    for feature in collection["features"]:
        assert set(feature) == {"type", "id", "geometry", "properties"}
        assert feature["type"] == "Feature"
        assert set(feature["geometry"]) == {"type", "coordinates"}
        assert ("distance_meters" in feature["properties"]) == (arguments[0] != "intersects")


def test_a_query_that_finds_nothing_says_so_in_both_forms(demo_server: Served) -> None:
    middle_of_the_ocean = ("query", "radius", "facilities", "--at", "-48,-123", "--radius", "10")
    table = invoked(*middle_of_the_ocean, "--target", demo_server.address)
    assert (table.returncode, table.stderr) == (0, "")
    collection = invoked(*middle_of_the_ocean, "--target", demo_server.address, "--format", "geojson")
    assert json.loads(collection.stdout)["features"] == []


def test_the_answer_of_a_query_is_the_services(demo_server: Served) -> None:
    shown = spatial("query", "intersects", "districts", *AT, "--property", "name", "--target", demo_server.address)
    assert "Manhattan" in shown.stdout
    assert "Brooklyn" not in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("radius", "rivers", *AT, "--radius", "1"), 1, "NOT_FOUND"),
        (("radius", "facilities", *AT, "--radius", "-1"), 1, "query.radius_meters"),
        (("radius", "facilities", "--at", "91,0", "--radius", "1"), 1, "query.center.point.latitude"),
        (("radius", "facilities", "--radius", "1"), 2, "exactly one of --at, --wkt, --bbox"),
        (("radius", "facilities", *AT, "--wkt", "POINT (0 0)", "--radius", "1"), 2, "exactly one of"),
        (("radius", "facilities", "--at", "here", "--radius", "1"), 2, "'here' is not 2 numbers"),
        (("radius", "facilities", *AT), 2, "--radius"),
        (("intersects", "zones", "--bbox", "1,2,3"), 2, "'1,2,3' is not 4 numbers"),
        (("intersects", "zones", *AT, "--predicate", "near"), 2, "--predicate"),
    ],
)
def test_a_query_that_is_wrong_is_told_why(
    demo_server: Served, arguments: tuple[str, ...], code: int, complaint: str
) -> None:
    shown = invoked("query", *arguments, "--target", demo_server.address)
    assert shown.returncode == code
    assert complaint in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_query_to_nobody_is_told_so(filled: str) -> None:
    with proxied(filled, listening=False) as nobody:
        shown = invoked("query", "nearest", "facilities", *AT, "--target", f"127.0.0.1:{nobody.port}")
    assert shown.returncode == 1
    assert "UNAVAILABLE" in shown.stderr


@contextmanager
def unmigrated(new_database: NewDatabase) -> Iterator[Served]:
    with new_database(template="template1") as url, serving(url) as served:
        yield served


def test_health_of_a_server_that_is_ready_is_0(demo_server: Served) -> None:
    for run, service in ((spatial, ""), (invoked, "spatial.v1.SpatialService"), (invoked, "liveness")):
        shown = run("health", "--address", demo_server.address, "--service", service)
        assert (shown.returncode, shown.stdout) == (0, "SERVING\n")


def test_health_of_a_server_that_is_not_ready_is_1(new_database: NewDatabase) -> None:
    with unmigrated(new_database) as served:
        shown = invoked("health", "--address", served.address)
        assert (shown.returncode, shown.stdout) == (1, "NOT_SERVING\n")
        assert invoked("health", "--address", served.address, "--service", "liveness").returncode == 0


def test_health_finds_the_server_by_its_setting(demo_server: Served) -> None:
    assert invoked("health", listen=f"0.0.0.0:{demo_server.server.port}").returncode == 0
    assert invoked("health", listen=f"[::]:{demo_server.server.port}").returncode == 0


def test_health_of_nobody_is_2(filled: str) -> None:
    with proxied(filled, listening=False) as nobody:
        shown = invoked("health", "--address", f"127.0.0.1:{nobody.port}", "--timeout", "0.3")
    assert shown.returncode == 2
    assert str(nobody.port) in shown.stderr


def test_health_of_a_service_that_is_not_there_is_2(demo_server: Served) -> None:
    shown = invoked("health", "--address", demo_server.address, "--service", "spatial.v1.Nothing")
    assert shown.returncode == 2
    assert "NOT_FOUND" in shown.stderr


SQUARE = "POLYGON((-74.1 40.6, -73.9 40.6, -73.9 40.8, -74.1 40.8, -74.1 40.6))"
EXPLAINED = {
    ("radius", "facilities", *AT, "--radius", "2000"): "indexes: ix_facilities_location_gist",
    ("radius", "facilities", *AT, "--radius", "2000", "--stream"): "indexes: ix_facilities_location_gist",
    ("nearest", "facilities", *AT, "--within", "5000"): "indexes: ix_facilities_location_geography_gist",
    (
        "radius",
        "facilities",
        "--feature",
        "zones/77",
        "--radius",
        "1",
    ): "indexes: ix_facilities_location_geography_gist",
    ("nearest", "facilities", "--feature", "zones/77"): "indexes: ix_facilities_location_geography_gist",
    ("nearest", "facilities", *AT, "--inside", SQUARE): "indexes: ix_facilities_location_gist",
    ("intersects", "facilities", "--feature", "zones/77"): "indexes: ix_facilities_location_gist",
    ("intersects", "facilities", "--bbox", "-74.1,40.6,-73.9,40.8"): "indexes: ix_facilities_location_gist",
    ("layer", "facilities"): "read from end to end: public.facilities",
    ("layer", "facilities", "--bbox", "-74.1,40.6,-73.9,40.8"): "indexes: ix_facilities_location_gist",
    ("join", "zones", "facilities", "--predicate", "contains"): "indexes: ix_facilities_location_gist",
    ("join", "zones", "facilities", "--distance", "10"): "indexes: ix_facilities_location_geography_gist",
}


@pytest.mark.parametrize(("words", "line"), EXPLAINED.items(), ids=lambda words: " ".join(words))
def test_explain_prints_the_plan_and_what_it_uses(demo_server: Served, words: tuple[str, ...], line: str) -> None:
    shown = invoked("explain", *words, target=demo_server.address)

    assert shown.returncode == 0, shown.stderr
    assert "(cost=" in shown.stdout.splitlines()[0]
    assert "actual time" not in shown.stdout
    assert line in shown.stdout.splitlines()


def test_explain_asks_about_the_feature_that_it_is_given(demo_server: Served) -> None:
    words = ("intersects", "facilities", "--feature", "zones/77", "--analyze", "--json", "--stream")
    (plan,) = json.loads(invoked("explain", *words, target=demo_server.address).stdout)
    found = invoked("query", *words[:4], "--limit", "1000", target=demo_server.address).stdout.splitlines()[1:]
    assert plan["Plan"]["Actual Rows"] == len(found) > 10


@pytest.mark.parametrize(
    ("feature", "code", "complaint"),
    [
        (("--feature", "zones/0"), 1, "NOT_FOUND: query.radius.center.feature"),
        (("--feature", "rivers/1"), 1, "NOT_FOUND: query.radius.center.feature"),
        (("--feature", "zones/77", *AT), 2, "exactly one of --at, --wkt, --bbox, --feature"),
        ((), 2, "exactly one of --at, --wkt, --bbox, --feature"),
    ],
)
def test_explain_of_a_feature_that_is_wrong_is_told_why(
    demo_server: Served, feature: tuple[str, ...], code: int, complaint: str
) -> None:
    shown = invoked("explain", "radius", "facilities", *feature, "--radius", "1", target=demo_server.address)
    assert (shown.returncode, shown.stdout) == (code, "")
    assert complaint in shown.stderr


def test_explain_measures_if_asked_to(demo_server: Served) -> None:
    shown = spatial("explain", "nearest", "zones", *AT, "--analyze", target=demo_server.address)
    assert "actual time" in shown.stdout.splitlines()[0]


def test_explain_prints_json_alone(demo_server: Served) -> None:
    shown = invoked("explain", "layer", "zones", "--property", "name", "--json", target=demo_server.address)
    (plan,) = json.loads(shown.stdout)
    assert plan["Plan"]["Relation Name"] == "zones"


def test_explain_of_a_layer_that_is_not_there_fails(demo_server: Served) -> None:
    shown = invoked("explain", "layer", "rivers", target=demo_server.address)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr == "Error: NOT_FOUND: query.layer.layer: no layer is called 'rivers'\n"


def test_explain_says_what_would_be_refused(demo_database: str) -> None:
    with serving(demo_database, max_plan_cost=10) as served:
        shown = invoked("explain", "layer", "zones", target=served.address)
    (refused,) = [line for line in shown.stdout.splitlines() if line.startswith("refused: ")]
    assert "this server runs none above 10" in refused
