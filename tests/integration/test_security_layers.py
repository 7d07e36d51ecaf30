"""Wherever a request names a layer, the caller's credentials must cover it; nothing that others learned helps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from spatial.v1 import admin_pb2, admin_pb2_grpc, geometry_pb2, query_pb2, write_pb2, write_pb2_grpc
from tests.matching import keyed, opening
from tests.questions import fill, point, radius
from tests.servers import Refusal, Served, refusal, serving

CALLERS = {
    "facilities": "spatial.read:facilities",
    "both": "spatial.read:facilities spatial.read:zones",
    "all": "spatial.read",
    "keeper": "spatial.write:facilities spatial.read:facilities",
    "blind-keeper": "spatial.write:facilities",
    "keeper-of-both": "spatial.write:facilities spatial.read:zones",
    "doctor": "spatial.admin:facilities",
    "nobody": "spatial.read:nothing",
}
ZONE = geometry_pb2.Probe(feature=geometry_pb2.FeatureRef(layer="zones", id="1"))
AROUND_ZONE = query_pb2.RadiusQuery(layer="facilities", center=ZONE, radius_meters=1)
MEETING_ZONE = query_pb2.IntersectsQuery(layer="facilities", probe=ZONE)
JOIN = query_pb2.JoinQuery(left_layer="facilities", right_layer="zones")
TURNED = query_pb2.JoinQuery(left_layer="zones", right_layer="facilities")
IMPORT = write_pb2.ImportPlan(layer="zones")


def token_of(caller: str) -> tuple[tuple[str, str]]:
    return (("authorization", f"Bearer the-long-token-of-{caller}"),)


@pytest.fixture(scope="module")
def served(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    fill(module_database)
    path: Path = tmp_path_factory.mktemp("callers") / "callers.yaml"
    entries = [f"- {{name: {n}, token: the-long-token-of-{n}, scopes: '{scopes}'}}" for n, scopes in CALLERS.items()]
    path.write_text("\n".join(["callers:", *entries]))
    with serving(module_database, tokens_file=str(path)) as served:
        yield served


def stubs(served: Served) -> dict[str, Any]:
    made = (
        served.stub,
        write_pb2_grpc.FeatureServiceStub(served.channel),
        admin_pb2_grpc.AdminServiceStub(served.channel),
    )
    return {name: method for stub in made for name, method in vars(stub).items()}


def refused(served: Served, rpc: str, request: Message, caller: str) -> Refusal | None:
    streams = rpc.startswith("Import")
    try:
        answer = stubs(served)[rpc](iter([request]) if streams else request, metadata=token_of(caller), timeout=20)
        if not isinstance(answer, Message):
            list(answer)
    except grpc.RpcError as error:
        return refusal(error)
    return None


QUERY = query_pb2.Query
REQUESTS: dict[str, tuple[str, Message, str, str, str]] = {
    "a feature of another layer as a center": (
        "SearchRadius",
        query_pb2.SearchRadiusRequest(query=AROUND_ZONE),
        "facilities",
        "both",
        "query.center.feature.layer",
    ),
    "a feature of another layer as a probe": (
        "SearchIntersects",
        query_pb2.SearchIntersectsRequest(query=MEETING_ZONE),
        "facilities",
        "both",
        "query.probe.feature.layer",
    ),
    "a feature of another layer, streamed": (
        "StreamRadius",
        query_pb2.StreamRadiusRequest(query=AROUND_ZONE),
        "facilities",
        "both",
        "query.center.feature.layer",
    ),
    "a feature of another layer, counted": (
        "CountFeatures",
        query_pb2.CountFeaturesRequest(query=QUERY(intersects=MEETING_ZONE)),
        "facilities",
        "both",
        "query.intersects.probe.feature.layer",
    ),
    "the right side of a join": (
        "StreamJoin",
        query_pb2.StreamJoinRequest(query=JOIN),
        "facilities",
        "both",
        "query.right_layer",
    ),
    "the left side of a join": (
        "StreamJoin",
        query_pb2.StreamJoinRequest(query=TURNED),
        "facilities",
        "both",
        "query.left_layer",
    ),
    "a join that is counted": (
        "CountFeatures",
        query_pb2.CountFeaturesRequest(query=QUERY(join=JOIN)),
        "facilities",
        "both",
        "query.join.right_layer",
    ),
    "what is removed because of a feature elsewhere": (
        "DeleteFeatures",
        write_pb2.DeleteFeaturesRequest(query=QUERY(intersects=MEETING_ZONE), max_features=1, validate_only=True),
        "keeper",
        "keeper-of-both",
        "query.intersects.probe.feature.layer",
    ),
    "a diagnosis": ("Diagnose", admin_pb2.DiagnoseRequest(layers=["facilities", "zones"]), "doctor", "", "layers[1]"),
    "an explanation": (
        "Explain",
        admin_pb2.ExplainRequest(query=QUERY(join=JOIN)),
        "doctor",
        "",
        "query.join.right_layer",
    ),
    "an explanation of a search around a feature": (
        "Explain",
        admin_pb2.ExplainRequest(query=QUERY(radius=AROUND_ZONE)),
        "doctor",
        "",
        "query.radius.center.feature.layer",
    ),
    "an import": ("ImportFeatures", write_pb2.ImportFeaturesRequest(plan=IMPORT), "keeper", "", "plan.layer"),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_a_layer_that_is_not_covered_is_refused_by_the_field_that_names_it(served: Served, case: str) -> None:
    rpc, request, without, covering, field = REQUESTS[case]
    seen = refused(served, rpc, request, without)
    assert seen
    assert (seen.code, seen.reason, seen.fields) == ("PERMISSION_DENIED", "LAYER_NOT_ALLOWED", (field,))
    assert seen.metadata["layer"] == "zones"
    assert not covering or refused(served, rpc, request, covering) is None


def test_a_feature_that_is_read_for_a_change_takes_reading_even_of_the_layer_that_is_changed(served: Served) -> None:
    own = geometry_pb2.Probe(feature=geometry_pb2.FeatureRef(layer="facilities", id="1"))
    query = QUERY(intersects=query_pb2.IntersectsQuery(layer="facilities", probe=own))
    request = write_pb2.DeleteFeaturesRequest(query=query, max_features=1, validate_only=True)
    seen = refused(served, "DeleteFeatures", request, "blind-keeper")
    assert seen
    assert (seen.reason, seen.metadata["scope"]) == ("LAYER_NOT_ALLOWED", "spatial.read:facilities")
    assert refused(served, "DeleteFeatures", request, "keeper") is None


def test_a_probe_of_a_match_that_is_not_covered_is_refused_and_the_others_are_answered(served: Served) -> None:
    first = opening(query_pb2.RadiusQuery(layer="facilities", radius_meters=1))
    first.probes.extend(keyed([point(), ZONE, point(0.01)]))
    answers = [
        match
        for response in served.stub.MatchFeatures(iter([first]), metadata=token_of("facilities"), timeout=20)
        for match in response.matches
    ]
    assert [len(match.features) for match in answers] == [1, 0, 1]
    info = error_details_pb2.ErrorInfo()
    answers[1].error.details[0].Unpack(info)
    assert (info.reason, info.metadata["layer"]) == ("LAYER_NOT_ALLOWED", "zones")


@pytest.mark.parametrize(
    ("caller", "seen"),
    [
        ("all", ["districts", "facilities", "parcels", "zone_centroids", "zones"]),
        ("both", ["facilities", "zones"]),
        ("nobody", []),
    ],
)
def test_a_list_of_layers_is_of_those_that_the_caller_may_read(served: Served, caller: str, seen: list[str]) -> None:
    answer = served.stub.ListLayers(query_pb2.ListLayersRequest(), metadata=token_of(caller), timeout=20)
    assert [layer.name for layer in answer.layers] == seen


def test_an_administrator_of_one_layer_is_told_of_that_one(served: Served) -> None:
    called = stubs(served)
    refreshed = called["RefreshLayers"](query_pb2.RefreshLayersRequest(), metadata=token_of("doctor"), timeout=20)
    found = called["Diagnose"](admin_pb2.DiagnoseRequest(), metadata=token_of("doctor"), timeout=20)
    assert [layer.name for layer in refreshed.layers] == ["facilities"]
    assert {timing.layer for timing in found.timings} == {"facilities"}


@pytest.mark.parametrize("layer", ["zones", "rivers"])
def test_a_refusal_does_not_tell_whether_there_is_such_a_layer(served: Served, layer: str) -> None:
    seen = refused(served, "GetLayer", query_pb2.GetLayerRequest(name=layer), "facilities")
    assert seen
    assert (seen.reason, seen.message.replace(layer, "it")) == (
        "LAYER_NOT_ALLOWED",
        "name: these credentials do not cover layer 'it': spatial.read is needed on it",
    )


def test_a_page_token_gives_no_right(served: Served) -> None:
    request = radius(meters=1e6, page_size=1)
    page = served.stub.SearchRadius(request, metadata=token_of("all"), timeout=20)
    request.page_token = page.next_page_token
    assert request.page_token
    seen = refused(served, "SearchRadius", request, "nobody")
    assert seen
    assert seen.reason == "LAYER_NOT_ALLOWED"
    assert refused(served, "SearchRadius", request, "both") is None


def test_a_resume_token_gives_no_right(served: Served) -> None:
    request = query_pb2.StreamFeaturesRequest(query=query_pb2.LayerQuery(layer="facilities"), resumable=True)
    *_, last = served.stub.StreamFeatures(request, metadata=token_of("all"), timeout=20)
    request.resume_token = last.resume_token
    seen = refused(served, "StreamFeatures", request, "nobody")
    assert seen
    assert seen.reason == "LAYER_NOT_ALLOWED"


def test_an_import_is_told_of_to_those_alone_who_may_write_its_layer(served: Served) -> None:
    plan = write_pb2.ImportPlan(layer="facilities", import_id="mine")
    assert refused(served, "ImportFeatures", write_pb2.ImportFeaturesRequest(plan=plan), "keeper") is None
    assert refused(served, "GetImport", write_pb2.GetImportRequest(import_id="mine"), "keeper") is None
    seen = refused(served, "GetImport", write_pb2.GetImportRequest(import_id="mine"), "facilities")
    assert seen
    assert seen.reason == "INSUFFICIENT_SCOPE"
