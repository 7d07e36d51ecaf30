"""What a plan says: the output of `EXPLAIN (VERBOSE, FORMAT JSON)`, read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy.dialects import postgresql

Node = Mapping[str, Any]

# They take in all that is below them before they give anything, whatever is above them wants.
_TAKES_ALL = frozenset({"Sort", "Aggregate", "Hash", "Materialize", "SetOp", "WindowAgg"})
_IDENTIFIERS = postgresql.dialect(paramstyle="named").identifier_preparer  # type: ignore[no-untyped-call]


class Scan(NamedTuple):
    """A table that is read from end to end; `alias` is what the statement calls it there."""

    schema: str
    name: str
    alias: str

    @property
    def table(self) -> str:
        """Schema and name, quoted where they must be."""
        return f"{_IDENTIFIERS.quote(self.schema)}.{_IDENTIFIERS.quote(self.name)}"


@dataclass(frozen=True)
class Plan:
    """A statement's plan, by its top node."""

    top: Node

    @classmethod
    def of(cls, explained: Sequence[Mapping[str, Any]]) -> "Plan":
        """What EXPLAIN answered with."""
        return cls(explained[0]["Plan"])

    @property
    def cost(self) -> float:
        return float(self.top["Total Cost"])

    @property
    def rows(self) -> float:
        return float(self.top["Plan Rows"])

    @property
    def indexes(self) -> list[str]:
        """Those that it uses, in order of their names."""
        return sorted({node["Index Name"] for node in plan_nodes(self.top) if "Index Name" in node})

    @property
    def whole_reads(self) -> list[Scan]:
        """What it reads from end to end: sequentially, by several workers or not, each partition by its own name; or
        along an index of which it asks nothing, unless it expects to have enough before the end."""
        return sorted({_scan(node) for node in _read_whole(self.top, cut=False)})

    @property
    def sequential_scans(self) -> list[str]:
        """The tables that it reads from end to end, in order of their names."""
        return sorted({scan.table for scan in self.whole_reads})

    @property
    def counted(self) -> int:
        """How many rows a counting statement is expected to count."""
        aggregate = next(node for node in plan_nodes(self.top) if node["Node Type"] == "Aggregate")
        return int(aggregate["Plans"][0]["Plan Rows"])


def plan_nodes(plan: Node) -> Iterator[Node]:
    """A plan's nodes, the top one first: subplans, CTEs and partitions are nodes as well."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from plan_nodes(child)


def _scan(node: Node) -> Scan:
    return Scan(node["Schema"], node["Relation Name"], node["Alias"])


def _read_whole(node: Node, *, cut: bool) -> Iterator[Node]:
    """`cut`: what is above has enough before this node ends, as the planner expects."""
    if node["Node Type"] == "Seq Scan" or (_walks(node) and not cut):
        yield node
    for child in node.get("Plans", ()):
        yield from _read_whole(child, cut=_is_cut(node, child, cut=cut))


def _is_cut(node: Node, child: Node, *, cut: bool) -> bool:
    if node["Node Type"] in _TAKES_ALL or child["Parent Relationship"] not in ("Outer", "Member", "Subquery"):
        return False
    return cut or (node["Node Type"] == "Limit" and node["Plan Rows"] < child["Plan Rows"])


def _walks(node: Node) -> bool:
    """Whether an index is walked for its order alone, neither asked for a range nor for what is nearest."""
    return node["Node Type"] in ("Index Scan", "Index Only Scan") and not ("Index Cond" in node or "Order By" in node)
