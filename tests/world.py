"""Points where maps end: at the poles, along the antimeridian, one upon another, and all over the Earth."""

import numpy as np

from tests.oracle import Points, fetch

POLES = [(0.0, 90.0), (77.0, 90.0), (-180.0, 90.0), (0.0, -90.0), (-120.0, -90.0)]
ANTIMERIDIAN = [(x, y) for y in (0.0, 10.0, -65.0) for x in (180.0, -180.0, 179.999, -179.999, 179.0, -179.0)]
DUPLICATES = [(10.0, 10.0)] * 7
NAMED = [*POLES, *ANTIMERIDIAN, *DUPLICATES, (0.0, 0.0), (0.5, 0.0)]


def scattered(count: int, seed: int) -> list[tuple[float, float]]:
    """Evenly over the sphere."""
    random = np.random.default_rng(seed)
    longitudes, heights = random.uniform(-180, 180, count), random.uniform(-1, 1, count)
    return list(zip(longitudes.tolist(), np.degrees(np.arcsin(heights)).tolist(), strict=True))


def settle(url: str, count: int = 400) -> Points:
    """Fills `facilities` with the named points and as many others, and gives them back as they are stored."""
    longitudes, latitudes = zip(*NAMED, *scattered(count, seed=2), strict=True)
    fetch(
        url,
        "INSERT INTO facilities (name, kind, location) SELECT 'made up', 'point', ST_SetSRID(ST_MakePoint(x, y), 4326)"
        " FROM unnest(%s, %s) AS place (x, y)",
        list(longitudes),
        list(latitudes),
    )
    return Points.of(url)
