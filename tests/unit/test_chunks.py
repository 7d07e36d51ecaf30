"""Rows become chunks: each of consecutive rows, none larger than it should be, nothing left out."""

import pytest

from service.changes import Incoming, Rejection
from service.db.imports.chunks import (
    FEWEST_ROWS,
    FIRST_ROWS,
    MOST_BYTES,
    MOST_ROWS,
    SECONDS,
    Chunk,
    ChunkSize,
    Gathering,
)
from service.db.imports.lines import Lines, lines_of


def rows(first: int, count: int, refused: tuple[int, ...] = (), text: str = "x", name: str = "name") -> Incoming:
    numbers = [row for row in range(first, first + count) if row not in refused]
    rejections = [Rejection(row, "", "INVALID_GEOMETRY", "") for row in refused]
    return Incoming(numbers, None, None, {name: [text] * len(numbers)}, rejections)


def gathered(*incoming: Incoming, size: int = 10, first: int = 0) -> list[Chunk]:
    of = ChunkSize()
    of.rows = size
    gathering = Gathering(of, None)
    chunks = []
    for each in incoming:
        chunks += list(gathering.add(each, first))
        first = max(first, *each.numbers, *(rejection.row for rejection in each.rejections), -1) + 1
    return [*chunks, *gathering.rest()]


def copied(lines: Lines) -> bytes:
    return b"".join(iter(lines.read, b""))


def spans(chunks: list[Chunk]) -> list[tuple[int, int, int]]:
    return [(chunk.first, chunk.end, len(chunk.numbers)) for chunk in chunks]


def test_rows_of_many_messages_make_a_chunk_and_one_message_makes_many() -> None:
    assert spans(gathered(rows(0, 4), rows(4, 4), rows(8, 30))) == [
        (0, 10, 10),
        (10, 20, 10),
        (20, 30, 10),
        (30, 38, 8),
    ]


def test_what_was_refused_belongs_to_a_chunk_and_takes_no_room_in_it() -> None:
    chunks = gathered(rows(0, 24, refused=(0, 5, 10, 11, 23)), size=8)
    assert spans(chunks) == [(0, 12, 8), (12, 20, 8), (20, 24, 3)]
    assert [[each.row for each in chunk.rejections] for chunk in chunks] == [[0, 5, 10, 11], [], [23]]


def test_a_message_of_which_all_was_refused_is_told_of_with_the_next() -> None:
    chunks = gathered(rows(0, 3, refused=(0, 1, 2)), rows(3, 2))
    assert spans(chunks) == [(0, 5, 2)]
    assert len(chunks[0].rejections) == 3


@pytest.mark.parametrize(("first", "expected"), [(3, [(3, 8, 5)]), (7, [(7, 8, 1)]), (8, []), (20, [])])
def test_rows_that_are_in_are_passed_over(first: int, expected: list[tuple[int, int, int]]) -> None:
    assert spans(gathered(rows(0, 8, refused=(1,)), first=first)) == expected


def test_large_rows_make_small_chunks_and_a_row_larger_than_a_chunk_makes_its_own() -> None:
    third = "x" * (MOST_BYTES // 3)
    assert spans(gathered(rows(0, 4, text=third))) == [(0, 2, 2), (2, 4, 2)]
    assert spans(gathered(rows(0, 2, text="x" * 2 * MOST_BYTES), rows(2, 1))) == [(0, 1, 1), (1, 2, 1), (2, 3, 1)]


@pytest.mark.parametrize("count", [0, 1, 64, 65, 200])
def test_copy_is_given_every_line_once_however_many_there_are(count: int) -> None:
    written = [str(number) for number in range(count)]
    assert copied(Lines(written)).decode() == "".join(f"{line}\n" for line in written)


def test_rows_that_bring_different_things_share_a_chunk() -> None:
    (chunk,) = gathered(rows(0, 2), rows(2, 1, name="kind"), rows(3, 2))
    kinds = chunk.kinds()
    assert [kind.values for kind in kinds] == [("name",), ("kind",)]
    assert copied(chunk.copy(0, kinds[0])) == b"0\t0\tx\n1\t0\tx\n3\t0\tx\n4\t0\tx\n"
    assert copied(chunk.copy(1, kinds[1])) == b"2\t1\tx\n"


def test_a_half_is_the_rows_up_to_the_one_in_the_middle() -> None:
    (chunk,) = gathered(rows(0, 10, refused=(0, 4, 9)))
    one, other = chunk.halves()
    assert spans([one, other]) == [(0, 5, 3), (5, 10, 4)]
    assert [each.row for each in one.rejections] == [0, 4]
    assert one.lines + other.lines == chunk.lines


def test_the_size_follows_what_chunks_take() -> None:
    size = ChunkSize()
    size.took(FIRST_ROWS, SECONDS / 10)
    assert size.rows == 2 * FIRST_ROWS
    size.took(2 * FIRST_ROWS, 10 * SECONDS)
    assert size.rows == FIRST_ROWS
    for _ in range(20):
        size.took(size.rows, 10 * SECONDS)
    assert size.rows == FEWEST_ROWS
    for _ in range(20):
        size.took(size.rows, 0.0)
    assert size.rows == MOST_ROWS


def test_a_small_chunk_that_was_quick_says_nothing_of_larger_ones() -> None:
    size = ChunkSize()
    size.took(3, 0.001)
    assert size.rows == FIRST_ROWS


def test_a_line_says_null_apart_from_the_text_that_looks_like_it() -> None:
    texts = [None, "", "\\N", "a\tb", "a\nb", "a\rb", "\\"]
    incoming = Incoming(range(7), ["1"] * 7, [None, *[b"\x01\xff"] * 6], {"name": texts, "kind": ["k"] * 7})
    assert lines_of(incoming) == [
        "1\t\\N\t\\N\tk",
        "1\t\\\\x01ff\t\tk",
        "1\t\\\\x01ff\t\\\\N\tk",
        "1\t\\\\x01ff\ta\\tb\tk",
        "1\t\\\\x01ff\ta\\nb\tk",
        "1\t\\\\x01ff\ta\\rb\tk",
        "1\t\\\\x01ff\t\\\\\tk",
    ]


GEOMETRY = b"\x01\x01\x00\x00\x00"


@pytest.mark.parametrize(
    ("keys", "geometries", "expected"),
    [
        pytest.param(None, [GEOMETRY, None], b"0101000000\ta\n\\N\tb\n", id="no keys"),
        pytest.param(["1", "2"], [GEOMETRY, None], b"1\t0101000000\ta\n2\t\\N\tb\n", id="numbers as keys"),
        pytest.param(
            ["\\x", "\t"],
            [GEOMETRY, GEOMETRY],
            b"\\\\x\t0101000000\ta\n\\t\t0101000000\tb\n",
            id="keys like geometries",
        ),
        pytest.param(["1", "2"], None, b"1\ta\n2\tb\n", id="no geometries"),
    ],
)
def test_lines_for_the_table_itself_have_geometries_in_hex(
    keys: list[str] | None, geometries: list[bytes | None] | None, expected: bytes
) -> None:
    incoming = Incoming([0, 1], keys, geometries, {"name": ["a", "b"]})
    gathering = Gathering(ChunkSize(straight=True), None, straight=True)
    list(gathering.add(incoming, 0))
    (chunk,) = gathering.rest()
    assert copied(chunk.straight()) == expected


@pytest.mark.parametrize("keys", [None, ["\\N", "2"]], ids=["no keys", "keys"])
@pytest.mark.parametrize("geometries", [None, [GEOMETRY, None]], ids=["no geometries", "geometries"])
def test_what_the_table_itself_refuses_is_staged_as_any_other_rows_are(
    keys: list[str] | None, geometries: list[bytes | None] | None
) -> None:
    incoming = Incoming([0, 1], keys, geometries, {"name": ["a\tb", None]})
    staged = []
    for straight in (False, True):
        gathering = Gathering(ChunkSize(straight=straight), None, straight=straight)
        list(gathering.add(incoming, 0))
        (chunk,) = gathering.rest()
        staged.append([copied(half.copy(0, *half.kinds())) for half in (chunk, *chunk.halves())])
    assert staged[0] == staged[1]
