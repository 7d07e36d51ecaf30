"""What a plan says of itself: indexes, and the tables that are read from end to end."""

from typing import Any

import pytest

from service.db.plans import Plan, Scan

Node = dict[str, Any]


def node(kind: str, *below: Node, rows: int = 10) -> Node:
    made = {"Node Type": kind, "Plan Rows": rows, "Total Cost": 1.0, "Parent Relationship": "Outer"}
    return {**made, "Plans": [*below]} if below else made


def scan(table: str, rows: int = 10, kind: str = "Seq Scan") -> Node:
    return node(kind, rows=rows) | {"Schema": "public", "Relation Name": table, "Alias": table}


def walk(table: str, rows: int = 10, kind: str = "Index Scan") -> Node:
    """Along an index of which nothing is asked."""
    return scan(table, rows, kind) | {"Index Name": f"pk_{table}"}


def search(table: str) -> Node:
    return walk(table) | {"Index Cond": "(place && probe)"}


def bitmap(table: str) -> Node:
    below = node("Bitmap Index Scan") | {"Index Name": f"ix_{table}"}
    return scan(table, kind="Bitmap Heap Scan") | {"Plans": [below]}


def member(below: Node) -> Node:
    return below | {"Parent Relationship": "Member"}


def limit(*below: Node, rows: int = 5) -> Node:
    return node("Limit", *below, rows=rows)


def inner(below: Node) -> Node:
    return below | {"Parent Relationship": "Inner"}


PARTS = [member(scan(f"rivers_{number}")) for number in (2, 1)]
WALKED = [member(walk(f"rivers_{number}", rows=500)) for number in (1, 2)]


@pytest.mark.parametrize(
    ("plan", "tables"),
    [
        pytest.param(scan("rivers"), ["public.rivers"], id="sequentially"),
        pytest.param(node("Gather", scan("rivers") | {"Parallel Aware": True}), ["public.rivers"], id="by workers"),
        pytest.param(node("Append", *PARTS), ["public.rivers_1", "public.rivers_2"], id="each partition"),
        pytest.param(
            node("CTE Scan", scan("rivers") | {"Parent Relationship": "InitPlan"}),
            ["public.rivers"],
            id="in a CTE",
        ),
        pytest.param(node("Nested Loop", search("lakes"), inner(scan("rivers"))), ["public.rivers"], id="in a loop"),
        pytest.param(
            node("Append", scan("lakes"), scan("lakes")),
            ["public.lakes"],
            id="named once",
        ),
        pytest.param(scan("My Rivers") | {"Schema": "Água"}, ['"Água"."My Rivers"'], id="quoted"),
        pytest.param(scan("50%"), ['public."50%"'], id="a percent sign is one"),
        pytest.param(limit(scan("rivers", rows=500)), ["public.rivers"], id="sequentially for a few"),
        pytest.param(walk("rivers"), ["public.rivers"], id="along an index"),
        pytest.param(walk("rivers", kind="Index Only Scan"), ["public.rivers"], id="along an index that has it all"),
        pytest.param(limit(walk("rivers", rows=3)), ["public.rivers"], id="along an index, for more than there are"),
        pytest.param(
            limit(node("Sort", walk("rivers", rows=500), rows=500)), ["public.rivers"], id="along an index, to sort all"
        ),
        pytest.param(
            limit(node("Nested Loop", search("lakes"), inner(walk("rivers", rows=9)), rows=500)),
            ["public.rivers"],
            id="along an index, for each of others",
        ),
        pytest.param(limit(walk("rivers", rows=500)), [], id="along an index, until there are enough"),
        pytest.param(
            limit(node("Result", node("Subquery Scan", walk("rivers", rows=500), rows=500), rows=500)),
            [],
            id="until there are enough, with something between",
        ),
        pytest.param(
            limit(node("Merge Append", *WALKED, rows=1000)), [], id="along the indexes of partitions, until enough"
        ),
        pytest.param(search("rivers"), [], id="through an index"),
        pytest.param(walk("rivers") | {"Order By": "(place <-> probe)"}, [], id="nearest first"),
        pytest.param(bitmap("rivers"), [], id="bitmap"),
        pytest.param(node("Function Scan"), [], id="no table"),
    ],
)
def test_what_is_read_from_end_to_end(plan: Node, tables: list[str]) -> None:
    assert Plan(plan).sequential_scans == tables


def test_a_scan_says_what_the_statement_calls_the_table() -> None:
    (found,) = Plan(scan("rivers") | {"Alias": "left_feature"}).whole_reads
    assert found == Scan("public", "rivers", "left_feature")


def test_indexes_are_named_once_in_order() -> None:
    plan = Plan(node("Append", search("rivers"), node("Sort", bitmap("lakes")), search("rivers")))
    assert plan.indexes == ["ix_lakes", "pk_rivers"]


def test_cost_and_rows_are_those_of_the_whole() -> None:
    plan = Plan.of([{"Plan": node("Limit", scan("rivers"), rows=7) | {"Total Cost": 12.5}}])
    assert (plan.cost, plan.rows) == (12.5, 7)


def test_what_is_counted_is_below_the_count() -> None:
    loop = node("Nested Loop", node("Aggregate", scan("rivers", rows=123), rows=1), rows=1)
    assert Plan(loop).counted == 123
