"""What an import costs the server in memory does not grow with its rows."""

from pathlib import Path

import grpc

from spatial.v1 import feature_pb2, write_pb2, write_pb2_grpc
from tests.conftest import NewDatabase
from tests.imports import point
from tests.processes import Serving, spatial_serve
from tests.situations import fetch

MESSAGE, FEW, MANY = 2000, 20_000, 200_000
_DROP_INDEXES = """
DO $$ DECLARE found text; BEGIN
  FOR found IN SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'facilities'::regclass AND NOT indisprimary
  LOOP EXECUTE 'DROP INDEX ' || found; END LOOP;
END $$
"""


def mebibytes(serving: Serving, name: str) -> float:
    """VmRSS, what the process has; VmHWM, the most that it ever had."""
    status = Path(f"/proc/{serving.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) / 1024


def send(channel: grpc.Channel, rows: int) -> None:
    texts = feature_pb2.StringValues(values=[f"Facility {row}" for row in range(MESSAGE)])
    message = write_pb2.ImportFeaturesRequest(
        columns=feature_pb2.FeatureColumns(
            count=MESSAGE,
            wkb=[point(row % 180, row % 90) for row in range(MESSAGE)],
            properties=[feature_pb2.Column(name=name, strings=texts) for name in ("name", "kind")],
        )
    )
    opening = write_pb2.ImportFeaturesRequest(plan=write_pb2.ImportPlan(layer="facilities"))
    stub = write_pb2_grpc.FeatureServiceStub(channel)
    answer = stub.ImportFeatures(iter([opening, *[message] * (rows // MESSAGE)]), timeout=120)
    assert answer.totals.inserted == rows


def test_memory_does_not_grow_with_what_is_imported(new_database: NewDatabase) -> None:
    with new_database() as url:
        fetch(url, _DROP_INDEXES)
        with spatial_serve(database_url=url) as server, grpc.insecure_channel(server.address) as channel:
            send(channel, FEW)
            before = mebibytes(server, "VmRSS")
            send(channel, MANY)
            assert mebibytes(server, "VmHWM") - before < 64
