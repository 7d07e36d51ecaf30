-- Tables as they are found: each has something that a service over tables of its own would never meet.
CREATE EXTENSION IF NOT EXISTS hstore;
CREATE SCHEMA gis;
CREATE SCHEMA "Straße 1.a";

-- Keys, and none.
CREATE TABLE keyed_smallint (id smallint PRIMARY KEY, n int, geom geometry(Point, 4326) NOT NULL);
CREATE TABLE keyed_integer (id int PRIMARY KEY, n int, geom geometry(Point, 4326) NOT NULL);
CREATE TABLE keyed_bigint (id bigint PRIMARY KEY, n int, geom geometry(Point, 4326) NOT NULL);
CREATE TABLE keyed_uuid (id uuid PRIMARY KEY, n int, geom geometry(Point, 4326) NOT NULL);
CREATE TABLE keyed_text (id text PRIMARY KEY, n int, geom geometry(Point, 4326) NOT NULL);
CREATE TABLE keyed_varchar (id varchar(8) PRIMARY KEY, n int, geom geometry(Point, 4326) NOT NULL);
CREATE DOMAIN code AS text CHECK (value <> 'never');
CREATE TABLE keyed_domain (id code PRIMARY KEY, n int, geom geometry(Point, 4326) NOT NULL);
CREATE TABLE keyed_unique (n int, id int NOT NULL UNIQUE, geom geometry(Point, 4326) NOT NULL);
INSERT INTO keyed_smallint SELECT n - 50, n, ST_Point(n * 0.01, 0, 4326) FROM generate_series(0, 99) n;
INSERT INTO keyed_integer SELECT n * 20000003, n, ST_Point(n * 0.01, 0, 4326) FROM generate_series(0, 99) n;
INSERT INTO keyed_bigint SELECT n * 10000000000000007, n, ST_Point(n * 0.01, 0, 4326) FROM generate_series(0, 99) n;
INSERT INTO keyed_uuid SELECT md5(n::text)::uuid, n, ST_Point(n * 0.01, 0, 4326) FROM generate_series(0, 99) n;
INSERT INTO keyed_text
  SELECT (ARRAY['', 'Ä ', 'a,b', '{"\x"}', 'NULL', '100%s '])[n % 6 + 1] || CASE n WHEN 0 THEN '' ELSE md5(n::text) END,
         n, ST_Point(n * 0.01, 0, 4326) FROM generate_series(0, 99) n;
INSERT INTO keyed_varchar SELECT n::text, n, ST_Point(n * 0.01, 0, 4326) FROM generate_series(0, 99) n;
INSERT INTO keyed_domain SELECT 'k' || n, n, ST_Point(n * 0.01, 0, 4326) FROM generate_series(0, 99) n;
INSERT INTO keyed_unique SELECT n, n, ST_Point(n * 0.01, 0, 4326) FROM generate_series(0, 99) n;
CREATE TABLE keyed_by_two (a int, b int, geom geometry(Point, 4326), PRIMARY KEY (a, b));
CREATE TABLE keyed_by_none (n int, geom geometry(Point, 4326));
CREATE TABLE keyed_numeric (id numeric PRIMARY KEY, geom geometry(Point, 4326));
CREATE TABLE unindexed (id int PRIMARY KEY, geom geometry(Point, 4326));
INSERT INTO unindexed SELECT n, ST_Point(n, n, 4326) FROM generate_series(1, 10) n;

-- Geometries of any kind.
CREATE TABLE measured (id int PRIMARY KEY, geom geometry(PointZM, 4326));
INSERT INTO measured VALUES (1, 'SRID=4326;POINT ZM (1 2 3 4)'), (2, NULL), (3, 'SRID=4326;POINT ZM EMPTY');
CREATE TABLE tracks (id int PRIMARY KEY, geom geometry(LineStringM, 4326));
INSERT INTO tracks VALUES (1, 'SRID=4326;LINESTRING M (0 0 10, 1 1 20)');
CREATE TABLE anything (id int PRIMARY KEY, geom geometry);
INSERT INTO anything SELECT n, ST_Translate('SRID=4326;LINESTRING (0 0, 1 1)'::geometry, n, 0) FROM generate_series(1, 3) n;
INSERT INTO anything VALUES (4, 'SRID=4326;GEOMETRYCOLLECTION (POINT (7 7), LINESTRING (7 7, 8 8))');
CREATE TABLE curves (id int PRIMARY KEY, geom geometry(CurvePolygon, 4326));
INSERT INTO curves VALUES (1, 'SRID=4326;CURVEPOLYGON (CIRCULARSTRING (0 0, 1 1, 2 0, 1 -1, 0 0))');
CREATE TABLE mixed (id int PRIMARY KEY, geom geometry);
INSERT INTO mixed VALUES (1, 'SRID=4326;POINT (0 0)'), (2, 'SRID=3857;POINT (0 0)');
CREATE TABLE flat (id int PRIMARY KEY, geom geometry(Polygon));
INSERT INTO flat SELECT n, ST_MakeEnvelope(n * 10, 0, n * 10 + 5, 5) FROM generate_series(0, 9) n;
CREATE TABLE projected (id int PRIMARY KEY, geom geometry(Point, 3857) NOT NULL);
INSERT INTO projected SELECT n, ST_Point(n * 1000, 0, 3857) FROM generate_series(0, 99) n;
CREATE TABLE two_geometries (
  id int PRIMARY KEY, area geometry(Polygon, 4326), middle geometry(Point, 4326) GENERATED ALWAYS AS (ST_Centroid(area)) STORED
);
INSERT INTO two_geometries (id, area) SELECT n, ST_MakeEnvelope(n, 0, n + 0.5, 0.5, 4326) FROM generate_series(0, 9) n;
CREATE DOMAIN place AS geometry(Point, 4326);
CREATE TABLE of_domain (id int PRIMARY KEY, geom place NOT NULL);
INSERT INTO of_domain SELECT n, ST_Point(n, n, 4326) FROM generate_series(1, 10) n;

-- Names.
CREATE TABLE "Straße 1.a"."100% ""Größe""" ("Schlüssel %s" int PRIMARY KEY, "Höhe %(x)s" float8, "select" text,
  "geo metrie %" geometry(Point, 4326) NOT NULL);
INSERT INTO "Straße 1.a"."100% ""Größe""" SELECT n, n / 2.0, 'Wert ' || n, ST_Point(n, n, 4326) FROM generate_series(1, 10) n;
CREATE TABLE probe (id int PRIMARY KEY, geometry geometry(Point, 4326) NOT NULL, ordinal int, radius float8);
INSERT INTO probe SELECT n, ST_Point(n, n, 4326), -n, 0 FROM generate_series(1, 10) n;
CREATE TABLE reach (id int PRIMARY KEY, distance float8, geom geometry(Point, 4326));
INSERT INTO reach SELECT n, 0, ST_Point(n, n, 4326) FROM generate_series(1, 10) n;
CREATE TABLE places (id int PRIMARY KEY, first text, geom geometry(Point, 4326));
INSERT INTO places SELECT n, repeat('x', 5000), ST_Point(n, n, 4326) FROM generate_series(1, 10) n;
CREATE TABLE gis.roads (id int PRIMARY KEY, name text, geom geometry(LineString, 4326));
INSERT INTO gis.roads SELECT n, 'Road ' || n, ST_MakeLine(ST_Point(n, 0, 4326), ST_Point(n, 1, 4326)) FROM generate_series(1, 10) n;
CREATE TABLE gis.keyed_integer (id int PRIMARY KEY, geom geometry(Point, 4326));

-- Other relations.
CREATE TABLE parts (id int, year int, geom geometry(Point, 4326), PRIMARY KEY (id, year)) PARTITION BY RANGE (year);
CREATE TABLE partitioned (id int PRIMARY KEY, geom geometry(Point, 4326) NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE partitioned_1 PARTITION OF partitioned FOR VALUES FROM (0) TO (50);
CREATE TABLE partitioned_2 PARTITION OF partitioned FOR VALUES FROM (50) TO (100);
INSERT INTO partitioned SELECT n, ST_Point(n, 0, 4326) FROM generate_series(0, 99) n;
CREATE EXTENSION file_fdw;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE far (id int, geom geometry(Point, 4326)) SERVER files
  OPTIONS (program 'for n in 1 2 3 4 5; do echo "$n,POINT($n $n)"; done', format 'csv');
CREATE VIEW seen AS SELECT id AS ident, n, geom FROM keyed_integer WHERE n < 50;
CREATE VIEW outer_seen AS SELECT k.id, k.n, k.geom FROM generate_series(0, 120) g LEFT JOIN keyed_unique k ON k.n = g;
CREATE MATERIALIZED VIEW kept AS SELECT id AS ident, n, geom FROM keyed_integer;

-- Everything that a column can be.
CREATE TYPE mood AS ENUM ('sad', 'ok', 'Glücklich');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN percentage AS numeric(5, 2) CHECK (value BETWEEN 0 AND 100);
CREATE TABLE kinds (
  id int PRIMARY KEY, gone int, geom geometry(Point, 4326),
  c_smallint smallint, c_integer integer, c_bigint bigint, c_numeric numeric, c_real real, c_double float8,
  c_boolean boolean, c_timestamptz timestamptz, c_timestamp timestamp, c_date date, c_time time, c_timetz timetz,
  c_interval interval, c_uuid uuid, c_enum mood, c_inet inet, c_cidr cidr, c_range int4range, c_tsrange tsrange,
  c_xml xml, c_text text, c_varchar varchar(20), c_char char(5), c_money money, c_bits bit varying, c_tsvector tsvector,
  c_json json, c_jsonb jsonb, c_integers int[], c_texts text[], c_moods mood[], c_hstore hstore, c_composite pair,
  c_bytea bytea, c_domain percentage, c_generated int GENERATED ALWAYS AS (c_integer * 2) STORED,
  c_geometries geometry[]
);
ALTER TABLE kinds DROP COLUMN gone;
INSERT INTO kinds VALUES (
  1, 'SRID=4326;POINT (1 1)', -7, 1073741823, 9007199254740993, 123456.789, 1.5, 0.1, true,
  '2024-02-29 12:34:56.789+02', '2024-02-29 12:34:56', '2024-02-29', '12:34:56', '12:34:56+02', '1 day 02:03:04',
  '11111111-2222-3333-4444-555555555555', 'Glücklich', '10.0.0.1', '10.0.0.0/8', '[1,5)',
  '[2024-01-01 00:00:00,2024-02-01 00:00:00)', '<a>b</a>', 'Text', 'short', 'ab', 12.5, B'101', 'a b',
  '{"a": "\u0000", "b": [1.50]}', '{"a": {"b": null}}', '{1,NULL,3}', '{a,"b c"}', '{sad,ok}', 'x=>1', '(5,five)',
  '\x00ff10', 12.5
), (
  2, 'SRID=4326;POINT (2 2)', NULL, NULL, NULL, 'NaN', 'Infinity', 'NaN', NULL,
  'infinity', '-infinity', 'infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'empty', NULL, NULL, '', '', '', NULL, NULL,
  NULL, 'null', 'null', '{}', '{}', '{}', '', NULL, '\x', NULL
);
INSERT INTO kinds (id, geom) VALUES (3, NULL), (4, 'SRID=4326;POINT EMPTY');
UPDATE kinds SET c_timestamptz = '-infinity', c_numeric = '-Infinity' WHERE id = 3;
UPDATE kinds SET c_timestamptz = '0044-03-15 12:00:00+00 BC', c_date = '0044-03-15 BC', c_numeric = 1e300 WHERE id = 4;

-- Geography.
CREATE TABLE towns (id int PRIMARY KEY, name text, place geography(Point, 4326) NOT NULL);
INSERT INTO towns SELECT n, 'Town ' || n, ST_Point(n * 3.6 - 180, (n * 37) % 181 - 90)::geography FROM generate_series(0, 100) n;
CREATE TABLE regions (id int PRIMARY KEY, area geography(Polygon));
INSERT INTO regions SELECT n, ST_MakeEnvelope(n * 10, 40, n * 10 + 8, 50, 4326)::geography FROM generate_series(-9, 9) n;

DO $$
DECLARE each record;
BEGIN
  FOR each IN
    SELECT c.oid::regclass AS relation, a.attname AS name
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
      JOIN pg_type t ON t.oid = a.atttypid
     WHERE n.nspname IN ('public', 'gis', 'Straße 1.a') AND c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition
       AND t.typname IN ('geometry', 'geography', 'place') AND c.relname <> 'unindexed'
  LOOP
    EXECUTE format('CREATE INDEX ON %s USING gist (%I)', each.relation, each.name);
  END LOOP;
END $$;
CREATE INDEX ON keyed_integer USING gist (geography(geom));
CREATE INDEX ON kept (ident);
ANALYZE;
