"""Who the service is compared with: what they are asked, what they are built from, and what their CPU is counted as."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist

import pytest

from benchmarks import environments, questions
from benchmarks.dataset import LIMIT, Centre, centres
from benchmarks.ghz import parse_ghz
from benchmarks.growth_data import SIZES, Size
from benchmarks.peers import CALLERS, POINTS
from benchmarks.programs import MissingProgramError
from benchmarks.questions import PAGES, USUAL, Question
from benchmarks.usage import cpu_seconds
from spatial.v1 import query_pb2

BENCHMARKS = Path(environments.__file__).parent
PLACE = Centre(10.0, 50.0)


# --- what is asked --------------------------------------------------------------------------------------------------


def test_what_is_asked_for_is_the_usual_by_callers_and_pages_of_every_size() -> None:
    assert [point.title for point in POINTS] == [
        *("1 caller", "16 callers", "64 callers"),
        *(f"{page} features, 16 callers" for page in ("1", "100", "1,000")),
        "10,000 features, 4 callers",
    ]
    assert CALLERS == (1, 16, 64)


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
