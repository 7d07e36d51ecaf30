"""What the benchmarks read out of the load generators, and what they make of it."""

from contextlib import nullcontext

import pytest

from benchmarks.dataset import ROWS, Centre, centres, copy_text
from benchmarks.figures import Figure, median_ratio
from benchmarks.load import (
    Call,
    Load,
    TooFewCallsError,
    checked_calls,
    framed,
    patiently,
    pgbench_calls,
    summary,
)
from benchmarks.wrk import parse_wrk

H2LOAD = """
finished in 503.21ms, 286.00 req/s, 858.38KB/s
requests: 2 total, 3 started, 2 done, 2 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 2 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 2.19KB (2249) total, 504B (504) headers (space savings 95.65%), {data}B ({data}) data
"""
LOG = "1795226503812122\t200\t67741\n1795226503879932\t200\t71108\n"
PGBENCH = """
latency average = 0.072 ms
number of failed transactions: {failed} (0.000%)
initial connection time = 9.693 ms
tps = 27701.639879 (without initial connection time)
"""
WRK = """
  16 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    40.15ms    7.91ms  91.02ms   88.10%
  Latency Distribution
     50%  950.00us
     75%   40.99ms
     90%    1.05s
     99%    1.50m
  1190 requests in 3.00s, 3.60MB read
  Requests/sec in prose is no figure
Requests/sec:    396.25
Transfer/sec:      1.20MB
""".replace("1.05s", "1.05s ")  # as it pads what is short


def test_a_message_is_framed_as_uncompressed_with_its_length() -> None:
    assert framed(b"abc") == b"\x00\x00\x00\x00\x03abc"


@pytest.mark.parametrize("data", [200, 201, 299], ids=["nothing cut off", "a cut-off call", "all but a byte of it"])
def test_calls_count_when_every_answer_came_in_full(data: int) -> None:
    calls = checked_calls(LOG, H2LOAD.format(data=data), answer_bytes=100)
    assert calls == [
        Call(1795226503812122, 1795226503812122 + 67741),
        Call(1795226503879932, 1795226503879932 + 71108),
    ]


@pytest.mark.parametrize(
    ("log", "data"),
    [
        pytest.param(LOG, 0, id="gRPC errors: HTTP 200 and no data"),
        pytest.param(LOG, 199, id="an answer too short"),
        pytest.param(LOG, 300, id="an answer too long"),
        pytest.param(LOG + "1795226503951079\t503\t80\n", 200, id="an HTTP error"),
        pytest.param(LOG + "1795226503951079\t-1\t80\n", 200, id="a stream that failed"),
        pytest.param("", 200, id="no calls"),
    ],
)
def test_a_load_with_a_call_that_was_not_answered_in_full_is_no_measurement(log: str, data: int) -> None:
    with pytest.raises(RuntimeError, match="answers of 100"):
        checked_calls(log, H2LOAD.format(data=data), answer_bytes=100)


def test_a_caller_that_was_not_answered_in_time_was_not_asked_for_long_enough() -> None:
    with pytest.raises(TooFewCallsError):
        checked_calls("", H2LOAD.format(data=0).replace("2 succeeded", "0 succeeded"), answer_bytes=100)


@pytest.mark.parametrize(("data", "right"), [(179, False), (180, True), (329, True), (330, False)])
def test_answers_may_be_off_by_what_changes_from_call_to_call(data: int, right: bool) -> None:
    with nullcontext() if right else pytest.raises(RuntimeError, match=f"{data} bytes"):
        checked_calls(LOG, H2LOAD.format(data=data), answer_bytes=100, give_or_take=10)


def test_only_calls_made_while_all_callers_were_at_work_and_warm_count() -> None:
    def every_100_ms(first: int, count: int) -> list[Call]:
        return [Call(first + n * 100_000, first + n * 100_000 + 90_000) for n in range(count)]

    # Both at work from 0.2 s to 2.09 s; warm from 0.7 s: 14 calls each in 1.39 s.
    load = summary([every_100_ms(0, 21), every_100_ms(200_000, 30)])
    assert load.rate == pytest.approx(28 / 1.39)
    assert load.latencies == (90.0,) * 28
    assert load.answered == 51


def test_a_caller_s_first_call_is_not_counted_however_long_it_takes() -> None:
    slow = [Call(0, 1_500_000), *(Call(1_500_000 + n * 100_000, 1_600_000 + n * 100_000) for n in range(10))]
    load = summary([slow, [Call(n * 100_000, n * 100_000 + 100_000) for n in range(25)]])
    assert load.rate == pytest.approx(20)
    assert load.latencies == (100.0,) * 20


def test_callers_that_were_not_at_work_together_are_no_measurement() -> None:
    with pytest.raises(TooFewCallsError):
        summary([[Call(0, 2_000_000)], [Call(0, 100_000), Call(100_000, 200_000)]])


def test_a_load_goes_on_until_there_are_enough_calls() -> None:
    tried = []

    def load(seconds: float) -> Load:
        tried.append(seconds)
        if len(tried) < 3:
            raise TooFewCallsError
        return Load(1.0)

    assert patiently(load, 2).rate == 1
    assert tried == [2, 8, 24]


def test_latencies_are_summed_up_in_milliseconds() -> None:
    load = Load(1.0, tuple(float(n) for n in range(1, 101)))
    assert (load.mean, load.percentile(50), load.percentile(99), load.worst) == (50.5, 51.0, 100.0, 100.0)


PGBENCH_LOGS = "0 1 2500 0 1795226503 812122\n1 1 2000 1 1795226503 812122\n0 2 1500 3 1795226503 999999\n"


def test_the_transactions_of_each_client_are_read_from_the_logs_of_pgbench() -> None:
    assert pgbench_calls(PGBENCH.format(failed=0), PGBENCH_LOGS, callers=2) == [
        [Call(1795226503809622, 1795226503812122), Call(1795226503998499, 1795226503999999)],
        [Call(1795226503810122, 1795226503812122)],
    ]


def test_a_transaction_without_time_took_it_up_to_the_next() -> None:
    logs = "0 1 0 0 1795226503 100000\n0 2 1500 0 1795226503 103500\n"
    (calls,) = pgbench_calls(PGBENCH.format(failed=0), logs, callers=1)
    assert [call.end - call.start for call in calls] == [2000, 1500]


def test_a_client_without_an_answer_is_no_measurement() -> None:
    with pytest.raises(TooFewCallsError):
        pgbench_calls(PGBENCH.format(failed=0), PGBENCH_LOGS, callers=3)


def test_failed_statements_are_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="3 statements failed"):
        pgbench_calls(PGBENCH.format(failed=3), PGBENCH_LOGS, callers=2)


def test_wrk_rate_number_of_answers_and_percentiles_are_read() -> None:
    load = parse_wrk(WRK)
    assert (load.rate, load.answered) == (396.25, 1190)
    assert [load.percentile(percent) for percent in (50, 75, 90, 99)] == pytest.approx([0.95, 40.99, 1050, 90_000])


def test_a_load_without_an_answer_was_too_short() -> None:
    with pytest.raises(TooFewCallsError):
        parse_wrk(WRK.replace("1190 requests", "0 requests"))


@pytest.mark.parametrize(
    "line", ["  Non-2xx or 3xx responses: 7", "  Socket errors: connect 0, read 1, write 0, timeout 0"]
)
def test_failed_requests_are_no_measurement(line: str) -> None:
    with pytest.raises(RuntimeError, match="requests failed"):
        parse_wrk(WRK + line)


def test_output_without_the_figure_says_so() -> None:
    with pytest.raises(ValueError, match="Requests/sec"):
        parse_wrk("unable to connect")


def test_one_bad_round_does_not_move_the_ratio() -> None:
    assert median_ratio([200, 220, 10], [100, 110, 100]) == 2.0


def test_a_figure_is_one_line_with_its_goal_and_a_detail() -> None:
    line, detail = str(Figure("unary 16 callers / TiPg", 4.256, "4", "850 against 200")).splitlines()
    assert line == "unary 16 callers / TiPg: 4.26 (goal 4)"
    assert detail.strip() == "850 against 200"


def test_the_points_are_the_same_every_time() -> None:
    first, again = (b"".join(part.getvalue() for part in copy_text(rows=3)) for _ in range(2))
    assert first == again
    assert len(first.splitlines()) == 3
    assert [line.count(b"\t") for line in first.splitlines()] == [5, 5, 5]


def test_points_come_in_parts_that_make_up_the_number_asked_for() -> None:
    assert [len(part.getvalue().splitlines()) for part in copy_text(rows=100_002)] == [100_000, 2]
    assert ROWS == 1_000_000


def test_there_are_sixteen_different_centres() -> None:
    assert len(set(centres())) == 16
    assert centres() == centres()


def test_a_box_is_as_wide_as_high_on_the_ground() -> None:
    west, south, east, north = Centre(longitude=10.0, latitude=60.0).box
    assert (west + east) / 2 == pytest.approx(10.0)
    assert (south + north) / 2 == pytest.approx(60.0)
    assert (east - west) / 2 == pytest.approx(north - south)  # a degree of longitude is half as long at 60 degrees
