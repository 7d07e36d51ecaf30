"""Filters after the grammar of CQL2, over properties that a layer has or has not; and texts that look like some."""

from hypothesis import strategies as st

from tests.fuzz.geometries import BAD_WKT, TEXTS

COMPARISONS = ("=", "<>", "!=", "<", "<=", ">", ">=")
ARITHMETIC = ("+", "-", "*", "/", "%", "^", "DIV")
TEMPORAL = tuple(
    f"T_{name}" for name in ("AFTER", "BEFORE", "CONTAINS", "DISJOINT", "DURING", "EQUALS", "INTERSECTS", "MEETS")
)
SPATIAL = tuple(
    f"S_{name}"
    for name in ("INTERSECTS", "DISJOINT", "WITHIN", "CONTAINS", "EQUALS", "TOUCHES", "CROSSES", "OVERLAPS", "NEAR")
)
ARRAYS = ("A_CONTAINS", "A_CONTAINEDBY", "A_OVERLAPS", "A_EQUALS")
NUMBERS = (
    "0",
    "1",
    "-1",
    "0.5",
    "-0.0",
    "1e308",
    "1e309",
    "-1e400",
    "5e-324",
    "9007199254740993",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "1e30",
    "0x10",
    "NaN",
    "Infinity",
    "1.",
    "00012345678901234567890123456789012345678901234567890",
)
STRINGS = (
    "''",
    "'park'",
    "'it''s'",
    "'%'",
    "'_'",
    "'\\'",
    "'a\\'",
    "'\\%'",
    "'%%%%%%%%%%%%a'",
    "'\0'",
    "'\x01'",
    "'é'",
    "'😀'",
    "'\ufffe'",
    "'%s %(x)s'",
    "':x'",
    "'1'",
    "'true'",
    "'2026-01-01'",
    "'{\"a\":1}'",
    "'Infinity'",
    "'00000000-0000-0000-0000-000000000001'",
    "'ok'",
    "'[1,2)'",
    "'10.0.0.1'",
    "'$1'",
)
MOMENTS = (
    "TIMESTAMP('2026-01-01T00:00:00Z')",
    "TIMESTAMP('2026-01-01T25:00:00Z')",
    "DATE('2026-02-30')",
    "DATE('0000-01-01')",
    "DATE('9999-12-31')",
    "TIMESTAMP('9999-12-31T23:59:60Z')",
    "DATE('-0001-01-01')",
    "TIMESTAMP('2026-01-01')",
    "DATE('2026-01-01T00:00:00Z')",
    "TIMESTAMP('1582-10-10T00:00:00.1234567Z')",
    "TIMESTAMP('')",
    "DATE(1)",
    "DATE('\uff12026-01-01')",
    "TIMESTAMP('infinity')",
)
INTERVALS = (
    "INTERVAL('..', '..')",
    "INTERVAL('2026-01-01', '..')",
    "INTERVAL('..', '2026-01-01T00:00:00Z')",
    "INTERVAL('2027-01-01', '2026-01-01')",
    "INTERVAL(created_at, updated_at)",
    "INTERVAL('x', 'y')",
)
PLACES = (
    *TEXTS,
    *(text for text in BAD_WKT if text.isprintable()),
    "BBOX(0, 0, 1, 1)",
    "BBOX(1,1,0,0)",
    "BBOX(170, 0, -170, 1)",
    "BBOX(0,0,0,1,1,1)",
    "BBOX(1e400,0,1,1)",
    "POINT(1e309 0)",
)
WORDS = (
    *COMPARISONS,
    *ARITHMETIC,
    "(",
    ")",
    ",",
    "AND",
    "OR",
    "NOT",
    "IN",
    "LIKE",
    "BETWEEN",
    "IS NULL",
    "IS",
    "NULL",
    "TRUE",
    "FALSE",
    "CASEI(",
    "ACCENTI(",
    "avg(",
    "'",
    '"',
    "--",
    "/*",
    ";",
    "\\",
    "::",
    "\0",
    "\n",
)
# What properties of the shipped layers and of the tests' tables are compared with as numbers, texts and so on.
Names = tuple[str, ...]
_POSTFIX = (" IS NULL", " IS NOT NULL", "")


def _quoted(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else '"' + name.replace('"', '""') + '"'


def filters(properties: Names, geometry: str) -> st.SearchStrategy[str]:
    """For a layer with these properties and a geometry column of this name."""
    names = [_quoted(name) for name in properties] or ["id"]
    place = _quoted(geometry)
    columns = st.sampled_from(
        [*names, *names, "nothing", f"{names[0]}.a.0", f"{names[-1]}.a", place, "id", '""', "ctid"]
    )
    plain = st.sampled_from(NUMBERS) | st.sampled_from(STRINGS) | st.sampled_from([*MOMENTS, "TRUE", "FALSE"])
    joined = st.builds("{} {} {}".format, columns | plain, st.sampled_from(ARITHMETIC), columns | plain)
    operands = columns | plain | joined | st.builds("CASEI({})".format, columns | plain)
    lists = st.lists(plain, max_size=4).map(lambda each: f"({', '.join(each)})")
    conditions = st.one_of(
        st.builds("{} {} {}".format, operands, st.sampled_from(COMPARISONS), operands),
        st.builds("{} {} {}".format, columns, st.sampled_from(COMPARISONS), plain),
        st.builds("{}{}".format, columns, st.sampled_from(_POSTFIX)),
        st.builds("{} {} {}".format, operands, st.sampled_from(["IN", "NOT IN"]), lists),
        st.builds("{} {} {}".format, operands, st.sampled_from(["LIKE", "NOT LIKE"]), plain),
        st.builds("{} BETWEEN {} AND {}".format, operands, plain, plain),
        st.builds(
            "{}({}, {})".format,
            st.sampled_from(TEMPORAL),
            columns | st.sampled_from(INTERVALS),
            st.sampled_from(MOMENTS) | st.sampled_from(INTERVALS),
        ),
        st.builds("{}({}, {})".format, st.sampled_from(SPATIAL), st.just(place) | columns, st.sampled_from(PLACES)),
        st.builds("{}({}, {})".format, st.sampled_from(ARRAYS), columns, lists),
    )
    formulas = st.recursive(
        conditions,
        lambda inner: (
            st.builds("({} {} {})".format, inner, st.sampled_from(["AND", "OR"]), inner)
            | st.builds("NOT {}".format, inner)
        ),
        max_leaves=4,
    )
    words = st.lists(st.sampled_from([*WORDS, *names, *NUMBERS, *STRINGS]), max_size=10).map(" ".join)
    return formulas | formulas | words | st.text(max_size=12)
