-- Everything in the schema `public` but what belongs to an extension, each with the definition that PostgreSQL prints.
WITH ours AS (
    SELECT oid, kind FROM (
        SELECT oid, relnamespace AS schema, relkind AS kind FROM pg_class
        UNION ALL SELECT oid, pronamespace, NULL FROM pg_proc
        UNION ALL SELECT oid, typnamespace, NULL FROM pg_type
    ) AS objects
    WHERE schema = 'public'::regnamespace AND oid NOT IN (SELECT objid FROM pg_depend WHERE deptype = 'e')
)
SELECT 'column' AS kind, attrelid::regclass::text AS owner, attname::text AS name,
       concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
                 pg_get_expr(adbin, adrelid), col_description(attrelid, attnum)) AS definition
  FROM pg_attribute LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
 WHERE attnum > 0 AND NOT attisdropped AND attrelid IN (SELECT oid FROM ours WHERE kind = 'r')
UNION ALL
SELECT 'index', indrelid::regclass::text, indexrelid::regclass::text, pg_get_indexdef(indexrelid)
  FROM pg_index WHERE indrelid IN (SELECT oid FROM ours)
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname::text, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE conrelid IN (SELECT oid FROM ours)
UNION ALL
SELECT 'trigger', tgrelid::regclass::text, tgname::text, pg_get_triggerdef(oid)
  FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN (SELECT oid FROM ours)
UNION ALL
SELECT 'function', '', proname::text, pg_get_functiondef(oid) FROM pg_proc WHERE oid IN (SELECT oid FROM ours)
UNION ALL
SELECT 'type', '', typname::text, typtype::text FROM pg_type WHERE oid IN (SELECT oid FROM ours)
UNION ALL
SELECT 'relation', '', relname::text, relkind::text FROM pg_class WHERE oid IN (SELECT oid FROM ours)
