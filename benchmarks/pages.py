"""Pages: the contest of peers by features an answer, from one to ten thousand."""

from collections.abc import Iterator, Sequence

from benchmarks.contest import ALL, LIMIT, PEERS, Point, Rows, held, rates
from benchmarks.figures import Figure, rounds_each
from benchmarks.questions import AREAS, BOX, CIRCLE, PAGES

ROUNDS = rounds_each(2)
CALLERS = 16
MANY_CALLERS = 4  # where there is more than a page: answers take some peers seconds
POINTS = tuple(Point(page, CALLERS if page.is_page else MANY_CALLERS) for page in PAGES)


def run(part: str = "") -> dict[str, object]:
    """Of all points those whose titles have `part` in them."""
    return held([point for point in POINTS if part in point.title], figures, ROUNDS, ghz=False)


def figures(points: Sequence[Point], rows: Rows) -> Iterator[Figure]:
    for point in points:
        for area in AREAS:
            yield rates(rows, "pages", point, (ALL, area), (LIMIT, area), "none")
            for peer in PEERS[area]:
                yield rates(rows, "pages", point, (ALL, area), (peer, area), "> 1")
        for peer in PEERS[BOX]:
            yield rates(rows, "pages", point, (ALL, CIRCLE), (peer, BOX), "none")
