"""Which checks of a table say that its points are on the Earth; as PostgreSQL writes checks."""

import pytest

from service.reflected.bounds import keeps_on_earth

WEST, EAST = "(st_x(geom) >= ('-180'::integer)::double precision)", "(st_x(geom) <= (180)::double precision)"
SOUTH, NORTH = "(st_y(geom) >= ('-90'::integer)::double precision)", "(st_y(geom) <= (90)::double precision)"
CORNERS = (
    "((NOT st_isempty(geom)) AND (st_xmin((geom)::box3d) >= ('-180'::integer)::double precision)"
    " AND (st_xmax((geom)::box3d) <= (180)::double precision)"
    " AND (st_ymin((geom)::box3d) >= ('-90'::integer)::double precision)"
    " AND (st_ymax((geom)::box3d) <= (90)::double precision))"
)
ALL = f"({WEST} AND {EAST} AND {SOUTH} AND {NORTH})"


@pytest.mark.parametrize(
    "checks",
    [
        [ALL],
        [CORNERS],
        [f"(({WEST} AND {EAST}) AND ({SOUTH} AND {NORTH}))"],
        [WEST, EAST, SOUTH, NORTH],
        ["(length(name) > 3)", f"({WEST} AND {EAST} AND (length(name) < 9))", f"({SOUTH} AND {NORTH})"],
        [ALL.replace("st_", "gis.st_")],
        [ALL.replace(">=", ">").replace("<=", "<").replace("(90)", "(54.5)")],
        [ALL.replace("'-180'::integer", "'-180.0'::numeric")],
    ],
    ids=["points", "corners", "between", "four of them", "among others", "schema", "less than that", "numeric"],
)
def test_points_are_kept_on_the_earth(checks: list[str]) -> None:
    assert keeps_on_earth("geom", checks)


@pytest.mark.parametrize(
    "checks",
    [
        [],
        [WEST, EAST, SOUTH],
        [f"({WEST} OR {EAST})", SOUTH, NORTH],
        [f"((active OR {WEST}) AND {EAST} AND {SOUTH} AND {NORTH})"],
        [f"(active OR {ALL})"],
        [f"(NOT {ALL})"],
        [f"((NOT {WEST}) AND {EAST} AND {SOUTH} AND {NORTH})"],
        [ALL.replace("(180)", "(181)")],
        [ALL.replace("'-90'", "'-91'")],
        [ALL.replace(">=", "<=")],
        [ALL.replace("(geom)", "(other)")],
        [ALL.replace("st_x(geom)", "st_x(mingeom)")],
        [ALL.replace("st_x(", "st_z(")],
        [ALL.replace("st_x(geom)", "abs(st_x(geom))")],
        [CORNERS.replace("st_xmax", "st_xmin")],
        [CORNERS.replace("st_ymin", "st_ymax")],
    ],
    ids=[
        "no check",
        "no north",
        "or",
        "or amid",
        "or around",
        "not",
        "not amid",
        "too far east",
        "too far south",
        "wrong way",
        "another column",
        "a column that begins with min",
        "another axis",
        "a function of it",
        "the wrong corner",
        "the other wrong corner",
    ],
)
def test_points_may_lie_elsewhere(checks: list[str]) -> None:
    assert not keeps_on_earth("geom", checks)


@pytest.mark.parametrize("name", ["Geom", "my geom", "a AND b", 'say "hi"'])
def test_names_that_need_quotes(name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    assert keeps_on_earth(name, [ALL.replace("geom", quoted)])
    assert not keeps_on_earth("geom", [ALL.replace("geom", quoted)])
