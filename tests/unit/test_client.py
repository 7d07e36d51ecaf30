"""The client's surface: what is public, that both clients have it, and that it covers the contract."""

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import spatial_client
from spatial.v1 import query_pb2, write_pb2
from spatial_client import AsyncSpatialClient, SpatialClient
from spatial_client._optional import need

PACKAGE = Path(spatial_client.__file__).parent
# What `pip install spatial-service` brings.
BROUGHT = {"google", "grpc", "spatial", "spatial_client"}
METHODS = [name for name in vars(SpatialClient) if not name.startswith("_")]
RPCS = {
    "ListLayers": ["list_layers"],
    "GetLayer": ["get_layer"],
    "GetFeature": ["get_feature"],
    "BatchGetFeatures": ["get_features"],
    "SearchRadius": ["search_radius", "iterate_radius"],
    "SearchNearest": ["search_nearest"],
    "SearchIntersects": ["search_intersects", "iterate_intersects"],
    "RefreshLayers": ["refresh_layers"],
    "CountFeatures": ["count_radius", "count_nearest", "count_intersects", "count_features"],
    "StreamRadius": ["stream_radius"],
    "StreamIntersects": ["stream_intersects"],
    "StreamFeatures": ["stream_features"],
    "StreamJoin": ["stream_join"],
    "AggregateGrid": ["aggregate_grid"],
    "MatchFeatures": ["match_radius", "match_nearest", "match_intersects"],
    "CreateFeature": ["create_feature"],
    "UpdateFeature": ["update_feature"],
    "DeleteFeature": ["delete_feature"],
    "DeleteFeatures": ["delete_features"],
    "ImportFeatures": ["import_features"],
    "GetImport": ["get_import"],
}
SERVICES = [
    query_pb2.DESCRIPTOR.services_by_name["SpatialService"],
    write_pb2.DESCRIPTOR.services_by_name["FeatureService"],
]


def test_what_can_be_imported_is_what_is_promised() -> None:
    public = {
        name
        for name, value in vars(spatial_client).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }

    assert public == set(spatial_client.__all__)
    assert len(spatial_client.__all__) == len(set(spatial_client.__all__))


def test_the_package_tells_type_checkers_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


def test_every_rpc_of_the_contract_has_methods() -> None:
    served = [method.name for service in SERVICES for method in service.methods]

    assert served == list(RPCS)
    assert {name for names in RPCS.values() for name in names} == set(METHODS) - {"close", "is_serving"}


@pytest.mark.parametrize("name", METHODS)
def test_both_clients_have_the_method_with_the_same_parameters(name: str) -> None:
    one, other = getattr(SpatialClient, name), getattr(AsyncSpatialClient, name)

    assert [*inspect.signature(one).parameters] == [*inspect.signature(other).parameters]
    assert one.__name__ == other.__name__ == name
    assert one.__doc__


def test_help_shows_what_a_method_takes_and_gives() -> None:
    signature = inspect.signature(SpatialClient.search_radius)

    assert [*signature.parameters][:4] == ["self", "layer", "center", "radius_meters"]
    assert signature.parameters["page_size"].default == 0
    assert signature.return_annotation is spatial_client.Page


READS = [
    name
    for name in METHODS
    if name.split("_")[0] in ("search", "iterate", "count", "stream", "match", "aggregate")
    or name in ("get_feature", "get_features")
]


@pytest.mark.parametrize("name", READS)
def test_every_read_takes_a_freshness_token(name: str) -> None:
    assert "freshness_token" in inspect.signature(getattr(SpatialClient, name)).parameters


def test_a_bound_method_shows_no_self() -> None:
    with SpatialClient("127.0.0.1:1") as client:
        assert [*inspect.signature(client.match_radius).parameters][:3] == ["probes", "layer", "radius_meters"]


def test_the_asyncio_client_s_calls_with_one_answer_are_coroutine_functions() -> None:
    assert inspect.iscoroutinefunction(AsyncSpatialClient.search_nearest)


@pytest.mark.parametrize("module", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_only_what_every_caller_has_is_imported_at_once(module: Path) -> None:
    assert {name.split(".")[0] for name in _imports(ast.parse(module.read_text()))} <= BROUGHT


def _imports(tree: ast.Module) -> Iterator[str]:
    """What importing the module imports, but for the standard library."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (name for name in names if name.split(".")[0] not in sys.stdlib_module_names)


def test_a_missing_library_is_named_with_what_brings_it() -> None:
    with pytest.raises(ImportError, match=r"a picture needs no_such_library: pip install 'spatial-service\[client\]'"):
        need("no_such_library", "a picture")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"channels": 0}, "at least one channel"),
        ({"timeout": 0}, "positive"),
        ({"idle_timeout": -1}, "positive"),
    ],
    ids=lambda value: str(value),
)
def test_a_client_refuses_options_that_cannot_be_meant(options: dict[str, int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        SpatialClient("127.0.0.1:1", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"attempts": 0}, {"first_pause": 0}, {"first_pause": 9, "longest_pause": 1}])
def test_a_retry_refuses_options_that_cannot_be_meant(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Retry"):
        spatial_client.Retry(**options)
