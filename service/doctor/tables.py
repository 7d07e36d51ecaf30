"""Checks of the tables that layers are read from: their statistics and their indexes."""

from collections.abc import Iterator, Mapping

from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class, whatever its case

from service.doctor.checks import Check
from service.doctor.findings import Finding, Severity
from service.doctor.tolerance import Tolerance

# Of each table that is asked about, the `root`: itself with its partitions; for a view the tables that it reads.
# Made first: who asks for a size waits for whoever locks the table, and must not ask for those of others.
BEHIND = """
WITH RECURSIVE reached AS (
    SELECT oid AS root, oid FROM unnest(%(oids)s::oid[]) AS oid
    UNION
    SELECT reached.root, next.oid
      FROM reached JOIN pg_class c ON c.oid = reached.oid,
           LATERAL (SELECT d.refobjid AS oid
                      FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                     WHERE c.relkind = 'v' AND r.ev_class = c.oid AND d.refclassid = 'pg_class'::regclass
                    UNION ALL
                    SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = c.oid) AS next
), behind AS MATERIALIZED (
    SELECT reached.root, c.oid, c.relname, n.nspname, c.relkind, c.reltuples,
           format('%%I.%%I', n.nspname, c.relname) AS "table",
           EXISTS (SELECT FROM pg_inherits i JOIN reached r ON r.oid = i.inhparent
                    WHERE i.inhrelid = c.oid AND r.root = reached.root) AS inherits
      FROM reached JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'm', 'f')
)
"""
# What REINDEX CONCURRENTLY leaves behind where it is cut short.
LEFT_BEHIND = "i.relname ~ '_cc(new|old)[0-9]*$'"
INDEXES = """
     indexes AS MATERIALIZED (
    SELECT b.root, b."table", i.oid, i.relname, format('%%I.%%I', n.nspname, i.relname) AS index, i.reltuples,
           am.amname, b.nspname, b.relname AS table_name, x.*
      FROM behind b JOIN pg_index x ON x.indrelid = b.oid JOIN pg_class i ON i.oid = x.indexrelid
      JOIN pg_namespace n ON n.oid = i.relnamespace JOIN pg_am am ON am.oid = i.relam
     WHERE i.relkind = 'i'
)
"""

NEVER_ANALYZED = Check(
    "never-analyzed",
    Severity.WARNING,
    "{table} was never analysed: plans are guesses",
    f"""{BEHIND}
SELECT root, "table", format('ANALYZE %%s', "table") AS statement FROM behind b
 WHERE relkind <> 'p' AND pg_relation_size(oid) > 0
   AND (reltuples < 0 OR (reltuples > 0 AND NOT row_security_active(oid) AND NOT EXISTS (
        SELECT FROM pg_stats s WHERE (s.schemaname, s.tablename) = (b.nspname, b.relname))))
""",
)
STALE_STATISTICS = Check(
    "stale-statistics",
    Severity.WARNING,
    "{changed} rows of about {rows} in {table} have changed since it was last analysed ({analyzed})",
    f"""{BEHIND}
SELECT root, "table", s.n_mod_since_analyze AS changed, b.reltuples::bigint AS rows,
       to_char(greatest(s.last_analyze, s.last_autoanalyze), 'YYYY-MM-DD HH24:MI') AS analyzed,
       format('ANALYZE %%s', "table") AS statement
  FROM behind b JOIN pg_stat_all_tables s ON s.relid = b.oid
 WHERE b.reltuples >= 0 AND s.n_mod_since_analyze > %(changed_rows)s + %(changed_share)s * b.reltuples
""",
)
UNUSABLE = Check(
    "unusable-index",
    Severity.ERROR,
    "{index} is invalid: no search uses it, and every write maintains it",
    f"""{BEHIND}, {INDEXES}
SELECT i.root, i."table", i.index, format('REINDEX INDEX CONCURRENTLY %%s', i.index) AS statement
  FROM indexes i LEFT JOIN pg_stat_progress_create_index p ON p.index_relid = i.oid
 WHERE NOT (i.indisvalid AND i.indisready) AND p.pid IS NULL AND NOT {LEFT_BEHIND}
""",
)
LEFT_BY_REINDEX = Check(
    "leftover-index",
    Severity.WARNING,
    "{index} was left behind by a REINDEX CONCURRENTLY that did not end: nothing uses it",
    f"""{BEHIND}, {INDEXES}
SELECT i.root, i."table", i.index, format('DROP INDEX CONCURRENTLY %%s', i.index) AS statement
  FROM indexes i LEFT JOIN pg_stat_progress_create_index p ON p.relid = i.indrelid
 WHERE NOT (i.indisvalid AND i.indisready) AND p.pid IS NULL AND {LEFT_BEHIND}
""",
)
# Of two the one goes that no constraint needs, or else the younger.
DUPLICATE = Check(
    "duplicate-index",
    Severity.WARNING,
    "{index} is the same as {same_as}: it costs writes and space, and serves nothing",
    f"""{BEHIND}, {INDEXES}, owned AS (
    SELECT i.*, i.indisunique OR i.indisprimary OR i.indisreplident OR i.indisexclusion
               OR EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.oid) AS needed,
           ARRAY[pg_get_expr(i.indexprs, i.indrelid), pg_get_expr(i.indpred, i.indrelid)] AS expressions
      FROM indexes i WHERE i.indisvalid
)
SELECT DISTINCT ON (gone.root, gone.oid) gone.root, gone."table", gone.index, kept.index AS same_as,
       format('DROP INDEX CONCURRENTLY %%s', gone.index) AS statement
  FROM owned gone JOIN owned kept
    ON kept.root = gone.root AND kept.indrelid = gone.indrelid AND kept.oid <> gone.oid AND kept.amname = gone.amname
   AND kept.indkey = gone.indkey AND kept.indclass = gone.indclass AND kept.indcollation = gone.indcollation
   AND kept.indoption = gone.indoption AND kept.expressions IS NOT DISTINCT FROM gone.expressions
   AND (kept.needed OR kept.oid < gone.oid)
 WHERE NOT gone.needed AND NOT EXISTS (SELECT FROM pg_inherits p WHERE p.inhrelid = gone.oid)
 ORDER BY gone.root, gone.oid, kept.needed DESC, kept.oid
""",
)
# What an index of so many entries would need, its pages two thirds full, as GiST's are after many inserts.
BLOATED = Check(
    "bloated-index",
    Severity.WARNING,
    "{index} takes {megabytes} MiB where about {enough} would do",
    f"""{BEHIND}, {INDEXES}, sized AS (
    SELECT i.*, pg_relation_size(i.oid) AS bytes,
           greatest(i.reltuples, 0) * 1.5 * (12 + CASE i.amname WHEN 'gist' THEN
               CASE WHEN EXISTS (SELECT FROM pg_opclass o WHERE o.oid = i.indclass[0] AND o.opcname LIKE '%%2d')
                    THEN 16 ELSE 40 END
           ELSE (SELECT sum(8 + coalesce(s.avg_width, 24))
                   FROM generate_series(0, i.indnatts - 1) k
                   LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k]
                   LEFT JOIN pg_stats s
                     ON (s.schemaname, s.tablename, s.attname) = (i.nspname, i.table_name, a.attname))
           END) AS needed
      FROM indexes i WHERE i.indisvalid AND i.amname IN ('gist', 'btree') AND i.reltuples >= 0
)
SELECT root, "table", index, round(bytes / 1048576.0, 1) AS megabytes, round(needed::numeric / 1048576, 1) AS enough,
       format('REINDEX INDEX CONCURRENTLY %%s', index) AS statement
  FROM sized
 WHERE bytes - needed > %(bloat_bytes)s AND bytes > %(bloat_factor)s * needed
   AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = sized.oid AND c.contype = 'x')
""",
)

CHECKS = (NEVER_ANALYZED, STALE_STATISTICS, UNUSABLE, LEFT_BY_REINDEX, DUPLICATE, BLOATED)


def table_findings(cursor: Cursor, layers: Mapping[int, str], tolerance: Tolerance) -> Iterator[Finding]:
    """Of the tables with these oids, and which layer each is told of. The catalog is gone through once a check."""
    given = {
        "changed_rows": tolerance.changed_rows,
        "changed_share": tolerance.changed_share,
        "bloat_bytes": tolerance.bloat_bytes,
        "bloat_factor": tolerance.bloat_factor,
    }
    for check in CHECKS:
        yield from check.findings_of_tables(cursor, layers, given)
