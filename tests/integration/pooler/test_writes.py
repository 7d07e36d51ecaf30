"""Behind PgBouncer changes and imports are made once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from service.changes import Totals
from service.errors import Aborted
from tests.conftest import NewDatabase
from tests.edits import Editor, attempted, parcel, reason
from tests.imports import LAYERS, facilities, importer, plan
from tests.neighbours import end_the_sessions
from tests.pooler import pooled
from tests.servers import Served
from tests.situations import fetch


def test_of_changes_that_would_lie_on_each_other_one_is_made(served: Served) -> None:
    """Serializable transactions keep their session to themselves."""
    editor = Editor(served)
    given = [parcel(f"overlapping {number}") for number in range(6)]
    for each in given:
        each.geometry.wkt = "POLYGON ((40 40, 41 40, 41 41, 40 41, 40 40))"
    with ThreadPoolExecutor(6) as threads:
        outcomes = list(threads.map(lambda each: attempted(editor.create, "parcels", each), given))
    assert sorted(map(reason, outcomes)) == ["OVERLAP"] * 5 + ["done"]
    (made,) = [outcome for outcome in outcomes if reason(outcome) == "done"]
    editor.delete("parcels", made.feature.id)


@pytest.mark.parametrize("mode", ["INSERT", "UPSERT"])
def test_rows_are_in_once_though_sessions_and_the_pooler_break(
    new_database: NewDatabase, tool: Callable[[str], str], mode: str
) -> None:
    asked = plan(mode=mode)
    with (
        new_database() as url,
        pooled(tool("pgbouncer"), url, pool_size=2) as bouncer,
        importer(bouncer.url, pooler="transaction", pool_timeout=5.0) as made,
        made.begin(asked, LAYERS["facilities"]) as progress,
    ):
        for first in range(0, 4000, 500):
            keys = [str(first + row + 1) for row in range(500)]
            made.write(progress, replace(facilities(500, first), keys=keys))
            if first % 1000 == 0:
                end_the_sessions(bouncer, url)
            if first == 1500:
                bouncer.restart()
        totals = made.finish(progress).totals
        assert totals == Totals(4000, 4000, 0, 0, totals.chunks, totals.retries)
        assert totals.retries
        assert fetch(url, "SELECT count(*), count(DISTINCT name) FROM facilities") == [(4000, 4000)]


def test_of_two_calls_at_one_import_one_gives_up_and_no_row_is_in_twice(
    new_database: NewDatabase, tool: Callable[[str], str]
) -> None:
    asked = plan()
    with (
        new_database() as url,
        pooled(tool("pgbouncer"), url, pool_size=2) as bouncer,
        importer(bouncer.url, pooler="transaction") as made,
        made.begin(asked, LAYERS["facilities"]) as first,
        made.begin(asked, LAYERS["facilities"]) as second,
    ):
        for progress in (first, second):
            made.write(progress, facilities(900))  # waits to be a chunk
        made.finish(first)
        with pytest.raises(Aborted) as conflict:
            made.finish(second)
        assert conflict.value.reason == "CONFLICT"
        assert fetch(url, "SELECT count(*), count(DISTINCT name) FROM facilities") == [(900, 900)]
