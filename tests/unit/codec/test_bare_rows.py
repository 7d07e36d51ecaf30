"""Rows of an import that bring nothing: only a number says how many there are."""

import pytest

from service.codec.arriving.columns import MOST_BARE_ROWS
from service.errors import InvalidArgument, Reason
from spatial.v1.feature_pb2 import FeatureColumns
from spatial.v1.write_pb2 import ImportFeaturesRequest, ImportPlan
from tests.fuzz.codecs import IMPORTS

PLAN = IMPORTS.plan(ImportPlan(layer="facilities"))


def rows(**columns: object) -> int:
    request = ImportFeaturesRequest(columns=FeatureColumns(**columns))  # type: ignore[arg-type]
    (incoming,) = IMPORTS.rows(PLAN, request, 0)
    return len(incoming.numbers)


def test_there_are_so_many_in_a_message_at_most() -> None:
    assert rows(count=MOST_BARE_ROWS) == MOST_BARE_ROWS
    with pytest.raises(InvalidArgument) as refused:
        rows(count=MOST_BARE_ROWS + 1)
    assert (refused.value.reason, refused.value.field) == (Reason.TOO_MANY_ELEMENTS, "columns.count")
    assert refused.value.metadata == {"limit": str(MOST_BARE_ROWS)}


def test_rows_that_bring_anything_are_as_many_as_a_message_holds() -> None:
    more = MOST_BARE_ROWS + 1
    assert rows(count=more, int64_ids=range(more)) == more
