"""How much a second: streams and matches against psql's COPY of the same rows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from benchmarks.contenders import GrpcServer
from benchmarks.copying import Content, content, psql_seconds
from benchmarks.figures import Figure, median_ratio
from benchmarks.host import Cores, cores, quietest
from benchmarks.jobs import Job
from benchmarks.programs import say
from benchmarks.readers import ReaderProcess
from benchmarks.streams import PARCELS, POINTS, Asked, Whole, match_asked, match_statements, probes

ROUNDS = 5
MATCH_CONNECTIONS = 2  # the service's default

Run = Callable[[], float]


@dataclass(frozen=True)
class Contest:
    """psql and others who fetch the same rows; whoever is measured gives rows a second."""

    name: str
    unit: str
    runs: Mapping[str, Run]
    goals: Mapping[str, str]
    look: Callable[[], Cores] = cores

    def held(self) -> Iterator[Figure]:
        turn = list(self.runs)[::-1]

        def in_turn() -> dict[str, float]:
            turn.reverse()
            return {name: self.runs[name]() for name in turn}

        rounds = quietest(in_turn, ROUNDS, look=self.look)
        rates = {name: [each[name] for each in rounds.results] for name in self.runs}
        told = ", ".join(f"{name} {median(rate):,.0f}/s" for name, rate in rates.items())
        say(f"{self.name}: {told}; {rounds}")
        for name, goal in self.goals.items():
            detail = f"{median(rates[name]):,.0f} {self.unit} a second against {median(rates['psql']):,.0f}; {rounds}"
            if name == "COLUMNS":
                detail += "; stretch goal 0.8"
            yield Figure(f"bulk {self.name} {name} / psql", median_ratio(rates[name], rates["psql"]), goal, detail)


def figures(url: str, reader: ReaderProcess, one: GrpcServer, two: GrpcServer) -> Iterator[Figure]:
    """`one` reads a layer on a single connection, `two` on several."""
    for contest in _contests(url, reader, one, two):
        yield from contest.held()


def _contests(url: str, reader: ReaderProcess, one: GrpcServer, two: GrpcServer) -> Iterator[Contest]:
    def streamed(layer: Whole, layout: str, server: GrpcServer, times: int = 1) -> Run:
        return _streamed(reader, server, layer.asked(layout), content(url, layer.content), times)

    def copied(layer: Whole, times: int = 1) -> Run:
        return _copied(url, layer, content(url, layer.content), times)

    points: dict[str, Run] = {
        "psql": copied(POINTS),
        "COLUMNS": streamed(POINTS, "COLUMNS", one),
        "ROWS": streamed(POINTS, "ROWS", one),
        "ARROW": streamed(POINTS, "ARROW", one),
        "ARROW, several connections": streamed(POINTS, "ARROW", two),
    }
    goals = {"COLUMNS": "0.55", "ROWS": "0.25", "ARROW": "0.8", "ARROW, several connections": "> 1"}
    yield Contest("points", "rows", points, goals)
    polygons = {"psql": copied(PARCELS, 3), "COLUMNS": streamed(PARCELS, "COLUMNS", one, 3)}
    yield Contest("polygons of 1 KB", "rows", polygons, {"COLUMNS": "0.45"})
    yield Contest("match", "probes", _matches(url, reader, one), {"MatchFeatures": "0.8"})


def _streamed(reader: ReaderProcess, server: GrpcServer, asked: Asked, right: Content, times: int) -> Run:
    """Its first run looks into everything; the measured ones count."""
    checked = reader.read(Job(server.port, asked.method, asked.requests, check=True))
    found = Content(checked.features, checked.ids, checked.wkb_bytes)
    if found != right:
        raise RuntimeError(f"{asked.method} brought {found} instead of {right}")
    kilobytes = checked.message_bytes / checked.messages / 1024
    say(f"{asked.method}: {checked.messages} messages of {kilobytes:,.0f} KiB")
    job = Job(server.port, asked.method, asked.requests, times=times)

    def run() -> float:
        taken = reader.read(job)
        if taken.features != right.features * times:
            raise RuntimeError(f"{asked.method} brought {taken.features} features instead of {right.features * times}")
        return taken.rate

    return run


def _copied(url: str, layer: Whole, right: Content, times: int) -> Run:
    return lambda: right.features * times / psql_seconds(url, [layer.statement] * times)


def _matches(url: str, reader: ReaderProcess, server: GrpcServer) -> dict[str, Run]:
    places = probes()
    asked = match_asked(places)
    statements = match_statements(places)
    sessions = [statements[number::MATCH_CONNECTIONS] for number in range(MATCH_CONNECTIONS)]
    found = [
        content(url, f"SELECT count(*), sum(id), sum(length(wkb)) FROM ({statement}) AS found")
        for statement in statements
    ]
    right = Content(*map(sum, zip(*found, strict=True)))
    features = _streamed(reader, server, asked, right, 1)
    return {
        "psql": lambda: len(places) / psql_seconds(url, *sessions),
        "MatchFeatures": lambda: features() * len(places) / right.features,
    }
