"""Peers: the usual 22 features about a place, from this service and from others over the same table, by callers.

Those who answer about the same area are compared; against peers that are asked for a box, which is cheaper, the ratio
of our circle is told without a goal.
"""

from collections.abc import Iterator, Sequence

from benchmarks.contest import ALL, LIMIT, ONE, PEERS, Point, Rows, held, rates, tails
from benchmarks.figures import Figure, rounds_each
from benchmarks.questions import AREAS, BOX, CIRCLE, USUAL

ROUNDS = rounds_each(3)
CALLERS = (1, 16, 64)
POINTS = tuple(Point(USUAL, callers) for callers in CALLERS)


def run(part: str = "") -> dict[str, object]:
    """Of all points those whose titles have `part` in them."""
    return held([point for point in POINTS if part in point.title], figures, ROUNDS, ghz=True)


def figures(points: Sequence[Point], rows: Rows) -> Iterator[Figure]:
    for point in points:
        for name in (ONE, ALL):
            goal = "0.75" if point.callers > 1 else "none"
            yield rates(rows, "peers", point, (name, CIRCLE), (LIMIT, CIRCLE), goal)
        yield rates(rows, "peers", point, (ALL, BOX), (LIMIT, BOX), "none")
        for area in AREAS:
            for peer in PEERS[area]:
                yield rates(rows, "peers", point, (ALL, area), (peer, area), "> 1")
                yield tails(rows, "peers", point, (ALL, area), (peer, area), "< 1")
        for peer in PEERS[BOX]:
            yield rates(rows, "peers", point, (ALL, CIRCLE), (peer, BOX), "none")
            yield tails(rows, "peers", point, (ALL, CIRCLE), (peer, BOX), "none")
