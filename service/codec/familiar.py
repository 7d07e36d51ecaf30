"""Requests that differ from earlier ones in three numbers alone: where they ask, and how far around.

Most that a client sends are of that kind. What stands around the numbers is the same byte for byte then; whatever it
says, but for what the caller may see, need not be read and checked again. The numbers are of fixed width: where the
bytes around them are equal, so is what every byte means.
"""

from struct import Struct
from typing import NamedTuple

from service.catalog import Layer
from service.codec.geometry import point_hexewkb
from service.codec.questions import far_radius
from service.codec.requests import HEAVY_ROWS, RequestReader
from service.db.boxes import encloses, measured_on_earth
from service.domain import Page, Search, Shape
from spatial.v1 import query_pb2

LEARNT_FROM = 8  # one in so many of the unfamiliar: they may all be different
MOST_KNOWN = 1024
MOST_BYTES = 1024  # of a request that is remembered
MOST_LAYOUTS = 4  # of requests of one length
_DOUBLE = Struct("<d")
_BYTES = 8
_OTHERS = (1.25, 2.25, 3.25)  # instead of the numbers, to see what changes


class Asked(NamedTuple):
    """A request as it was sent, and what it means; or the message, where that is still to be found out."""

    sent: bytes
    page: Page | None
    message: query_pb2.SearchRadiusRequest | None

    @property
    def request(self) -> query_pb2.SearchRadiusRequest:
        return self.message or query_pb2.SearchRadiusRequest.FromString(self.sent)


class _Known(NamedTuple):
    """What the bytes around the numbers mean. A radius beyond `far` is heavy."""

    layer: Layer
    shape: Shape
    size: int
    far: float


class _Layout:
    """Where latitude, longitude and radius begin in requests of a length; what is known, by the bytes around them."""

    __slots__ = ("_cuts", "known", "places")

    def __init__(self, places: tuple[int, int, int]) -> None:
        self.places = places
        self._cuts = sorted(places)
        self.known: dict[bytes, _Known] = {}

    def around(self, sent: bytes) -> bytes:
        first, second, third = self._cuts
        return sent[:first] + sent[first + _BYTES : second] + sent[second + _BYTES : third] + sent[third + _BYTES :]


class FamiliarSearches:
    """Of SearchRadius about points, first pages."""

    def __init__(self, requests: RequestReader) -> None:
        self._questions = requests.questions
        self._layouts: dict[int, list[_Layout]] = {}  # by the length of requests
        self._count = 0
        self._unfamiliar = 0

    def read(self, sent: bytes) -> Asked:
        """In the context of the call, which says what it may see. DecodeError where it is no message."""
        page = self._page(sent)
        return Asked(sent, page, query_pb2.SearchRadiusRequest.FromString(sent) if page is None else None)

    def learn(self, asked: Asked, page: Page) -> None:
        """That `asked` means `page`."""
        message = asked.message
        if message is None or message.page_token or message.freshness_token or len(asked.sent) > MOST_BYTES:
            return
        self._unfamiliar += 1
        if self._unfamiliar % LEARNT_FROM == 0 and (places := _places(asked.sent, message)) is not None:
            self._remember(asked.sent, places, page)

    def _remember(self, sent: bytes, places: tuple[int, int, int], page: Page) -> None:
        if self._count >= MOST_KNOWN:
            self._layouts, self._count = {}, 0
        shape = page.search.shape
        layer = self._questions.layer(shape.layer)
        if layer.boxable and measured_on_earth(shape.variant) and not shape.boxed:
            return  # few have no box: others are not to be taken for the like of them
        layouts = self._layouts.setdefault(len(sent), [])
        layout = next((each for each in layouts if each.places == places), None)
        if layout is None:
            layouts[MOST_LAYOUTS - 1 :] = [layout := _Layout(places)]
        far = 0.0 if (shape.limit or 0) > HEAVY_ROWS else far_radius(layer, shape.variant)
        layout.known[layout.around(sent)] = _Known(layer, shape, page.size, far)
        self._count += 1

    def _page(self, sent: bytes) -> Page | None:
        """None of what is unfamiliar, or is to be refused, which others can say better."""
        for layout in self._layouts.get(len(sent), ()):
            known = layout.known.get(layout.around(sent))
            if known is not None:
                (latitude,), (longitude,), (radius,) = (_DOUBLE.unpack_from(sent, place) for place in layout.places)
                right = -90.0 <= latitude <= 90.0 and -180.0 <= longitude <= 180.0
                if not (right and 0.0 <= radius <= self._questions.max_radius and self._questions.shows(known.layer)):
                    return None
                if known.shape.boxed and not encloses(longitude, latitude, radius):
                    return None
                arguments = (point_hexewkb(longitude, latitude), radius)
                return Page(Search(known.shape, arguments, radius > known.far), known.size)
        return None


def _places(sent: bytes, message: query_pb2.SearchRadiusRequest) -> tuple[int, int, int] | None:
    """Where the numbers are: each must be there once, and nothing else may change with what stands there."""
    numbers = _numbers(message)
    packed = [_DOUBLE.pack(number) for number in numbers]
    if any(sent.count(each) != 1 for each in packed):
        return None
    latitude, longitude, radius = places = tuple(map(sent.index, packed))
    changed = bytearray(sent)
    for place, other in zip(places, _OTHERS, strict=True):
        _DOUBLE.pack_into(changed, place, other)
    seen = query_pb2.SearchRadiusRequest.FromString(bytes(changed))
    if _numbers(seen) != _OTHERS:
        return None
    point = seen.query.center.point
    point.latitude, point.longitude, seen.query.radius_meters = numbers
    return (latitude, longitude, radius) if seen == message else None


def _numbers(message: query_pb2.SearchRadiusRequest) -> tuple[float, float, float]:
    point = message.query.center.point
    return point.latitude, point.longitude, message.query.radius_meters
