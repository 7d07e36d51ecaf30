"""What the clients change in databases that are not as this project makes them: without a ledger, with other tables."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from service import migrations
from spatial_client import FailedPrecondition
from tests.client_writes import BOTH, facility
from tests.clusters import POSTGIS
from tests.conftest import NewDatabase
from tests.servers import serving
from tests.situations import fetch


@BOTH
def test_a_database_without_a_ledger_says_so_and_takes_changes_that_are_not_remembered(
    kind: Any, database: str, kind_of: str
) -> None:
    fetch(database, "DROP TABLE spatial_requests, spatial_imports")
    with serving(database) as served, kind(served.address) as client:
        with pytest.raises(FailedPrecondition) as caught:
            client.create_feature("facilities", (1, 2), facility(kind_of))
        assert caught.value.reason == "LEDGER_MISSING"
        with pytest.raises(FailedPrecondition) as caught:
            client.import_features([((1, 2), facility(kind_of))], "facilities")
        assert caught.value.reason == "LEDGER_MISSING"
        assert client.count_features("facilities") == 0
        assert client.create_feature("facilities", (1, 2), facility(kind_of), request_id="").feature.id
        assert client.create_feature("facilities", (1, 2), facility(kind_of), validate_only=True).feature.id


SIGNS = """
CREATE TABLE signs (code text PRIMARY KEY, height float8, place geometry(Point, 4326));
CREATE INDEX ON signs USING gist (place);
CREATE TABLE plain (id int PRIMARY KEY, place geometry(Point, 4326));
CREATE INDEX ON plain USING gist (place);
"""


@BOTH
def test_tables_of_one_s_own_take_changes_where_their_layer_says_so(
    kind: Any, new_database: NewDatabase, tmp_path: Path
) -> None:
    path = tmp_path / "layers.yaml"
    path.write_text("layers: [{table: signs, writable: true}, {table: plain}]")
    with new_database(template=POSTGIS) as url:
        fetch(url, SIGNS)
        migrations.upgrade_ledger(url)
        with serving(url, layers=str(path)) as served, kind(served.address) as client:
            assert client.get_layer("signs").key_type == "string"
            client.create_feature("signs", (1, 2), {"height": float("inf")}, id="stop")
            client.update_feature("signs", "stop", geometry=None)
            rows = pa.table({"id": ["stop", "7"], "height": [1.5, None]})
            done = client.import_features(rows, "signs", mode="upsert")
            assert (done.updated, done.inserted) == (1, 1)
            found = client.get_features("signs", ["stop", "7"])
            assert [(each.id, each.properties["height"], each.wkb) for each in found] == [
                ("stop", 1.5, None),
                ("7", None, None),
            ]
            with pytest.raises(FailedPrecondition) as caught:
                client.create_feature("plain", (1, 2))
            assert (caught.value.reason, caught.value.field) == ("LAYER_READ_ONLY", "layer")
