"""What each RPC of FeatureService refuses, and how it says so; and that nothing is written then."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from spatial.v1 import write_pb2, write_pb2_grpc
from spatial.v1.query_pb2 import LayerQuery
from tests.servers import Served, refusal, serving
from tests.situations import fetch
from tests.write_refusals import CASES, IMPORTS, ON_PARCELS, creating, geometry, removing, rpc_of

LAYERS = ("facilities", "zones", "districts", "parcels")
# Everything that is in the layers.
STATE = " UNION ALL ".join(
    f"SELECT '{each}', count(*), md5(string_agg(t::text, '' ORDER BY id)) FROM {each} t" for each in LAYERS
)


@pytest.fixture(scope="module")
def served(filled: str) -> Iterator[Served]:
    with serving(filled, max_vertices=100) as served:
        yield served


@pytest.fixture(scope="module")
def stub(served: Served) -> Any:
    return write_pb2_grpc.FeatureServiceStub(served.channel)


@pytest.fixture(scope="module", autouse=True)
def nothing_is_written(filled: str) -> Iterator[None]:
    before = fetch(filled, STATE)
    yield
    assert fetch(filled, STATE) == before


@pytest.mark.parametrize(("request_", "code", "reason", "field"), CASES.values(), ids=CASES)
def test_a_refusal_names_its_reason_and_the_field(
    stub: Any, request_: Message, code: str, reason: str, field: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        getattr(stub, rpc_of(request_))(request_, timeout=10)
    told = refusal(refused.value)
    assert (told.code, told.reason, told.fields) == (code, reason, (field,) if field else ())
    assert told.retry_seconds is None
    assert told.message.startswith(f"{field}: " if field else "")


@pytest.mark.parametrize(("requests", "code", "reason", "field"), IMPORTS.values(), ids=IMPORTS)
def test_an_import_is_refused_as_a_whole(
    stub: Any, requests: list[write_pb2.ImportFeaturesRequest], code: str, reason: str, field: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stub.ImportFeatures(iter(requests), timeout=10)
    told = refusal(refused.value)
    assert (told.code, told.reason, told.fields) == (code, reason, (field,))


def test_every_rpc_is_in_the_tables() -> None:
    rpcs = {method.name for method in write_pb2.DESCRIPTOR.services_by_name["FeatureService"].methods}
    assert rpcs == {rpc_of(case[0]) for case in CASES.values()} | {"ImportFeatures"}


@pytest.mark.parametrize(
    ("request_", "metadata"),
    [
        (creating("zones", code="Z1"), {"layer": "zones", "constraint": "uq_zones_code"}),
        (creating("parcels", district_id=99), {"constraint": "fk_parcels_district_id_districts"}),
        (creating("parcels", ON_PARCELS), {"layer": "parcels", "id": "1"}),
        (creating(place="LINESTRING (0 0, 1 1)"), {"actual": "LINESTRING", "expected": "POINT"}),
        (creating("zones", "POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))"), {"detail": "Self-intersection"}),
        (creating("zones", "POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))"), {"location": "POINT(0.5 0.5)"}),
        (creating(place=geometry("POINT (0 0)", srid=999_000)), {"srid": "999000"}),
        (removing(99, layer=LayerQuery(layer="facilities")), {"limit": "99"}),
    ],
    ids=lambda each: None if isinstance(each, Message) else str(each),
)
def test_a_program_finds_the_particulars_in_the_metadata(
    stub: Any, request_: Message, metadata: dict[str, str]
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        getattr(stub, rpc_of(request_))(request_, timeout=10)
    assert refusal(refused.value).metadata | metadata == refusal(refused.value).metadata
