"""Small plots as SVG that read on a light page and on a dark one: lines, and bars of two parts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 44, 48
_COLOURS = ("#e4572e", "#e09f3e", "#7f8c8d", "#3b82c4", "#2a9d6f", "#9b6bc9")
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f } .title { font-weight: 600; font-size: 14px }
.grid { stroke: #7f8c8d; stroke-opacity: .3 } .line { fill: none; stroke-width: 2 } .dashed { stroke-dasharray: 6 4 }
@media (prefers-color-scheme: dark) { text { fill: #d0d7de } }
"""
Series = Mapping[str, Sequence[tuple[float, float]]]
SOLID: Mapping[str, str] = {}


@dataclass(frozen=True)
class Axis:
    """From a value to a place between two ends; values in tens, and places evenly, where it is logarithmic."""

    low: float
    high: float
    first: float
    last: float
    logarithmic: bool

    @classmethod
    def over(cls, values: Sequence[float], first: float, last: float, *, logarithmic: bool) -> "Axis":
        if logarithmic:
            low, high = (10.0**rounded for rounded in _decades(values))
            return cls(low, high, first, last, logarithmic)
        step = _step(max(values))
        return cls(0.0, step * math.ceil(max(values) / step), first, last, logarithmic)

    def place(self, value: float) -> float:
        share = (self._scale(value) - self._scale(self.low)) / (self._scale(self.high) - self._scale(self.low))
        return self.first + share * (self.last - self.first)

    def marks(self) -> list[float]:
        if self.logarithmic:
            return [10.0**power for power in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)]
        step = _step(self.high)
        return [step * number for number in range(round(self.high / step) + 1)]

    def _scale(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _step(most: float) -> float:
    """1, 2 or 5 times a power of ten, of which four to ten make up the most."""
    power = 10.0 ** math.floor(math.log10(most / 4))
    return next(power * times for times in (1, 2, 5, 10) if most / (power * times) <= 10 and most >= 0)


def lines(title: str, across: str, series: Series, *, dashed: Mapping[str, str] = SOLID) -> str:
    """A line for each name, through its points; `across` says what lies on the horizontal axis, which is logarithmic as
    the vertical one is. Some are dashed, in the colour of what they are said to be of."""
    points = [point for each in series.values() for point in each]
    xs = sorted({x for x, _ in points})
    horizontal = Axis.over(xs, LEFT, WIDTH - RIGHT, logarithmic=True)
    vertical = Axis.over([y for _, y in points], HEIGHT - BOTTOM, TOP, logarithmic=True)
    drawn = [*_grid(vertical), *_across(across, {x: horizontal.place(x) for x in xs})]
    colours = _colours([dashed.get(name, name) for name in series])
    keys = [(name, colours[dashed.get(name, name)], name in dashed) for name in series]
    for each, (_, colour, is_dashed) in zip(series.values(), keys, strict=True):
        placed = [(horizontal.place(x), vertical.place(y)) for x, y in each]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        style = "line dashed" if is_dashed else "line"
        drawn.append(f'<polyline class="{style}" stroke="{colour}" points="{path}"/>')
        drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
    return _image(title, [*drawn, *_line_legend(keys)])


def bars(title: str, parts: Sequence[str], stacks: Mapping[str, Sequence[float]]) -> str:
    """A bar for each name, of as many parts as are named, one on the other."""
    vertical = Axis.over([sum(each) for each in stacks.values()], HEIGHT - BOTTOM, TOP, logarithmic=False)
    room = (WIDTH - RIGHT - LEFT) / len(stacks)
    drawn = _grid(vertical)
    for place, (name, each) in enumerate(stacks.items()):
        left, below = LEFT + room * (place + 0.15), 0.0
        for number, value in enumerate(each):
            top, bottom = vertical.place(below + value), vertical.place(below)
            drawn.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{room * 0.7:.1f}" height="{bottom - top:.1f}"'
                f' fill="{_colour(number * 3)}"/>'
            )
            below += value
        for row, word in enumerate(name.split(", ")):
            drawn.append(_text(left + room * 0.35, HEIGHT - BOTTOM + 18 + 14 * row, word, "middle"))
        drawn.append(_text(left + room * 0.35, vertical.place(below) - 5, f"{below:.3g}", "middle"))
    return _image(title, [*drawn, *_legend(parts, 3)])


def _grid(vertical: Axis) -> list[str]:
    drawn = []
    for mark in vertical.marks():
        y = vertical.place(mark)
        drawn.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn.append(_text(LEFT - 8, y + 4, _number(mark), "end"))
    return drawn


def _across(label: str, places: Mapping[float, float]) -> list[str]:
    marks = [_text(x, HEIGHT - BOTTOM + 18, _number(value), "middle") for value, x in places.items()]
    return [*marks, _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, label, "middle")]


def _legend(names: Sequence[str], step: int) -> list[str]:
    drawn = []
    for number, name in enumerate(names):
        y = TOP + 20 * number
        left = WIDTH - RIGHT + 16
        drawn.append(f'<rect x="{left}" y="{y}" width="12" height="12" rx="2" fill="{_colour(number * step)}"/>')
        drawn.append(_text(left + 18, y + 10, name, "start"))
    return drawn


def _line_legend(keys: Sequence[tuple[str, str, bool]]) -> list[str]:
    drawn = []
    for number, (name, colour, is_dashed) in enumerate(keys):
        y, left = TOP + 6 + 20 * number, WIDTH - RIGHT + 10
        style = "line dashed" if is_dashed else "line"
        drawn.append(f'<line class="{style}" stroke="{colour}" x1="{left}" x2="{left + 18}" y1="{y}" y2="{y}"/>')
        drawn.append(_text(left + 24, y + 4, name, "start"))
    return drawn


def _image(title: str, drawn: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    name = f'<title>{escape(title)}</title><text class="title" x="{LEFT}" y="24">{escape(title)}</text>'
    return "\n".join([head, f"<style>{_STYLE}</style>", name, *drawn, "</svg>", ""])


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 or not value else f"{value:g}"


def _colours(names: Sequence[str]) -> dict[str, str]:
    return {name: _colour(number) for number, name in enumerate(dict.fromkeys(names))}


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
