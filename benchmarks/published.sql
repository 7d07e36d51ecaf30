-- How users of pg_featureserv and TiPg ask about a circle: they publish a function, which stands for a table with
-- parameters. PostgreSQL puts its body in place of the call, so that what sorts and limits it is planned together with it.
CREATE SCHEMA IF NOT EXISTS postgisftw;

CREATE OR REPLACE FUNCTION postgisftw.facilities_within(lon float8, lat float8, radius float8)
RETURNS TABLE (id bigint, name text, kind text, active boolean, location geometry, distance float8)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT facility.id, facility.name, facility.kind, facility.active, facility.location,
           ST_Distance(geography(facility.location), geography(ST_SetSRID(ST_MakePoint(lon, lat), 4326)))
      FROM public.facilities AS facility
     WHERE ST_DWithin(
               geography(facility.location), geography(ST_SetSRID(ST_MakePoint(lon, lat), 4326)), radius)
$$;
