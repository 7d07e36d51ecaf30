"""What a filter adds to a call: reading a text that was read before, against all that the server does for the call."""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from timeit import repeat

from benchmarks.cluster import database_url
from benchmarks.contenders import service
from benchmarks.dataset import Centre, centres
from benchmarks.figures import Figure, machine, print_lines
from benchmarks.grpc_question import Answers, Client, request
from benchmarks.programs import say
from service.catalog import Catalog, shipped_layers
from service.codec.geometry import GeometryLimits, ProbeReader
from service.codec.questions import QuestionReader
from service.codec.requests import RequestReader
from service.db.queries import Statements
from service.settings import Settings
from spatial.v1 import query_pb2

# As long as people write them; all features meet it, so that the answers are the same with it and without.
FILTER = (
    "kind IN ('airport', 'hospital', 'library', 'museum', 'pharmacy', 'school', 'station', 'theatre')"
    " AND (population IS NULL OR population > 1000) AND attributes.level >= 0"
    " AND (active OR A_CONTAINS(tags, ('closed')))"
)
ROUNDS = 5
TURNS = 40  # of the sixteen centres, in a round
READINGS, REPEATS = 50, 60


def run() -> None:
    places = centres()
    plain, filtered = (_requests(places, text) for text in ("", FILTER))
    with database_url() as url, ExitStack() as stack:
        server = stack.enter_context(service(url, answers := Answers(places)))
        client = Client(server.port)
        stack.callback(client.close)
        rounds = [_round(client, server.process, plain, filtered) for _ in range(ROUNDS)]
    print_lines([*machine(), ("answers", f"{answers.features / len(places):.1f} features each")])
    print(_figure(rounds))


def _requests(places: Sequence[Centre], text: str) -> list[query_pb2.SearchRadiusRequest]:
    requests = [request(place) for place in places]
    for each in requests:
        each.query.filter = text
    return requests


Microseconds = tuple[float, float, float, float]


def _round(
    client: Client,
    process: int,
    plain: Sequence[query_pb2.SearchRadiusRequest],
    filtered: Sequence[query_pb2.SearchRadiusRequest],
) -> Microseconds:
    """Microseconds of CPU: of a call without a filter and of one with it, and of reading both requests."""
    calls = _call(client, process, plain), _call(client, process, filtered)
    reading = _reading(plain), _reading(filtered)
    say("microseconds: call {:.0f}, filtered {:.0f}; reading {:.1f}, filtered {:.1f}".format(*calls, *reading))
    return (*calls, *reading)


def _call(client: Client, process: int, requests: Sequence[query_pb2.SearchRadiusRequest]) -> float:
    client.ask(requests)
    before = _cpu_seconds(process)
    for _ in range(TURNS):
        client.ask(requests)
    return (_cpu_seconds(process) - before) / (TURNS * len(requests)) * 1e6


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _reading(requests: Sequence[query_pb2.SearchRadiusRequest]) -> float:
    """From the request to its statement, as the server does it for every call."""
    settings, catalog = Settings(), Catalog(shipped_layers())
    limits = GeometryLimits(settings.max_request_bytes, settings.max_vertices, settings.max_geometry_depth)
    reader = RequestReader(QuestionReader(catalog, ProbeReader(limits), settings.max_radius), settings.max_page_size)
    statements = Statements(catalog)
    read: Callable[[], object] = lambda: statements[reader.radius(requests[0]).search.shape]  # noqa: E731
    read()
    # The least of them: whatever else the machine does only adds.
    return min(repeat(read, number=READINGS, repeat=REPEATS)) / READINGS * 1e6


def _figure(rounds: Sequence[Microseconds]) -> Figure:
    ratio = median((with_filter - without) / call for call, _, without, with_filter in rounds)
    call, filtered, without, with_filter = (median(values) for values in zip(*rounds, strict=True))
    detail = (
        f"reading a request takes {without:.1f} us, with a filter {with_filter:.1f};"
        f" the server's CPU a call {call:.0f} us, with a filter {filtered:.0f}"
    )
    return Figure("filter cached parse / call", ratio, "< 0.10", detail)
