"""Changes that are refused, with the reason and the field that the refusal must name."""

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from spatial.v1 import feature_pb2, geometry_pb2
from spatial.v1.query_pb2 import IntersectsQuery, JoinQuery, LayerQuery, NearestQuery, Output, Query
from spatial.v1.write_pb2 import (
    CreateFeatureRequest,
    DeleteFeatureRequest,
    DeleteFeaturesRequest,
    GetImportRequest,
    ImportFeaturesRequest,
    ImportPlan,
    UpdateFeatureRequest,
)
from tests.questions import point, wkt
from tests.refusals import BOWTIE, INVALID, LONG, MISSING, NAN, Case

EXISTS, ABORTED, NOT_NOW = "ALREADY_EXISTS", "ABORTED", "FAILED_PRECONDITION"
ZONE = "MULTIPOLYGON (((50 50, 51 50, 51 51, 50 51, 50 50)))"
PARCEL = "POLYGON ((5 5, 6 5, 6 6, 5 6, 5 5))"
ON_PARCELS = "POLYGON ((0.05 0.05, 0.06 0.05, 0.06 0.06, 0.05 0.06, 0.05 0.05))"
REQUIRED_OF: dict[str, dict[str, Any]] = {
    "facilities": {"name": "New", "kind": "test"},
    "zones": {"name": "New", "code": "NEW", "category": "test"},
    "parcels": {"name": "New", "number": "new", "land_use": "park", "district_id": 1},
}
PLACES = {"facilities": "POINT (1 1)", "zones": ZONE, "parcels": PARCEL}


def geometry(text: str | None = None, **fields: Any) -> geometry_pb2.Geometry:
    return geometry_pb2.Geometry(wkt=text, **fields)


def feature(place: geometry_pb2.Geometry | None = None, *, id: str = "", **properties: Any) -> feature_pb2.Feature:  # noqa: A002
    made = feature_pb2.Feature(id=id, geometry=place)
    made.properties.update(properties)
    return made


def creating(
    layer: str = "facilities",
    place: geometry_pb2.Geometry | str = "",
    *,
    without: str = "",
    id: str = "",  # noqa: A002
    options: dict[str, Any] | None = None,
    **properties: Any,
) -> CreateFeatureRequest:
    """A feature that is right but for what is said here."""
    given = {name: value for name, value in (REQUIRED_OF[layer] | properties).items() if name != without}
    found = geometry(place or PLACES[layer]) if isinstance(place, str) else place
    made = feature(None if without == "geometry" else found, id=id, **given)
    return CreateFeatureRequest(layer=layer, feature=made, **(options or {}))


def updating(
    *,
    layer: str = "facilities",
    id: str = "1",  # noqa: A002
    etag: str = "",
    mask: list[str] | None = None,
    **properties: Any,
) -> UpdateFeatureRequest:
    made = feature(id=id, **properties)
    made.etag = etag
    return UpdateFeatureRequest(layer=layer, feature=made, update_mask=None if mask is None else FieldMask(paths=mask))


def placing(layer: str, text: str) -> UpdateFeatureRequest:
    return UpdateFeatureRequest(layer=layer, feature=feature(geometry(text), id="1"))


def removing(most: int = 1000, **query: Any) -> DeleteFeaturesRequest:
    return DeleteFeaturesRequest(query=Query(**query), max_features=most)


CASES: dict[str, Case] = {
    "CreateFeature without a layer": (CreateFeatureRequest(feature=feature()), INVALID, "REQUIRED", "layer"),
    "CreateFeature in no layer": (CreateFeatureRequest(layer="x"), MISSING, "LAYER_NOT_FOUND", "layer"),
    "CreateFeature without a feature": (CreateFeatureRequest(layer="zones"), INVALID, "REQUIRED", "feature"),
    "CreateFeature with an etag": (
        CreateFeatureRequest(layer="zones", feature=feature_pb2.Feature(etag="1")),
        INVALID,
        "UNEXPECTED_FIELD",
        "feature.etag",
    ),
    "CreateFeature with a distance": (
        CreateFeatureRequest(layer="zones", feature=feature_pb2.Feature(distance_meters=0)),
        INVALID,
        "UNEXPECTED_FIELD",
        "feature.distance_meters",
    ),
    "CreateFeature of a word": (creating(id="one"), INVALID, "INVALID_ID", "feature.id"),
    "CreateFeature that is there": (creating(id="1"), EXISTS, "FEATURE_EXISTS", "feature.id"),
    "CreateFeature with an unknown property": (
        creating(height=5),
        INVALID,
        "UNKNOWN_PROPERTY",
        "feature.properties.height",
    ),
    "CreateFeature with a word for a number": (
        creating(population="many"),
        INVALID,
        "INVALID_PROPERTY_VALUE",
        "feature.properties.population",
    ),
    "CreateFeature with a number for a word": (
        creating(name=5),
        INVALID,
        "INVALID_PROPERTY_VALUE",
        "feature.properties.name",
    ),
    "CreateFeature with half a person": (
        creating(population=0.5),
        INVALID,
        "INVALID_PROPERTY_VALUE",
        "feature.properties.population",
    ),
    "CreateFeature with a NUL": (
        creating(name="a\0b"),
        INVALID,
        "INVALID_PROPERTY_VALUE",
        "feature.properties.name",
    ),
    "CreateFeature without a name": (creating(without="name"), INVALID, "REQUIRED", "feature.properties.name"),
    "CreateFeature without a geometry": (creating(without="geometry"), INVALID, "REQUIRED", "feature.geometry"),
    "CreateFeature with a geometry of nothing": (
        creating(place=geometry_pb2.Geometry()),
        INVALID,
        "REQUIRED",
        "feature.geometry",
    ),
    "CreateFeature of another type": (
        creating(place="LINESTRING (0 0, 1 1)"),
        INVALID,
        "GEOMETRY_TYPE_MISMATCH",
        "feature.geometry.wkt",
    ),
    "CreateFeature of several where the column holds one": (
        creating("parcels", ZONE),
        INVALID,
        "GEOMETRY_TYPE_MISMATCH",
        "feature.geometry.wkt",
    ),
    "CreateFeature with Z": (
        creating(place="POINT Z (0 0 1)"),
        INVALID,
        "GEOMETRY_TYPE_MISMATCH",
        "feature.geometry.wkt",
    ),
    "CreateFeature of a bowtie": (creating("zones", BOWTIE), INVALID, "INVALID_GEOMETRY", "feature.geometry.wkt"),
    "CreateFeature of nothing": (creating(place="POINT EMPTY"), INVALID, "EMPTY_GEOMETRY", "feature.geometry.wkt"),
    "CreateFeature of too many vertices": (
        creating("zones", LONG),
        INVALID,
        "GEOMETRY_TOO_LARGE",
        "feature.geometry.wkt",
    ),
    "CreateFeature beyond the pole": (
        creating(place="POINT (0 95)"),
        INVALID,
        "COORDINATE_OUT_OF_RANGE",
        "feature.geometry.wkt",
    ),
    "CreateFeature at NaN": (
        creating(place=geometry_pb2.Geometry(wkb=NAN)),
        INVALID,
        "NON_FINITE_COORDINATE",
        "feature.geometry.wkb",
    ),
    "CreateFeature of half a WKB": (
        creating(place=geometry_pb2.Geometry(wkb=NAN[:-1])),
        INVALID,
        "INVALID_ENCODING",
        "feature.geometry.wkb",
    ),
    "CreateFeature in no known CRS": (
        creating(place=geometry("POINT (0 0)", srid=999_000)),
        INVALID,
        "UNKNOWN_SRID",
        "feature.geometry.srid",
    ),
    "CreateFeature in another CRS, which is not wanted": (
        creating(place=geometry("POINT (0 0)", srid=3857), options={"require_layer_srid": True}),
        INVALID,
        "SRID_MISMATCH",
        "feature.geometry.srid",
    ),
    "CreateFeature with a code that is taken": (
        creating("zones", code="Z1"),
        EXISTS,
        "NOT_UNIQUE",
        "feature.properties.code",
    ),
    "CreateFeature in no district": (
        creating("parcels", district_id=99),
        NOT_NOW,
        "REFERENCE_VIOLATED",
        "feature.properties.district_id",
    ),
    "CreateFeature on another": (creating("parcels", ON_PARCELS), NOT_NOW, "OVERLAP", "feature.geometry"),
    "CreateFeature asking for an unknown property": (
        creating(options={"output": Output(properties=["height"])}),
        INVALID,
        "UNKNOWN_PROPERTY",
        "output.properties[0]",
    ),
    "CreateFeature with too long an id": (
        creating(options={"request_id": "x" * 129}),
        INVALID,
        "OUT_OF_RANGE",
        "request_id",
    ),
    "CreateFeature with an id that cannot be printed": (
        creating(options={"request_id": "a\nb"}),
        INVALID,
        "OUT_OF_RANGE",
        "request_id",
    ),
    "CreateFeature that only validates": (
        creating("zones", code="Z1", options={"validate_only": True}),
        EXISTS,
        "NOT_UNIQUE",
        "feature.properties.code",
    ),
    "UpdateFeature without a layer": (UpdateFeatureRequest(feature=feature()), INVALID, "REQUIRED", "layer"),
    "UpdateFeature without a feature": (UpdateFeatureRequest(layer="zones"), INVALID, "REQUIRED", "feature"),
    "UpdateFeature without an id": (updating(id="", name="a"), INVALID, "REQUIRED", "feature.id"),
    "UpdateFeature of a word": (updating(id="one", name="a"), INVALID, "INVALID_ID", "feature.id"),
    "UpdateFeature that is not there": (updating(id="1000", name="a"), MISSING, "FEATURE_NOT_FOUND", ""),
    "UpdateFeature of nothing": (updating(), INVALID, "REQUIRED", "feature"),
    "UpdateFeature after another": (updating(etag="1", name="a"), ABORTED, "ETAG_MISMATCH", ""),
    "UpdateFeature after one with a NUL": (updating(etag="\0", name="a"), ABORTED, "ETAG_MISMATCH", ""),
    "UpdateFeature to no name": (updating(name=None), INVALID, "REQUIRED", "feature.properties.name"),
    "UpdateFeature of an unknown property": (
        updating(height=1),
        INVALID,
        "UNKNOWN_PROPERTY",
        "feature.properties.height",
    ),
    "UpdateFeature of an unknown field": (
        updating(name="a", mask=["name"]),
        INVALID,
        "INVALID_UPDATE_MASK",
        "update_mask.paths[0]",
    ),
    "UpdateFeature of a property that is computed": (
        updating(name="a", mask=["properties.name", "properties.longitude"]),
        INVALID,
        "READ_ONLY_PROPERTY",
        "update_mask.paths[1]",
    ),
    "UpdateFeature to a code that is taken": (
        updating(layer="zones", code="Z1"),
        EXISTS,
        "NOT_UNIQUE",
        "feature.properties.code",
    ),
    "UpdateFeature onto another": (
        placing("parcels", "POLYGON ((0 0, 0.2 0, 0.2 0.1, 0 0.1, 0 0))"),
        NOT_NOW,
        "OVERLAP",
        "feature.geometry",
    ),
    "UpdateFeature to a bowtie": (placing("zones", BOWTIE), INVALID, "INVALID_GEOMETRY", "feature.geometry.wkt"),
    "DeleteFeature without a layer": (DeleteFeatureRequest(id="1"), INVALID, "REQUIRED", "layer"),
    "DeleteFeature in no layer": (DeleteFeatureRequest(layer="x", id="1"), MISSING, "LAYER_NOT_FOUND", "layer"),
    "DeleteFeature without an id": (DeleteFeatureRequest(layer="zones"), INVALID, "REQUIRED", "id"),
    "DeleteFeature of a word": (DeleteFeatureRequest(layer="zones", id="one"), INVALID, "INVALID_ID", "id"),
    "DeleteFeature that is not there": (
        DeleteFeatureRequest(layer="zones", id="1000"),
        MISSING,
        "FEATURE_NOT_FOUND",
        "",
    ),
    "DeleteFeature after another": (
        DeleteFeatureRequest(layer="zones", id="1", etag="1"),
        ABORTED,
        "ETAG_MISMATCH",
        "",
    ),
    "DeleteFeature after one with a NUL": (
        DeleteFeatureRequest(layer="zones", id="1", etag="\0"),
        ABORTED,
        "ETAG_MISMATCH",
        "",
    ),
    "DeleteFeature that others refer to": (
        DeleteFeatureRequest(layer="districts", id="1"),
        NOT_NOW,
        "REFERENCE_VIOLATED",
        "",
    ),
    "DeleteFeatures without a query": (DeleteFeaturesRequest(max_features=1), INVALID, "REQUIRED", "query"),
    "DeleteFeatures without a limit": (
        removing(0, layer=LayerQuery(layer="zones")),
        INVALID,
        "REQUIRED",
        "max_features",
    ),
    "DeleteFeatures of -1": (removing(-1, layer=LayerQuery(layer="zones")), INVALID, "OUT_OF_RANGE", "max_features"),
    "DeleteFeatures of the nearest": (
        removing(nearest=NearestQuery(layer="zones", center=point())),
        INVALID,
        "UNEXPECTED_FIELD",
        "query.nearest",
    ),
    "DeleteFeatures of pairs": (
        removing(join=JoinQuery(left_layer="zones", right_layer="zones")),
        INVALID,
        "UNEXPECTED_FIELD",
        "query.join",
    ),
    "DeleteFeatures in no layer": (
        removing(layer=LayerQuery(layer="x")),
        MISSING,
        "LAYER_NOT_FOUND",
        "query.layer.layer",
    ),
    "DeleteFeatures by half a filter": (
        removing(layer=LayerQuery(layer="zones", filter="name =")),
        INVALID,
        "INVALID_FILTER",
        "query.layer.filter",
    ),
    "DeleteFeatures within a bowtie": (
        removing(intersects=IntersectsQuery(layer="zones", probe=wkt(BOWTIE))),
        INVALID,
        "INVALID_GEOMETRY",
        "query.intersects.probe.geometry.wkt",
    ),
    "DeleteFeatures of more than expected": (
        removing(99, layer=LayerQuery(layer="facilities")),
        NOT_NOW,
        "TOO_MANY_MATCHES",
        "max_features",
    ),
    "DeleteFeatures that others refer to": (
        removing(layer=LayerQuery(layer="districts")),
        NOT_NOW,
        "REFERENCE_VIOLATED",
        "",
    ),
    "GetImport without an id": (GetImportRequest(), INVALID, "REQUIRED", "import_id"),
    "GetImport with a NUL in its id": (GetImportRequest(import_id="\0"), INVALID, "OUT_OF_RANGE", "import_id"),
    "GetImport that is not there": (GetImportRequest(import_id="x"), MISSING, "IMPORT_NOT_FOUND", ""),
}


def planning(**plan: Any) -> list[ImportFeaturesRequest]:
    return [ImportFeaturesRequest(plan=ImportPlan(**{"layer": "facilities", **plan}))]


def columns(**fields: Any) -> ImportFeaturesRequest:
    return ImportFeaturesRequest(columns=feature_pb2.FeatureColumns(**{"count": 1, **fields}))


def strings(name: str, *values: str) -> feature_pb2.Column:
    return feature_pb2.Column(name=name, strings=feature_pb2.StringValues(values=values))


# What of an import is refused as a whole.
IMPORTS: dict[str, tuple[list[ImportFeaturesRequest], str, str, str]] = {
    "of nothing": ([], INVALID, "REQUIRED", "plan"),
    "that begins with rows": ([columns()], INVALID, "REQUIRED", "plan"),
    "without a layer": (planning(layer=""), INVALID, "REQUIRED", "plan.layer"),
    "into no layer": (planning(layer="x"), MISSING, "LAYER_NOT_FOUND", "plan.layer"),
    "in an unknown mode": (planning(mode=9), INVALID, "UNKNOWN_ENUM_VALUE", "plan.mode"),
    "with too long an id": (planning(import_id="x" * 129), INVALID, "OUT_OF_RANGE", "plan.import_id"),
    "with fewer rejections than none": (planning(max_rejections=-1), INVALID, "OUT_OF_RANGE", "plan.max_rejections"),
    "that matches by nothing there": (
        planning(mode="IMPORT_MODE_UPSERT", match_property="height"),
        INVALID,
        "UNKNOWN_PROPERTY",
        "plan.match_property",
    ),
    "that matches by what is not unique": (
        planning(mode="IMPORT_MODE_UPSERT", match_property="name"),
        INVALID,
        "UNSUPPORTED_PROPERTY_TYPE",
        "plan.match_property",
    ),
    "with two plans": ([*planning(), *planning()], INVALID, "UNEXPECTED_FIELD", "plan"),
    "with a gap": (
        [*planning(), ImportFeaturesRequest(first_row=5)],
        INVALID,
        "OUT_OF_RANGE",
        "first_row",
    ),
    "of an unknown property": (
        [*planning(), columns(properties=[strings("height", "a")])],
        INVALID,
        "UNKNOWN_PROPERTY",
        "columns.properties[0].name",
    ),
    "of a column of another type": (
        [*planning(), columns(properties=[strings("population", "a")])],
        INVALID,
        "INVALID_PROPERTY_VALUE",
        "columns.properties[0]",
    ),
    "with distances": (
        [*planning(), columns(distance_meters=[1])],
        INVALID,
        "UNEXPECTED_FIELD",
        "columns.distance_meters",
    ),
}


def rpc_of(request: Message) -> str:
    return request.DESCRIPTOR.name.removesuffix("Request")
