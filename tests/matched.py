"""A server over the demo data, and probes that are spread over it."""

import random
from dataclasses import dataclass
from typing import Any

import shapely

from spatial.v1 import geometry_pb2 as geometry
from tests.searches import box, point, shape
from tests.servers import Served


@dataclass(frozen=True)
class World:
    served: Served
    url: str

    @property
    def stub(self) -> Any:
        return self.served.stub


def places(count: int, seed: int = 1) -> list[tuple[float, float]]:
    """Spread over Europe, where the demo data are dense."""
    generator = random.Random(seed)
    return [(generator.uniform(-10, 30), generator.uniform(36, 60)) for _ in range(count)]


def points(count: int, seed: int = 1) -> list[geometry.Probe]:
    return [point(*place) for place in places(count, seed)]


def outline(longitude: float, latitude: float, reach: float, vertices: int) -> geometry.Probe:
    return shape(shapely.Point(longitude, latitude).buffer(reach, quad_segs=vertices // 4))


def mixed(count: int) -> list[geometry.Probe]:
    """Points, boxes, small shapes, shapes of many vertices, and large ones, in turns."""
    return [
        (
            point(x, y),
            box(x, y, x + 0.1, y + 0.1),
            outline(x, y, 0.05, 16),
            outline(x, y, 0.2, 400),
            outline(x, y, 1.5, 32),
        )[number % 5]
        for number, (x, y) in enumerate(places(count, seed=4))
    ]
