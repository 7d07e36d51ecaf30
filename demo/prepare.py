"""Makes the demo data from its published sources; README.md beside it names them.

    python demo/prepare.py --cities world_cities.csv.gz --navaids navaids.csv.gz \\
        --countries countries_50m.geojsonseq.gz --boroughs nyc_boroughs.geojsonseq.gz \\
        --taxi-zones nyc_taxi_zones.geojsonseq.gz --into demo

Points come as CSV with the columns id, name, lon, lat, category, country, population; polygons as one GeoJSON feature
a line, with the properties id, name and category. The tables go out as CSV with geometries as EWKT, ready for COPY.
"""

import argparse
import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import shape

CITY_POPULATION = 50_000
NEW_YORK_AREA = shapely.box(-74.6, 40.3, -73.3, 41.2)
CLOSED = ("(closed", "(decommissioned")
# In degrees: about a metre for maps of the world, a decimetre for the city.
COUNTRY_GRID, CITY_GRID = 1e-5, 1e-6

LAND_USE = {
    "airport": ("JFK Airport", "LaGuardia Airport"),
    "cemetery": ("Green-Wood Cemetery",),
    "nature": ("Jamaica Bay",),
    "park": (
        "Astoria Park",
        "Battery Park",
        "Bronx Park",
        "Central Park",
        "Crotona Park",
        "Flushing Meadows-Corona Park",
        "Forest Park/Highland Park",
        "Freshkills Park",
        "Great Kills Park",
        "Highbridge Park",
        "Inwood Hill Park",
        "Marine Park/Floyd Bennett Field",
        "Pelham Bay Park",
        "Prospect Park",
        "Van Cortlandt Park",
    ),
}

Row = dict[str, Any]
Feature = tuple[dict[str, str], shapely.Geometry]


def main() -> None:
    paths = arguments()
    countries = list(read_features(paths.countries, COUNTRY_GRID))
    boroughs = list(read_features(paths.boroughs, CITY_GRID))
    tables = {
        "facilities": facilities(read_points(paths.cities), read_points(paths.navaids), countries),
        "zones": zones(countries),
        "districts": districts(boroughs),
        "parcels": parcels(read_features(paths.taxi_zones, CITY_GRID), boroughs),
    }
    for name, rows in tables.items():
        write_table(paths.into / f"{name}.csv.gz", rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("cities", "navaids", "countries", "boroughs", "taxi-zones", "into"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()


def read_points(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def read_features(path: Path, grid: float) -> Iterator[Feature]:
    """Valid, and on a grid: neighbours that shared a border share it still."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            feature = json.loads(line)
            geometry = shapely.set_precision(shapely.make_valid(shape(feature["geometry"])), grid)
            yield feature["properties"], geometry


def facilities(cities: list[dict[str, str]], navaids: list[dict[str, str]], countries: list[Feature]) -> Iterator[Row]:
    places = [city for city in cities if population(city) >= CITY_POPULATION or in_new_york_area(city)]
    places.sort(key=lambda city: (-population(city), city["name"], city["id"]))
    beacons = [navaid for navaid in navaids if navaid["category"] != "NDB" or is_closed(navaid)]
    beacons.sort(key=lambda navaid: (navaid["country"], navaid["name"], navaid["id"]))
    tree = shapely.STRtree([geometry for _, geometry in countries])
    for source, points in (("geonames", places), ("ourairports", beacons)):
        for point in points:
            yield facility(point, source, nearest_country(point, tree, countries))


def facility(point: dict[str, str], source: str, country: dict[str, str]) -> Row:
    tags = place_tags(point) if source == "geonames" else navaid_tags(point)
    return {
        "name": point["name"],
        "kind": point["category"].lower(),
        "country": point["country"],
        "population": point["population"] or None,
        "location": ewkt(position(point), 6),
        "tags": "{" + ",".join(tags) + "}",
        "active": not is_closed(point),
        "attributes": compact({"source": source, "zone": country["id"], "continent": country["category"]}),
    }


def place_tags(city: dict[str, str]) -> list[str]:
    tags = ["place"]
    if population(city) >= 1_000_000:
        tags.append("million")
    if in_new_york_area(city):
        tags.append("new-york-area")
    return tags


def navaid_tags(navaid: dict[str, str]) -> list[str]:
    """A VORTAC is a VOR and a TACAN at one site; the other pairs are spelt out."""
    parts = "vor-tacan" if navaid["category"] == "VORTAC" else navaid["category"].lower()
    return ["navaid", *parts.split("-")]


def zones(countries: list[Feature]) -> Iterator[Row]:
    for properties, geometry in sorted(countries, key=lambda feature: feature[0]["id"]):
        yield {
            "code": properties["id"],
            "name": properties["name"],
            "category": properties["category"],
            "boundary": ewkt(multipolygon(geometry), 5),
            "attributes": compact({"source": "natural-earth"}),
        }


def districts(boroughs: list[Feature]) -> Iterator[Row]:
    for properties, geometry in by_number(boroughs):
        attributes = compact({"source": "nyc-dcp", "borough_code": int(properties["id"])})
        yield {"name": properties["name"], "boundary": ewkt(multipolygon(geometry), 6), "attributes": attributes}


def parcels(taxi_zones: Iterable[Feature], boroughs: list[Feature]) -> Iterator[Row]:
    """Each polygon of a taxi zone; Newark Airport lies in none of the boroughs and is left out."""
    district_ids = {properties["name"]: number for number, (properties, _) in enumerate(by_number(boroughs), start=1)}
    for properties, geometry in by_number(taxi_zones):
        if properties["category"] in district_ids:
            yield from parts(properties, polygons(geometry), district_ids[properties["category"]])


def parts(properties: dict[str, str], members: list[shapely.Polygon], district_id: int) -> Iterator[Row]:
    uses = [use for use, names in LAND_USE.items() if properties["name"] in names]
    for part, polygon in enumerate(members, start=1):
        yield {
            "number": f"{int(properties['id']):03d}-{part:02d}",
            "name": properties["name"],
            "land_use": uses[0] if uses else "urban",
            "district_id": district_id,
            "boundary": ewkt(polygon, 6),
            "attributes": compact(
                {"source": "nyc-tlc", "taxi_zone": int(properties["id"]), "part": part, "parts": len(members)}
            ),
        }


def by_number(features: Iterable[Feature]) -> list[Feature]:
    return sorted(features, key=lambda feature: int(feature[0]["id"]))


def polygons(geometry: shapely.Geometry) -> list[shapely.Polygon]:
    members = [part for part in shapely.get_parts(geometry) if isinstance(part, shapely.Polygon)]
    return sorted(members, key=lambda part: -part.area)


def multipolygon(geometry: shapely.Geometry) -> shapely.MultiPolygon:
    return shapely.MultiPolygon(polygons(geometry))


def nearest_country(point: dict[str, str], tree: shapely.STRtree, countries: list[Feature]) -> dict[str, str]:
    return countries[int(tree.nearest(position(point)))][0]


def position(point: dict[str, str]) -> shapely.Point:
    return shapely.Point(float(point["lon"]), float(point["lat"]))


def population(city: dict[str, str]) -> int:
    return int(city["population"] or 0)


def in_new_york_area(point: dict[str, str]) -> bool:
    return bool(NEW_YORK_AREA.covers(position(point)))


def is_closed(point: dict[str, str]) -> bool:
    return any(mark in point["name"].lower() for mark in CLOSED)


def ewkt(geometry: shapely.Geometry, decimals: int) -> str:
    return "SRID=4326;" + shapely.to_wkt(geometry, rounding_precision=decimals).replace(", ", ",")


def compact(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Numbered from 1, and the same bytes for the same rows: no time stamp."""
    text = io.StringIO()
    for number, row in enumerate(rows, start=1):
        writer = csv.DictWriter(text, ["id", *row], lineterminator="\n")
        if number == 1:
            writer.writeheader()
        writer.writerow({"id": number, **row})
    path.write_bytes(gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0))


if __name__ == "__main__":
    main()
