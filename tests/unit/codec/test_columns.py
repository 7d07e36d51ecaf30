"""Columns: finding the values of all rows at once, and packing them."""

import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.catalog import Layer
from service.codec import columns, few, wire
from service.codec.scan import Scanner
from service.db.copy import Row
from service.domain import Output
from spatial.v1.feature_pb2 import Int64Values
from tests.copies import HEADER, LARGEST, LAYERS, SMALLEST, TRAILER, copied, exported, integers, sent

TO_1970 = 946_684_800_000_000


@given(st.lists(integers | st.sampled_from([0, 1, -1, 127, 128, 16_383, 16_384, SMALLEST, LARGEST])))
@example([128, 16_383])  # of one width, which has a way of its own
@example([16_384, 2_097_151, 16_384])
@example([-1, SMALLEST])
def test_packed_integers_are_protobufs(values: list[int]) -> None:
    packed = columns.varints(np.array(values, np.int64))

    assert list(Int64Values.FromString(wire.delimited(b"\x0a", packed)).values) == values


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (0, TO_1970),
        (-TO_1970, 0),
        (LARGEST, LARGEST),
        (SMALLEST, SMALLEST),
        (LARGEST - TO_1970 - 1, LARGEST - 1),
        (LARGEST - TO_1970, LARGEST - 1),
        (LARGEST - 1, LARGEST - 1),
    ],
)
def test_timestamps_count_from_1970_and_no_moment_is_taken_for_infinity(sent: int, expected: int) -> None:
    assert few.since_1970(np.array([sent])).tolist() == [expected]


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@given(places=st.lists(st.integers(0, 3)), before=st.binary(max_size=3))
@settings(deadline=None)
def test_rows_that_hold_what_rows_begin_with_are_told_apart(layer: Layer, places: list[int], before: bytes) -> None:
    statement = exported(layer, output=Output(("string",)))
    fields = [column.field for column in statement.columns]
    deceiving = before + copied(statement, [(1 if layer.integer_key else b"k", b"g", b"s")])
    rows: list[Row] = []
    for place in places:
        identifier = struct.unpack("!q", struct.pack("!hih", 3, 8, 0))[0] if layer.integer_key else b"key"
        row = [identifier, b"geometry", b"string"]
        if 0 < place < 3:
            row[place] = deceiving
        rows.append(tuple(row))

    scanned = Scanner(fields).scan(HEADER + sent(fields, rows) + TRAILER)

    buffer = scanned.buffer.tobytes()
    for index in (1, 2):
        values = scanned.fields[index]
        pairs = zip(values.starts.tolist(), values.ends.tolist(), strict=True)
        assert [buffer[start:end] for start, end in pairs] == [row[index] for row in rows]
