"""Every RPC, called with every kind of credentials. The RPCs are those that the server itself says it has, so that none
can be forgotten."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from service.access import Scope
from service.security.needed import NEEDED
from spatial.v1 import admin_pb2, feature_pb2, query_pb2, write_pb2
from tests.edits import facility
from tests.questions import count, fill, intersects, nearest, point, radius
from tests.servers import Refusal, Served, refusal, serving

READ, WRITE, ADMIN = Scope
IMPORTED = "an-import-that-was-made"
Q, W, A = "spatial.v1.SpatialService", "spatial.v1.FeatureService", "spatial.v1.AdminService"
REFLECTIONS = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
LAYER = query_pb2.Query(layer=query_pb2.LayerQuery(layer="facilities"))
JOIN = query_pb2.JoinQuery(left_layer="facilities", right_layer="facilities", distance_meters=1)


@dataclass(frozen=True)
class Case:
    """An RPC: the scope that it needs, and a request that succeeds and names the layer `facilities`, if any."""

    scope: Scope | None
    request: Message
    of_a_layer: bool = True


CASES: dict[str, Case] = {
    f"{Q}/ListLayers": Case(READ, query_pb2.ListLayersRequest(), of_a_layer=False),
    f"{Q}/GetLayer": Case(READ, query_pb2.GetLayerRequest(name="facilities")),
    f"{Q}/GetFeature": Case(READ, query_pb2.GetFeatureRequest(layer="facilities", id="1")),
    f"{Q}/BatchGetFeatures": Case(READ, query_pb2.BatchGetFeaturesRequest(layer="facilities", ids=["1"])),
    f"{Q}/SearchRadius": Case(READ, radius()),
    f"{Q}/SearchNearest": Case(READ, nearest()),
    f"{Q}/SearchIntersects": Case(READ, intersects("POINT (0 0)", "facilities")),
    f"{Q}/CountFeatures": Case(READ, count()),
    f"{Q}/StreamRadius": Case(READ, query_pb2.StreamRadiusRequest(query=radius().query)),
    f"{Q}/StreamIntersects": Case(
        READ, query_pb2.StreamIntersectsRequest(query=intersects("POINT (0 0)", "facilities").query)
    ),
    f"{Q}/StreamFeatures": Case(READ, query_pb2.StreamFeaturesRequest(query=LAYER.layer)),
    f"{Q}/StreamJoin": Case(READ, query_pb2.StreamJoinRequest(query=JOIN)),
    f"{Q}/AggregateGrid": Case(READ, query_pb2.AggregateGridRequest(query=LAYER, cell_size=1)),
    f"{Q}/MatchFeatures": Case(
        READ,
        query_pb2.MatchRequest(query=query_pb2.Query(radius=query_pb2.RadiusQuery(layer="facilities"))),
    ),
    f"{Q}/RefreshLayers": Case(ADMIN, query_pb2.RefreshLayersRequest(), of_a_layer=False),
    f"{W}/CreateFeature": Case(
        WRITE, write_pb2.CreateFeatureRequest(layer="facilities", feature=facility(), validate_only=True)
    ),
    f"{W}/UpdateFeature": Case(
        WRITE,
        write_pb2.UpdateFeatureRequest(
            layer="facilities", feature=feature_pb2.Feature(id="1", properties={"name": "A"}), validate_only=True
        ),
    ),
    f"{W}/DeleteFeature": Case(WRITE, write_pb2.DeleteFeatureRequest(layer="facilities", id="1", validate_only=True)),
    f"{W}/DeleteFeatures": Case(
        WRITE, write_pb2.DeleteFeaturesRequest(query=LAYER, max_features=1000, validate_only=True)
    ),
    f"{W}/ImportFeatures": Case(
        WRITE,
        write_pb2.ImportFeaturesRequest(plan=write_pb2.ImportPlan(layer="facilities", import_id=IMPORTED)),
    ),
    f"{W}/GetImport": Case(WRITE, write_pb2.GetImportRequest(import_id=IMPORTED)),
    f"{A}/Explain": Case(ADMIN, admin_pb2.ExplainRequest(query=LAYER)),
    f"{A}/Diagnose": Case(ADMIN, admin_pb2.DiagnoseRequest(layers=["facilities"])),
    f"{A}/AnalyzeLayer": Case(ADMIN, admin_pb2.AnalyzeLayerRequest(layer="facilities")),
    "grpc.health.v1.Health/Check": Case(None, health_pb2.HealthCheckRequest()),
    "grpc.health.v1.Health/List": Case(None, health_pb2.HealthListRequest()),
    "grpc.health.v1.Health/Watch": Case(None, health_pb2.HealthCheckRequest()),
    **{
        f"{name}/ServerReflectionInfo": Case(None, reflection_pb2.ServerReflectionRequest(list_services=""))
        for name in REFLECTIONS
    },
}

# By the name of the caller whose token it is.
GRANTS = {
    "reader": "spatial.read",
    "writer": "spatial.write",
    "admin": "spatial.admin",
    "reader of facilities": "spatial.read:facil*",
    "writer of facilities": "spatial.write:facilities",
    "admin of facilities": "spatial.admin:facilities",
    "reader of zones": "spatial.read:zones spatial.read:facility",
    "writer of zones": "spatial.write:zone*",
    "admin of zones": "spatial.admin:zones",
}
SCOPES = {"reader": {READ}, "writer": {WRITE}, "admin": set(Scope)}


def token_of(caller: str) -> str:
    return f"the token of the {caller}".replace(" ", "-")


@pytest.fixture(scope="module")
def callers_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("callers") / "callers.yaml"
    entries = [f"- {{name: {name}, token: {token_of(name)}, scopes: {scopes}}}" for name, scopes in GRANTS.items()]
    path.write_text("\n".join(["callers:", *entries]))
    return path


@pytest.fixture(scope="module")
def secured(module_database: str, callers_file: Path) -> Iterator[Served]:
    fill(module_database)
    with serving(module_database, tokens_file=str(callers_file)) as served:
        plan = CASES[f"{W}/ImportFeatures"].request
        assert call(served, f"{W}/ImportFeatures", plan, "admin") is None
        yield served


def call(served: Served, rpc: str, request: Message, caller: str | None, timeout: float = 20) -> Refusal | None:
    """Why a call was refused; None if it was answered, or let in to find that the RPC is not there. Of a stream that
    may last, its first answer."""
    token = None if caller is None else token_of(caller)
    error = failure(served, rpc, request, () if token is None else (("authorization", f"Bearer {token}"),), timeout)
    return None if error is None or error.code() is grpc.StatusCode.UNIMPLEMENTED else refusal(error)


def failure(served: Served, rpc: str, request: Message, metadata: Any, timeout: float = 20) -> grpc.RpcError | None:
    kind, method = served.channel, method_of(rpc)
    makers: dict[tuple[bool, bool], Callable[..., Any]] = {
        (False, False): kind.unary_unary,
        (False, True): kind.unary_stream,
        (True, False): kind.stream_unary,
        (True, True): kind.stream_stream,
    }
    make = makers[method.client_streaming, method.server_streaming]
    callee = make(f"/{rpc}", lambda sent: sent.SerializeToString(), GetMessageClass(method.output_type).FromString)
    try:
        answer = callee(iter([request]) if method.client_streaming else request, timeout=timeout, metadata=metadata)
        if method.server_streaming:
            for _ in answer:
                if rpc.endswith("Watch"):
                    break
            answer.cancel()
    except grpc.RpcError as error:
        return error
    return None


@cache
def method_of(rpc: str) -> MethodDescriptor:
    service, _, name = rpc.partition("/")
    pool: Any = descriptor_pool.Default()
    found: MethodDescriptor = pool.FindServiceByName(service).methods_by_name[name]
    return found


def listed(served: Served) -> set[str]:
    """The services that the server says it has."""
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = served.channel.stream_stream(
        f"/{REFLECTIONS[0]}/ServerReflectionInfo",
        lambda sent: sent.SerializeToString(),
        reflection_pb2.ServerReflectionResponse.FromString,
    )(iter([request]), timeout=5)
    return {service.name for each in answer for service in each.list_services_response.service}


def test_every_rpc_of_every_service_is_in_the_matrix_and_in_the_table_of_scopes(secured: Served) -> None:
    pool: Any = descriptor_pool.Default()
    rpcs = {f"{name}/{method.name}" for name in listed(secured) for method in pool.FindServiceByName(name).methods}
    assert rpcs == set(CASES)
    assert {rpc: case.scope for rpc, case in CASES.items()} == {
        f"{service}/{method}": scope for service, methods in NEEDED.items() for method, scope in methods.items()
    }


@pytest.mark.parametrize("rpc", CASES)
def test_without_credentials(secured: Served, rpc: str) -> None:
    refused = call(secured, rpc, CASES[rpc].request, None)
    if CASES[rpc].scope is None:
        assert refused is None
    else:
        assert refused
        assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "MISSING_CREDENTIALS")


@pytest.mark.parametrize("rpc", CASES)
def test_with_credentials_that_are_nobody_s(secured: Served, rpc: str) -> None:
    refused = call(secured, rpc, CASES[rpc].request, "stranger")
    if CASES[rpc].scope is None:
        assert refused is None
    else:
        assert refused
        assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "INVALID_CREDENTIALS")
        assert "stranger" not in refused.message


@pytest.mark.parametrize("rpc", CASES)
@pytest.mark.parametrize("where", ["", " of facilities", " of zones"])
@pytest.mark.parametrize("caller", SCOPES)
def test_with_one_scope(secured: Served, caller: str, where: str, rpc: str) -> None:
    case = CASES[rpc]
    refused = call(secured, rpc, case.request, caller + where)
    if case.scope is not None and case.scope not in SCOPES[caller]:
        assert refused
        assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "INSUFFICIENT_SCOPE")
        assert refused.metadata == {"scope": case.scope}
    elif case.scope is not None and case.of_a_layer and where == " of zones":
        assert refused
        assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "LAYER_NOT_ALLOWED")
        assert refused.metadata == {"layer": "facilities", "scope": f"{case.scope}:facilities"}
    else:
        assert refused is None


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", f"Digest {token_of('reader')}", "Bearer a b"]
)
def test_a_header_that_is_no_bearer_token(secured: Served, header: str) -> None:
    error = failure(secured, f"{Q}/ListLayers", query_pb2.ListLayersRequest(), (("authorization", header),))
    assert error
    assert refusal(error).reason == "INVALID_CREDENTIALS"


def test_two_headers_are_none(secured: Served) -> None:
    headers = [("authorization", f"Bearer {token_of(caller)}") for caller in ("reader", "admin")]
    error = failure(secured, f"{Q}/ListLayers", query_pb2.ListLayersRequest(), headers)
    assert error
    assert refusal(error).reason == "INVALID_CREDENTIALS"


def test_the_matrix_asks_about_a_point_that_finds_something() -> None:
    """Else a search that finds nothing would pass for one that may find something."""
    assert point() == radius().query.center
