"""Every method of the contract, called once with the rows of tests/questions.py, and its answer checked.

Each may be called any number of times, also at once: what a call writes it takes away again.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import grpc
import shapely

from spatial.v1 import admin_pb2, admin_pb2_grpc, feature_pb2, query_pb2, query_pb2_grpc, write_pb2, write_pb2_grpc
from tests.matching import keyed, matches, opening
from tests.questions import ID_ONLY, count, facility, intersects, nearest, point, radius
from tests.streams import size, stream, whole

TIMEOUT = 30.0
PLACE = "POINT (50 50)"  # where nobody looks


class Caller:
    """The three services over one channel; `timeout` is that of each call."""

    def __init__(self, channel: grpc.Channel, timeout: float = TIMEOUT) -> None:
        self.spatial: Any = query_pb2_grpc.SpatialServiceStub(channel)
        self.features: Any = write_pb2_grpc.FeatureServiceStub(channel)
        self.admin: Any = admin_pb2_grpc.AdminServiceStub(channel)
        self.timeout = timeout


def _list_layers(caller: Caller) -> None:
    answer = caller.spatial.ListLayers(query_pb2.ListLayersRequest(), timeout=caller.timeout)
    assert "facilities" in {layer.name for layer in answer.layers}


def _get_layer(caller: Caller) -> None:
    request = query_pb2.GetLayerRequest(name="facilities")
    assert caller.spatial.GetLayer(request, timeout=caller.timeout).name == "facilities"


def _get_feature(caller: Caller) -> None:
    request = query_pb2.GetFeatureRequest(layer="facilities", id="7", output=ID_ONLY)
    assert caller.spatial.GetFeature(request, timeout=caller.timeout).properties["name"] == "Facility 6"


def _batch_get(caller: Caller) -> None:
    request = query_pb2.BatchGetFeaturesRequest(layer="facilities", ids=["1", "2", "0"], output=ID_ONLY)
    answer = caller.spatial.BatchGetFeatures(request, timeout=caller.timeout)
    assert ([each.id for each in answer.features], answer.missing_ids) == (["1", "2"], ["0"])


def _radius(caller: Caller) -> None:
    answer = caller.spatial.SearchRadius(radius(longitude=0.5), timeout=caller.timeout)
    assert [each.id for each in answer.features] == ["51"]


def _nearest(caller: Caller) -> None:
    answer = caller.spatial.SearchNearest(facility(12), timeout=caller.timeout)
    assert [each.id for each in answer.features] == ["12"]


def _intersects(caller: Caller) -> None:
    answer = caller.spatial.SearchIntersects(intersects("POINT (2.5 10.5)"), timeout=caller.timeout)
    assert [each.id for each in answer.features] == ["3"]


def _refresh(caller: Caller) -> None:
    caller.spatial.RefreshLayers(query_pb2.RefreshLayersRequest(), timeout=caller.timeout)


def _count(caller: Caller) -> None:
    assert caller.spatial.CountFeatures(count("zones"), timeout=caller.timeout).count == 10


def _streamed(caller: Caller, request: Any) -> int:
    return sum(map(size, stream(caller.spatial, request, caller.timeout)))


def _stream_radius(caller: Caller) -> None:
    query = query_pb2.RadiusQuery(layer="facilities", center=point(), radius_meters=5000)
    assert _streamed(caller, query_pb2.StreamRadiusRequest(query=query)) == 5


def _stream_intersects(caller: Caller) -> None:
    query = intersects("POLYGON ((0 10, 4 10, 4 11, 0 11, 0 10))").query
    assert _streamed(caller, query_pb2.StreamIntersectsRequest(query=query)) == 5


def _stream_layer(caller: Caller) -> None:
    for layout in ("ROWS", "COLUMNS", "ARROW"):
        assert _streamed(caller, whole("zones", layout=layout)) == 10


def _join(caller: Caller) -> None:
    query = query_pb2.JoinQuery(left_layer="districts", right_layer="facilities")
    found = caller.spatial.StreamJoin(query_pb2.StreamJoinRequest(query=query), timeout=caller.timeout)
    assert sum(len(batch.pairs) for batch in found) == 100


def _grid(caller: Caller) -> None:
    query = query_pb2.Query(layer=query_pb2.LayerQuery(layer="zones"))
    request = query_pb2.AggregateGridRequest(query=query, cell_size=100)
    batches = caller.spatial.AggregateGrid(request, timeout=caller.timeout)
    assert [cell.count for batch in batches for cell in batch.cells] == [10]


def _match(caller: Caller) -> None:
    probes = keyed([point(longitude=number * 0.01) for number in range(20)])
    asked = [opening(nearest().query, limit=1), query_pb2.MatchRequest(probes=probes)]
    found = matches(caller.spatial, asked, caller.timeout)
    assert [each.features[0].id for each in found] == [str(number) for number in range(1, 21)]


def _explain(caller: Caller) -> None:
    query = query_pb2.Query(layer=query_pb2.LayerQuery(layer="zones"))
    assert caller.admin.Explain(admin_pb2.ExplainRequest(query=query), timeout=caller.timeout).text


def _diagnose(caller: Caller) -> None:
    request = admin_pb2.DiagnoseRequest(layers=["zones"])
    assert caller.admin.Diagnose(request, timeout=caller.timeout).versions["PostGIS"]


def _analyze(caller: Caller) -> None:
    request = admin_pb2.AnalyzeLayerRequest(layer="districts")
    assert [each.done for each in caller.admin.AnalyzeLayer(request, timeout=caller.timeout)] == [1]


def _made(caller: Caller, **fields: Any) -> Any:
    feature = feature_pb2.Feature()
    feature.geometry.wkt = PLACE
    feature.properties.update({"name": str(uuid4()), "kind": "passing"})
    request = write_pb2.CreateFeatureRequest(layer="facilities", feature=feature, **fields)
    return caller.features.CreateFeature(request, timeout=caller.timeout).feature


def _removed(caller: Caller, feature: Any, **fields: Any) -> None:
    request = write_pb2.DeleteFeatureRequest(layer="facilities", id=feature.id, **fields)
    caller.features.DeleteFeature(request, timeout=caller.timeout)


def _create(caller: Caller) -> None:
    """Twice with the same id: once made, twice told of."""
    sent, feature = str(uuid4()), feature_pb2.Feature()
    feature.geometry.wkt = PLACE
    feature.properties.update({"name": sent, "kind": "passing"})
    request = write_pb2.CreateFeatureRequest(layer="facilities", feature=feature, request_id=sent)
    first, second = (caller.features.CreateFeature(request, timeout=caller.timeout).feature for _ in range(2))
    assert first == second
    _removed(caller, first, request_id=str(uuid4()))


def _update(caller: Caller) -> None:
    before = _made(caller)
    after = feature_pb2.Feature(id=before.id, etag=before.etag)
    after.geometry.wkt = PLACE
    after.properties.update({"name": "changed", "kind": "passing"})
    request = write_pb2.UpdateFeatureRequest(layer="facilities", feature=after)
    assert caller.features.UpdateFeature(request, timeout=caller.timeout).feature.properties["name"] == "changed"
    try:
        caller.features.UpdateFeature(request, timeout=caller.timeout)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.ABORTED:  # it has another etag by now
            raise
    else:
        raise AssertionError
    _removed(caller, before)


def _delete(caller: Caller) -> None:
    made = _made(caller)
    _removed(caller, made, etag=made.etag)


def _delete_features(caller: Caller) -> None:
    made = _made(caller)
    query = query_pb2.Query(
        layer=query_pb2.LayerQuery(layer="facilities", filter=f"name = '{made.properties['name']}'")
    )
    request = write_pb2.DeleteFeaturesRequest(query=query, max_features=1, request_id=str(uuid4()))
    assert caller.features.DeleteFeatures(request, timeout=caller.timeout).deleted == 1


def imported(caller: Caller, names: list[str | None], **plan: Any) -> write_pb2.ImportFeaturesResponse:
    """An import of facilities; those without a name are rejected."""
    columns = feature_pb2.FeatureColumns(
        count=len(names),
        wkb=[shapely.to_wkb(shapely.Point(50, 50))] * len(names),
        properties=[
            feature_pb2.Column(
                name="name",
                strings=feature_pb2.StringValues(values=[name or "" for name in names]),
                null_rows=[row for row, name in enumerate(names) if name is None],
            ),
            feature_pb2.Column(name="kind", strings=feature_pb2.StringValues(values=["passing"] * len(names))),
        ],
    )
    asked = write_pb2.ImportPlan(layer="facilities", max_rejections=10, **plan)
    requests = [write_pb2.ImportFeaturesRequest(plan=asked), write_pb2.ImportFeaturesRequest(columns=columns)]
    answer: write_pb2.ImportFeaturesResponse = caller.features.ImportFeatures(iter(requests), timeout=caller.timeout)
    return answer


def _import(caller: Caller) -> None:
    """Again with the same id: nothing is in twice."""
    sent = str(uuid4())
    names = [f"{sent}/{row}" if row % 10 else None for row in range(100)]
    for _ in range(2):
        answer = imported(caller, names, import_id=sent)
        assert (answer.totals.rows, answer.totals.inserted, answer.totals.rejected) == (100, 90, 10)
        assert [each.row for each in answer.rejections] == list(range(0, 100, 10))
    query = query_pb2.Query(layer=query_pb2.LayerQuery(layer="facilities", filter=f"name LIKE '{sent}/%'"))
    request = write_pb2.DeleteFeaturesRequest(query=query, max_features=90)
    assert caller.features.DeleteFeatures(request, timeout=caller.timeout).deleted == 90


def _get_import(caller: Caller) -> None:
    sent = str(uuid4())
    imported(caller, [None], import_id=sent)
    found = caller.features.GetImport(write_pb2.GetImportRequest(import_id=sent), timeout=caller.timeout)
    assert (found.totals.rows, found.totals.rejected) == (1, 1)


Call = Callable[[Caller], None]
CALLS: Mapping[str, Call] = MappingProxyType(
    {
        "ListLayers": _list_layers,
        "GetLayer": _get_layer,
        "GetFeature": _get_feature,
        "BatchGetFeatures": _batch_get,
        "SearchRadius": _radius,
        "SearchNearest": _nearest,
        "SearchIntersects": _intersects,
        "RefreshLayers": _refresh,
        "CountFeatures": _count,
        "StreamRadius": _stream_radius,
        "StreamIntersects": _stream_intersects,
        "StreamFeatures": _stream_layer,
        "StreamJoin": _join,
        "AggregateGrid": _grid,
        "MatchFeatures": _match,
        "CreateFeature": _create,
        "UpdateFeature": _update,
        "DeleteFeature": _delete,
        "DeleteFeatures": _delete_features,
        "ImportFeatures": _import,
        "GetImport": _get_import,
        "Explain": _explain,
        "Diagnose": _diagnose,
        "AnalyzeLayer": _analyze,
    }
)
