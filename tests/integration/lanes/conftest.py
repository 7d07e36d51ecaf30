"""The database of the layer `sleepers`."""

from contextlib import closing

import psycopg2
import pytest

from tests.sleepers import ENDLESS, HELD, PATIENCE, ROWS, SLEEP, SLEEPY


@pytest.fixture(scope="module")
def database(module_database: str) -> str:
    with closing(psycopg2.connect(module_database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE sleepers (id bigint PRIMARY KEY, seconds float8 NOT NULL, filling text NOT NULL,"
            " location geometry(Point, 4326) NOT NULL);"
            "CREATE INDEX ON sleepers USING gist (geography(location));"
            "INSERT INTO sleepers SELECT n, CASE WHEN n >= %s THEN %s ELSE 0 END, repeat('x', 1000),"
            " ST_SetSRID(ST_MakePoint(n * 0.001, 0), 4326) FROM generate_series(1, %s) n;"
            "INSERT INTO sleepers VALUES (%s, %s, '', 'SRID=4326;POINT(90 0)');"
            f"CREATE TABLE {HELD} AS SELECT * FROM sleepers WHERE id = 1",
            (SLEEPY, SLEEP, ROWS, ENDLESS, 3 * PATIENCE),
        )
    return module_database
