"""Who the service is compared with: what they are asked, what they are built from, and what their CPU is counted as."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import NormalDist
from types import ModuleType

import pytest

from benchmarks import environments, http_peers, pages, peers, questions, report_plots, report_tables, results
from benchmarks.asking import disagreement
from benchmarks.contest import ALL, ONE, PEERS, Key, Point, Row, Rows, typical
from benchmarks.dataset import LIMIT, Centre, centres
from benchmarks.figures import Figure
from benchmarks.ghz import parse_ghz
from benchmarks.growth_data import SIZES, Size
from benchmarks.growth_searches import Subject
from benchmarks.load import Exchange
from benchmarks.programs import MissingProgramError
from benchmarks.questions import BOX, CIRCLE, PAGES, USUAL, Ids, Question
from benchmarks.results import Result
from benchmarks.usage import cpu_seconds
from spatial.v1 import query_pb2

BENCHMARKS = Path(environments.__file__).parent
PLACE = Centre(10.0, 50.0)


# --- what is asked --------------------------------------------------------------------------------------------------


def test_what_is_asked_for_is_the_usual_by_callers_and_pages_of_every_size() -> None:
    assert [point.title for point in peers.POINTS] == ["1 caller", "16 callers", "64 callers"]
    assert [point.title for point in pages.POINTS] == [
        *(f"{page} features, 16 callers" for page in ("1", "100", "1,000")),
        "10,000 features, 4 callers",
    ]


def test_a_page_is_the_same_in_sql_and_as_a_message() -> None:
    request = PAGES[2].request(PLACE)
    assert isinstance(request, query_pb2.SearchRadiusRequest)
    assert request.page_size == 1000
    statement = PAGES[2].statement(PLACE)
    assert f"{request.query.radius_meters})" in statement
    assert statement.endswith("ORDER BY distance, id LIMIT 1000")


def test_the_usual_question_is_that_of_the_unary_suite_but_for_the_page() -> None:
    assert USUAL.statement(PLACE).replace(f"LIMIT {LIMIT - 1}", f"LIMIT {LIMIT}") == PLACE.statement


def test_more_than_a_page_is_a_stream_and_comes_in_no_order() -> None:
    assert isinstance(PAGES[3].request(PLACE), query_pb2.StreamRadiusRequest)
    assert PAGES[3].method.endswith("/StreamRadius")
    assert "ORDER BY" not in PAGES[3].statement(PLACE)


def test_a_box_is_the_same_in_sql_and_as_a_message() -> None:
    asked = USUAL.within(BOX)
    request = asked.request(PLACE)
    assert isinstance(request, query_pb2.SearchIntersectsRequest)
    box = request.query.probe.bbox
    assert f"ST_MakeEnvelope({box.west}, {box.south}, {box.east}, {box.north}, 4326)" in asked.statement(PLACE)
    assert asked.statement(PLACE).endswith(f"ORDER BY id LIMIT {request.page_size}")
    assert asked.method.endswith("/SearchIntersects")
    assert PAGES[3].within(BOX).method.endswith("/StreamIntersects")


def test_peers_are_told_the_same_box_and_the_same_circle() -> None:
    path = http_peers._asking("/table", "/function", ("id", "name"), {"f": "json"})
    west, south, east, north = USUAL.box(PLACE)
    box = f"bbox={west:.7f},{south:.7f},{east:.7f},{north:.7f}"
    assert path(USUAL.within(BOX), PLACE) == f"/table?{box}&properties=id,name&limit=100&f=json"
    circle = f"lon=10.000000&lat=50.000000&radius={USUAL.radius_meters}&properties=id,name,distance"
    assert path(USUAL, PLACE) == f"/function?{circle}&limit=100&sortby=distance&f=json"
    assert "sortby" not in path(PAGES[3], PLACE)


EVERYTHING = [4, 2, 9, 7]


@pytest.mark.parametrize(
    ("area", "limit", "found", "right"),
    [
        pytest.param(CIRCLE, 100, [4, 2, 9, 7], True, id="all, the nearest first"),
        pytest.param(CIRCLE, 100, [2, 4, 9, 7], False, id="in another order"),
        pytest.param(CIRCLE, 2, [4, 2], True, id="the nearest"),
        pytest.param(CIRCLE, 2, [4, 9], False, id="others than the nearest"),
        pytest.param(CIRCLE, 12_000, [7, 9, 4, 2], True, id="a stream in any order"),
        pytest.param(CIRCLE, 12_000, [7, 9, 4], False, id="a stream that lacks one"),
        pytest.param(BOX, 100, [9, 7, 4, 2], True, id="a box in any order"),
        pytest.param(BOX, 2, [9, 2], True, id="whichever of a box"),
        pytest.param(BOX, 2, [9], False, id="too few of a box"),
        pytest.param(BOX, 100, [9, 7, 4, 4], False, id="one twice"),
        pytest.param(BOX, 100, [9, 7, 4, 5], False, id="one from outside"),
    ],
)
def test_an_answer_is_compared_with_what_the_database_has(area: str, limit: int, found: Ids, *, right: bool) -> None:
    assert (disagreement(Question("x", 1.0, limit, area=area), found, EVERYTHING) is None) == right


def test_pygeoapi_takes_from_the_environment_what_it_is_given() -> None:
    wanted = set(re.findall(r"\$\{(\w+)\}", (BENCHMARKS / "pygeoapi.yml").read_text()))
    given = set(re.findall(r'"(PEER_\w+)":', (BENCHMARKS / "http_peers.py").read_text()))
    assert wanted == given
    assert len(wanted) == 7


@pytest.mark.parametrize("question", [USUAL, *PAGES], ids=lambda question: question.name)
def test_the_circle_and_the_box_are_as_large_as_each_other(question: Question) -> None:
    assert 3.1416 * question.radius_meters**2 == pytest.approx(4 * question.half_side_meters**2, rel=0.03)


@pytest.mark.parametrize("question", PAGES[:3], ids=lambda question: question.name)
def test_a_circle_hardly_ever_holds_less_than_a_page(question: Question) -> None:
    features = questions.USUAL_FEATURES * question.spread**2
    assert NormalDist(features, features**0.5).cdf(question.limit - 0.5) < 0.005


def test_the_places_lie_so_far_inside_that_the_largest_circle_does() -> None:
    for place in centres(margin=1.2):
        west, south, east, north = place.box_of(PAGES[3].radius_meters)
        assert west > 5 and east < 15 and south > 45 and north < 55  # noqa: PT018


# --- what is compared -----------------------------------------------------------------------------------------------


def contested(points: Sequence[Point]) -> Rows:
    """As if everybody had been measured; whoever is listed later is slower."""
    circles = ("pgbench", ONE, ALL, "pg_featureserv", "TiPg")
    listed = [(name, CIRCLE) for name in circles]
    listed += [(name, BOX) for name in ("pgbench", ALL, "pg_featureserv", "TiPg", "pygeoapi")]
    rows = {}
    for point in points:
        for place, (name, area) in enumerate(listed, 1):
            generator = {"pgbench": "pgbench", ONE: "h2load", ALL: "h2load"}.get(name, "wrk")
            measured = (1000.0 / place, 1.0, float(place), 0.1, 0.2, 0.3, 100.0, 22.0)
            row = Row(name, area, generator, point.question.name, point.callers, *measured)
            rows[Key(name, area, generator, point)] = [row]
    return rows


def test_those_are_held_to_a_goal_who_answer_the_same() -> None:
    found = {figure.name: figure for figure in peers.figures(peers.POINTS, contested(peers.POINTS))}
    against = {name.removeprefix("peers 16 callers, "): each for name, each in found.items() if "16 callers" in name}
    assert {name: each.goal for name, each in against.items() if each.goal != "none"} == {
        f"circle: {ONE} / pgbench": "0.75",
        f"circle: {ALL} / pgbench": "0.75",
        **{f"{area}: {ALL} / {peer}": "> 1" for area, names in PEERS.items() for peer in names},
        **{f"99 %, {area}: {ALL} / {peer}": "< 1" for area, names in PEERS.items() for peer in names},
    }
    assert against[f"circle: {ALL} / pg_featureserv"].ratio == pytest.approx(4 / 3)
    assert against[f"99 %, circle: {ALL} / TiPg"].ratio == pytest.approx(3 / 5)
    assert against[f"{ALL}, circle / pygeoapi, box"].goal == "none"


TABLES = {"peers": ("peers callers", "peers cost"), "pages": ("pages sizes",)}


@pytest.mark.parametrize("suite", [peers, pages], ids=["peers", "pages"])
def test_results_of_a_contest_make_every_table_and_plot(
    suite: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    name, rows = suite.__name__.rpartition(".")[2], contested(suite.POINTS)
    printed = "\n".join(map(str, suite.figures(suite.POINTS, rows)))
    Result.of(name, printed, {"rows": [asdict(typical(each)) for each in rows.values()]}).write()

    tables = [draw() for table, draw in report_tables.TABLES.items() if table in TABLES[name]]
    plots = [draw() for plot, draw in report_plots.PLOTS.items() if plot.split("-")[0] == name]
    assert len(tables) == len(TABLES[name])
    assert plots
    for text in tables:
        assert len([line for line in text.splitlines() if line.startswith("| pg_featureserv | ")]) == 2
        assert len([line for line in text.splitlines() if line.startswith("| pygeoapi | ")]) == 1


def test_where_a_peer_is_ahead_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    slower = Figure("pages 100 features, 16 callers, box: ours / pg_featureserv", 0.5, "> 1", "")
    faster = Figure("pages 1 features, 16 callers, box: ours / pg_featureserv", 1.5, "> 1", "")
    across = Figure("pages 100 features, 16 callers, ours, circle / pg_featureserv, box", 0.2, "none", "")
    for figures, told in (
        ([across], "Nobody was measured yet where both answer the same."),
        ([faster, across], "No peer is ahead of the service where both answer the same."),
        ([slower, faster, across], "- 100 features, 16 callers, box: ours / pg_featureserv: 0.50"),
    ):
        Result.of("pages", "\n".join(map(str, figures)), {}).write()
        assert report_tables.ahead().splitlines()[-1] == told


# --- what the tables of growing size are ----------------------------------------------------------------------------


def test_tables_have_ten_thousand_a_million_and_ten_million_rows() -> None:
    assert [(size.rows, size.table) for size in SIZES] == [
        (10_000, "growth_10k"),
        (1_000_000, "growth_1m"),
        (10_000_000, "growth_10m"),
    ]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_points_depend_on_nothing_but_their_number(size: Size) -> None:
    assert f"generate_series(1::bigint, {size.rows})" in size.steps["rows"]
    assert "random" not in size.steps["rows"]


def subject(callers: int) -> Subject:
    exchanges = [Exchange(bytes([place]), 1) for place in range(16)]
    return Subject(USUAL, callers, rows=10_000, features=22.0, exchanges=exchanges, statements=[], seconds=1.0)


def test_one_caller_asks_about_poor_places_and_rich_ones_in_turn() -> None:
    asked = [exchange.request[0] for number in range(8) for exchange in subject(callers=1).sent(number, rounds=8)]
    assert asked == [1, 3, 5, 7, 9, 11, 13, 15]
    assert [exchange.request[0] for exchange in subject(callers=1).sent(0, rounds=1)] == [8]


def test_many_callers_ask_about_all_places() -> None:
    asked = [exchange.request[0] for exchange in subject(callers=64).sent(0, rounds=3)]
    assert sorted(asked) == sorted(4 * list(range(16)))


# --- what they are built from ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tipg", "pygeoapi"])
def test_peers_in_python_are_pinned_with_hashes_and_to_no_index(name: str) -> None:
    lock = (BENCHMARKS / f"requirements-{name}.lock").read_text()
    packages = re.findall(r"^[\w.\[\]-]+==\S+.*\\\n    --hash=sha256:", lock, flags=re.MULTILINE)
    assert len(packages) == len(re.findall(r"^[a-z]", lock, flags=re.MULTILINE)) > 20
    assert re.findall(r"^--|https?://", lock, flags=re.MULTILINE) == []
    assert re.fullmatch(r"\d+\.\d+\.\d+", environments.python_package(name, name))


@pytest.mark.parametrize("name", ["ghz", "pg_featureserv"])
def test_programs_in_go_are_pinned_with_hashes(name: str) -> None:
    version = environments.go_version(name)
    assert re.fullmatch(r"v\d+\.\d+\.\d+", version)
    sums = (BENCHMARKS / "go" / name / "go.sum").read_text().lower().replace("!", "")
    assert re.search(rf"^github.com/\w+/{name} {re.escape(version)} h1:", sums, flags=re.MULTILINE)


def test_without_go_the_benchmarks_say_what_needs_it() -> None:
    assert str(MissingProgramError("go")) == (
        "go is missing; ghz and pg_featureserv are built with it: install Go 1.24 or newer"
    )


# --- what is counted ------------------------------------------------------------------------------------------------


GHZ = {
    "count": 120,
    "rps": 59.5,
    "statusCodeDistribution": {"OK": 120},
    "latencyDistribution": [{"percentage": 50, "latency": 1_500_000}, {"percentage": 99, "latency": 9_000_000}],
}


def test_rate_and_percentiles_of_ghz_are_read() -> None:
    load = parse_ghz(json.dumps(GHZ))
    assert (load.rate, load.answered, load.percentile(50), load.percentile(99)) == (59.5, 120, 1.5, 9.0)


def test_calls_that_failed_under_ghz_are_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="Unavailable"):
        parse_ghz(json.dumps(GHZ | {"statusCodeDistribution": {"OK": 119, "Unavailable": 1}}))


BURN = "import time\nwhile time.process_time() < 0.3: pass\n"


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(f"{BURN}print(flush=True); input()", id="its own"),
        pytest.param(
            f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}]); print(flush=True); input()",
            id="a child that has ended",
        ),
        pytest.param(
            f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN + 'print(flush=True); input()'!r}])",
            id="a child that still runs",
        ),
    ],
)
def test_cpu_is_that_of_a_process_and_of_all_below_it(program: str) -> None:
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        assert 0.25 < cpu_seconds(process.pid) < 3
        process.stdin.write(b"\n")
        process.stdin.close()


def test_a_process_that_is_gone_has_used_nothing_more() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert cpu_seconds(process.pid) == 0
    assert cpu_seconds(os.getpid()) > 0
