from google.rpc import status_pb2 as _status_pb2
from spatial.v1 import feature_pb2 as _feature_pb2
from spatial.v1 import geometry_pb2 as _geometry_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PropertyType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROPERTY_TYPE_UNSPECIFIED: _ClassVar[PropertyType]
    PROPERTY_TYPE_STRING: _ClassVar[PropertyType]
    PROPERTY_TYPE_INTEGER: _ClassVar[PropertyType]
    PROPERTY_TYPE_NUMBER: _ClassVar[PropertyType]
    PROPERTY_TYPE_BOOLEAN: _ClassVar[PropertyType]
    PROPERTY_TYPE_TIMESTAMP: _ClassVar[PropertyType]
    PROPERTY_TYPE_JSON: _ClassVar[PropertyType]
    PROPERTY_TYPE_BYTES: _ClassVar[PropertyType]

class GridShape(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GRID_SHAPE_UNSPECIFIED: _ClassVar[GridShape]
    GRID_SHAPE_SQUARE: _ClassVar[GridShape]
    GRID_SHAPE_HEXAGON: _ClassVar[GridShape]
PROPERTY_TYPE_UNSPECIFIED: PropertyType
PROPERTY_TYPE_STRING: PropertyType
PROPERTY_TYPE_INTEGER: PropertyType
PROPERTY_TYPE_NUMBER: PropertyType
PROPERTY_TYPE_BOOLEAN: PropertyType
PROPERTY_TYPE_TIMESTAMP: PropertyType
PROPERTY_TYPE_JSON: PropertyType
PROPERTY_TYPE_BYTES: PropertyType
GRID_SHAPE_UNSPECIFIED: GridShape
GRID_SHAPE_SQUARE: GridShape
GRID_SHAPE_HEXAGON: GridShape

class RadiusQuery(_message.Message):
    __slots__ = ("layer", "center", "radius_meters", "distance_model", "filter")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CENTER_FIELD_NUMBER: _ClassVar[int]
    RADIUS_METERS_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_MODEL_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    layer: str
    center: _geometry_pb2.Probe
    radius_meters: float
    distance_model: _geometry_pb2.DistanceModel
    filter: str
    def __init__(self, layer: _Optional[str] = ..., center: _Optional[_Union[_geometry_pb2.Probe, _Mapping]] = ..., radius_meters: _Optional[float] = ..., distance_model: _Optional[_Union[_geometry_pb2.DistanceModel, str]] = ..., filter: _Optional[str] = ...) -> None: ...

class NearestQuery(_message.Message):
    __slots__ = ("layer", "center", "max_distance_meters", "distance_model", "within", "filter")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CENTER_FIELD_NUMBER: _ClassVar[int]
    MAX_DISTANCE_METERS_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_MODEL_FIELD_NUMBER: _ClassVar[int]
    WITHIN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    layer: str
    center: _geometry_pb2.Probe
    max_distance_meters: float
    distance_model: _geometry_pb2.DistanceModel
    within: _geometry_pb2.Geometry
    filter: str
    def __init__(self, layer: _Optional[str] = ..., center: _Optional[_Union[_geometry_pb2.Probe, _Mapping]] = ..., max_distance_meters: _Optional[float] = ..., distance_model: _Optional[_Union[_geometry_pb2.DistanceModel, str]] = ..., within: _Optional[_Union[_geometry_pb2.Geometry, _Mapping]] = ..., filter: _Optional[str] = ...) -> None: ...

class IntersectsQuery(_message.Message):
    __slots__ = ("layer", "probe", "predicate", "filter")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    PREDICATE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    layer: str
    probe: _geometry_pb2.Probe
    predicate: _geometry_pb2.Predicate
    filter: str
    def __init__(self, layer: _Optional[str] = ..., probe: _Optional[_Union[_geometry_pb2.Probe, _Mapping]] = ..., predicate: _Optional[_Union[_geometry_pb2.Predicate, str]] = ..., filter: _Optional[str] = ...) -> None: ...

class LayerQuery(_message.Message):
    __slots__ = ("layer", "bbox", "filter")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    BBOX_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    layer: str
    bbox: _geometry_pb2.BoundingBox
    filter: str
    def __init__(self, layer: _Optional[str] = ..., bbox: _Optional[_Union[_geometry_pb2.BoundingBox, _Mapping]] = ..., filter: _Optional[str] = ...) -> None: ...

class JoinQuery(_message.Message):
    __slots__ = ("left_layer", "right_layer", "predicate", "distance_meters", "distance_model", "left_filter", "right_filter")
    LEFT_LAYER_FIELD_NUMBER: _ClassVar[int]
    RIGHT_LAYER_FIELD_NUMBER: _ClassVar[int]
    PREDICATE_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_METERS_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_MODEL_FIELD_NUMBER: _ClassVar[int]
    LEFT_FILTER_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FILTER_FIELD_NUMBER: _ClassVar[int]
    left_layer: str
    right_layer: str
    predicate: _geometry_pb2.Predicate
    distance_meters: float
    distance_model: _geometry_pb2.DistanceModel
    left_filter: str
    right_filter: str
    def __init__(self, left_layer: _Optional[str] = ..., right_layer: _Optional[str] = ..., predicate: _Optional[_Union[_geometry_pb2.Predicate, str]] = ..., distance_meters: _Optional[float] = ..., distance_model: _Optional[_Union[_geometry_pb2.DistanceModel, str]] = ..., left_filter: _Optional[str] = ..., right_filter: _Optional[str] = ...) -> None: ...

class Query(_message.Message):
    __slots__ = ("radius", "nearest", "intersects", "layer", "join")
    RADIUS_FIELD_NUMBER: _ClassVar[int]
    NEAREST_FIELD_NUMBER: _ClassVar[int]
    INTERSECTS_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    JOIN_FIELD_NUMBER: _ClassVar[int]
    radius: RadiusQuery
    nearest: NearestQuery
    intersects: IntersectsQuery
    layer: LayerQuery
    join: JoinQuery
    def __init__(self, radius: _Optional[_Union[RadiusQuery, _Mapping]] = ..., nearest: _Optional[_Union[NearestQuery, _Mapping]] = ..., intersects: _Optional[_Union[IntersectsQuery, _Mapping]] = ..., layer: _Optional[_Union[LayerQuery, _Mapping]] = ..., join: _Optional[_Union[JoinQuery, _Mapping]] = ...) -> None: ...

class Output(_message.Message):
    __slots__ = ("properties", "view", "encoding", "srid", "simplify_tolerance", "decimal_digits", "no_properties", "etags")
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    SRID_FIELD_NUMBER: _ClassVar[int]
    SIMPLIFY_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    DECIMAL_DIGITS_FIELD_NUMBER: _ClassVar[int]
    NO_PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    ETAGS_FIELD_NUMBER: _ClassVar[int]
    properties: _containers.RepeatedScalarFieldContainer[str]
    view: _geometry_pb2.GeometryView
    encoding: _geometry_pb2.GeometryEncoding
    srid: int
    simplify_tolerance: float
    decimal_digits: int
    no_properties: bool
    etags: bool
    def __init__(self, properties: _Optional[_Iterable[str]] = ..., view: _Optional[_Union[_geometry_pb2.GeometryView, str]] = ..., encoding: _Optional[_Union[_geometry_pb2.GeometryEncoding, str]] = ..., srid: _Optional[int] = ..., simplify_tolerance: _Optional[float] = ..., decimal_digits: _Optional[int] = ..., no_properties: _Optional[bool] = ..., etags: _Optional[bool] = ...) -> None: ...

class Property(_message.Message):
    __slots__ = ("name", "type", "nullable", "computed", "writable")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    NULLABLE_FIELD_NUMBER: _ClassVar[int]
    COMPUTED_FIELD_NUMBER: _ClassVar[int]
    WRITABLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: PropertyType
    nullable: bool
    computed: bool
    writable: bool
    def __init__(self, name: _Optional[str] = ..., type: _Optional[_Union[PropertyType, str]] = ..., nullable: _Optional[bool] = ..., computed: _Optional[bool] = ..., writable: _Optional[bool] = ...) -> None: ...

class Index(_message.Message):
    __slots__ = ("name", "definition", "valid")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    name: str
    definition: str
    valid: bool
    def __init__(self, name: _Optional[str] = ..., definition: _Optional[str] = ..., valid: _Optional[bool] = ...) -> None: ...

class Layer(_message.Message):
    __slots__ = ("name", "description", "geometry_type", "srid", "properties", "extent", "estimated_rows", "indexes", "source", "key", "geometry_column", "geography", "problems", "writable", "no_overlap", "key_type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_TYPE_FIELD_NUMBER: _ClassVar[int]
    SRID_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    EXTENT_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_ROWS_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_COLUMN_FIELD_NUMBER: _ClassVar[int]
    GEOGRAPHY_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    WRITABLE_FIELD_NUMBER: _ClassVar[int]
    NO_OVERLAP_FIELD_NUMBER: _ClassVar[int]
    KEY_TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    geometry_type: str
    srid: int
    properties: _containers.RepeatedCompositeFieldContainer[Property]
    extent: _geometry_pb2.BoundingBox
    estimated_rows: int
    indexes: _containers.RepeatedCompositeFieldContainer[Index]
    source: str
    key: str
    geometry_column: str
    geography: bool
    problems: _containers.RepeatedCompositeFieldContainer[LayerProblem]
    writable: bool
    no_overlap: bool
    key_type: PropertyType
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., geometry_type: _Optional[str] = ..., srid: _Optional[int] = ..., properties: _Optional[_Iterable[_Union[Property, _Mapping]]] = ..., extent: _Optional[_Union[_geometry_pb2.BoundingBox, _Mapping]] = ..., estimated_rows: _Optional[int] = ..., indexes: _Optional[_Iterable[_Union[Index, _Mapping]]] = ..., source: _Optional[str] = ..., key: _Optional[str] = ..., geometry_column: _Optional[str] = ..., geography: _Optional[bool] = ..., problems: _Optional[_Iterable[_Union[LayerProblem, _Mapping]]] = ..., writable: _Optional[bool] = ..., no_overlap: _Optional[bool] = ..., key_type: _Optional[_Union[PropertyType, str]] = ...) -> None: ...

class LayerProblem(_message.Message):
    __slots__ = ("message", "statement")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    message: str
    statement: str
    def __init__(self, message: _Optional[str] = ..., statement: _Optional[str] = ...) -> None: ...

class ListLayersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListLayersResponse(_message.Message):
    __slots__ = ("layers",)
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    layers: _containers.RepeatedCompositeFieldContainer[Layer]
    def __init__(self, layers: _Optional[_Iterable[_Union[Layer, _Mapping]]] = ...) -> None: ...

class RefreshLayersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RefreshLayersResponse(_message.Message):
    __slots__ = ("layers",)
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    layers: _containers.RepeatedCompositeFieldContainer[Layer]
    def __init__(self, layers: _Optional[_Iterable[_Union[Layer, _Mapping]]] = ...) -> None: ...

class GetLayerRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetFeatureRequest(_message.Message):
    __slots__ = ("layer", "id", "output", "freshness_token")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    layer: str
    id: str
    output: Output
    freshness_token: str
    def __init__(self, layer: _Optional[str] = ..., id: _Optional[str] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., freshness_token: _Optional[str] = ...) -> None: ...

class BatchGetFeaturesRequest(_message.Message):
    __slots__ = ("layer", "ids", "output", "freshness_token")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    layer: str
    ids: _containers.RepeatedScalarFieldContainer[str]
    output: Output
    freshness_token: str
    def __init__(self, layer: _Optional[str] = ..., ids: _Optional[_Iterable[str]] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., freshness_token: _Optional[str] = ...) -> None: ...

class BatchGetFeaturesResponse(_message.Message):
    __slots__ = ("features", "missing_ids")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    MISSING_IDS_FIELD_NUMBER: _ClassVar[int]
    features: _containers.RepeatedCompositeFieldContainer[_feature_pb2.Feature]
    missing_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, features: _Optional[_Iterable[_Union[_feature_pb2.Feature, _Mapping]]] = ..., missing_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class SearchRadiusRequest(_message.Message):
    __slots__ = ("query", "output", "page_size", "page_token", "freshness_token")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    query: RadiusQuery
    output: Output
    page_size: int
    page_token: str
    freshness_token: str
    def __init__(self, query: _Optional[_Union[RadiusQuery, _Mapping]] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., freshness_token: _Optional[str] = ...) -> None: ...

class SearchRadiusResponse(_message.Message):
    __slots__ = ("features", "next_page_token")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    features: _containers.RepeatedCompositeFieldContainer[_feature_pb2.Feature]
    next_page_token: str
    def __init__(self, features: _Optional[_Iterable[_Union[_feature_pb2.Feature, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class SearchNearestRequest(_message.Message):
    __slots__ = ("query", "output", "limit", "freshness_token")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    query: NearestQuery
    output: Output
    limit: int
    freshness_token: str
    def __init__(self, query: _Optional[_Union[NearestQuery, _Mapping]] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., limit: _Optional[int] = ..., freshness_token: _Optional[str] = ...) -> None: ...

class SearchNearestResponse(_message.Message):
    __slots__ = ("features",)
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    features: _containers.RepeatedCompositeFieldContainer[_feature_pb2.Feature]
    def __init__(self, features: _Optional[_Iterable[_Union[_feature_pb2.Feature, _Mapping]]] = ...) -> None: ...

class SearchIntersectsRequest(_message.Message):
    __slots__ = ("query", "output", "page_size", "page_token", "freshness_token")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    query: IntersectsQuery
    output: Output
    page_size: int
    page_token: str
    freshness_token: str
    def __init__(self, query: _Optional[_Union[IntersectsQuery, _Mapping]] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., freshness_token: _Optional[str] = ...) -> None: ...

class SearchIntersectsResponse(_message.Message):
    __slots__ = ("features", "next_page_token")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    features: _containers.RepeatedCompositeFieldContainer[_feature_pb2.Feature]
    next_page_token: str
    def __init__(self, features: _Optional[_Iterable[_Union[_feature_pb2.Feature, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CountFeaturesRequest(_message.Message):
    __slots__ = ("query", "mode", "freshness_token")
    class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        MODE_UNSPECIFIED: _ClassVar[CountFeaturesRequest.Mode]
        MODE_EXACT: _ClassVar[CountFeaturesRequest.Mode]
        MODE_ESTIMATED: _ClassVar[CountFeaturesRequest.Mode]
    MODE_UNSPECIFIED: CountFeaturesRequest.Mode
    MODE_EXACT: CountFeaturesRequest.Mode
    MODE_ESTIMATED: CountFeaturesRequest.Mode
    QUERY_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    query: Query
    mode: CountFeaturesRequest.Mode
    freshness_token: str
    def __init__(self, query: _Optional[_Union[Query, _Mapping]] = ..., mode: _Optional[_Union[CountFeaturesRequest.Mode, str]] = ..., freshness_token: _Optional[str] = ...) -> None: ...

class CountFeaturesResponse(_message.Message):
    __slots__ = ("count", "mode")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    count: int
    mode: CountFeaturesRequest.Mode
    def __init__(self, count: _Optional[int] = ..., mode: _Optional[_Union[CountFeaturesRequest.Mode, str]] = ...) -> None: ...

class StreamRadiusRequest(_message.Message):
    __slots__ = ("query", "output", "layout", "resumable", "resume_token", "freshness_token")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    RESUMABLE_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    query: RadiusQuery
    output: Output
    layout: _feature_pb2.BatchLayout
    resumable: bool
    resume_token: str
    freshness_token: str
    def __init__(self, query: _Optional[_Union[RadiusQuery, _Mapping]] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., layout: _Optional[_Union[_feature_pb2.BatchLayout, str]] = ..., resumable: _Optional[bool] = ..., resume_token: _Optional[str] = ..., freshness_token: _Optional[str] = ...) -> None: ...

class StreamIntersectsRequest(_message.Message):
    __slots__ = ("query", "output", "layout", "resumable", "resume_token", "freshness_token")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    RESUMABLE_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    query: IntersectsQuery
    output: Output
    layout: _feature_pb2.BatchLayout
    resumable: bool
    resume_token: str
    freshness_token: str
    def __init__(self, query: _Optional[_Union[IntersectsQuery, _Mapping]] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., layout: _Optional[_Union[_feature_pb2.BatchLayout, str]] = ..., resumable: _Optional[bool] = ..., resume_token: _Optional[str] = ..., freshness_token: _Optional[str] = ...) -> None: ...

class StreamFeaturesRequest(_message.Message):
    __slots__ = ("query", "output", "layout", "resumable", "resume_token", "freshness_token")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    RESUMABLE_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    query: LayerQuery
    output: Output
    layout: _feature_pb2.BatchLayout
    resumable: bool
    resume_token: str
    freshness_token: str
    def __init__(self, query: _Optional[_Union[LayerQuery, _Mapping]] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., layout: _Optional[_Union[_feature_pb2.BatchLayout, str]] = ..., resumable: _Optional[bool] = ..., resume_token: _Optional[str] = ..., freshness_token: _Optional[str] = ...) -> None: ...

class StreamJoinRequest(_message.Message):
    __slots__ = ("query", "left_output", "right_output", "resumable", "resume_token", "freshness_token")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    RIGHT_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    RESUMABLE_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    query: JoinQuery
    left_output: Output
    right_output: Output
    resumable: bool
    resume_token: str
    freshness_token: str
    def __init__(self, query: _Optional[_Union[JoinQuery, _Mapping]] = ..., left_output: _Optional[_Union[Output, _Mapping]] = ..., right_output: _Optional[_Union[Output, _Mapping]] = ..., resumable: _Optional[bool] = ..., resume_token: _Optional[str] = ..., freshness_token: _Optional[str] = ...) -> None: ...

class JoinPair(_message.Message):
    __slots__ = ("left_id", "right_id", "distance_meters", "left", "right")
    LEFT_ID_FIELD_NUMBER: _ClassVar[int]
    RIGHT_ID_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_METERS_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    left_id: str
    right_id: str
    distance_meters: float
    left: _feature_pb2.Feature
    right: _feature_pb2.Feature
    def __init__(self, left_id: _Optional[str] = ..., right_id: _Optional[str] = ..., distance_meters: _Optional[float] = ..., left: _Optional[_Union[_feature_pb2.Feature, _Mapping]] = ..., right: _Optional[_Union[_feature_pb2.Feature, _Mapping]] = ...) -> None: ...

class JoinBatch(_message.Message):
    __slots__ = ("pairs", "resume_token")
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    pairs: _containers.RepeatedCompositeFieldContainer[JoinPair]
    resume_token: str
    def __init__(self, pairs: _Optional[_Iterable[_Union[JoinPair, _Mapping]]] = ..., resume_token: _Optional[str] = ...) -> None: ...

class MatchRequest(_message.Message):
    __slots__ = ("query", "output", "limit", "probes", "freshness_token")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    query: Query
    output: Output
    limit: int
    probes: _containers.RepeatedCompositeFieldContainer[MatchProbe]
    freshness_token: str
    def __init__(self, query: _Optional[_Union[Query, _Mapping]] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., limit: _Optional[int] = ..., probes: _Optional[_Iterable[_Union[MatchProbe, _Mapping]]] = ..., freshness_token: _Optional[str] = ...) -> None: ...

class MatchProbe(_message.Message):
    __slots__ = ("key", "probe")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    key: str
    probe: _geometry_pb2.Probe
    def __init__(self, key: _Optional[str] = ..., probe: _Optional[_Union[_geometry_pb2.Probe, _Mapping]] = ...) -> None: ...

class MatchResponse(_message.Message):
    __slots__ = ("matches",)
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    matches: _containers.RepeatedCompositeFieldContainer[Match]
    def __init__(self, matches: _Optional[_Iterable[_Union[Match, _Mapping]]] = ...) -> None: ...

class Match(_message.Message):
    __slots__ = ("key", "features", "more", "error")
    KEY_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    key: str
    features: _containers.RepeatedCompositeFieldContainer[_feature_pb2.Feature]
    more: bool
    error: _status_pb2.Status
    def __init__(self, key: _Optional[str] = ..., features: _Optional[_Iterable[_Union[_feature_pb2.Feature, _Mapping]]] = ..., more: _Optional[bool] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class AggregateGridRequest(_message.Message):
    __slots__ = ("query", "shape", "cell_size", "zoom", "property", "encoding", "freshness_token")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    CELL_SIZE_FIELD_NUMBER: _ClassVar[int]
    ZOOM_FIELD_NUMBER: _ClassVar[int]
    PROPERTY_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    query: Query
    shape: GridShape
    cell_size: float
    zoom: int
    property: str
    encoding: _geometry_pb2.GeometryEncoding
    freshness_token: str
    def __init__(self, query: _Optional[_Union[Query, _Mapping]] = ..., shape: _Optional[_Union[GridShape, str]] = ..., cell_size: _Optional[float] = ..., zoom: _Optional[int] = ..., property: _Optional[str] = ..., encoding: _Optional[_Union[_geometry_pb2.GeometryEncoding, str]] = ..., freshness_token: _Optional[str] = ...) -> None: ...

class GridBatch(_message.Message):
    __slots__ = ("cells", "srid")
    CELLS_FIELD_NUMBER: _ClassVar[int]
    SRID_FIELD_NUMBER: _ClassVar[int]
    cells: _containers.RepeatedCompositeFieldContainer[GridCell]
    srid: int
    def __init__(self, cells: _Optional[_Iterable[_Union[GridCell, _Mapping]]] = ..., srid: _Optional[int] = ...) -> None: ...

class GridCell(_message.Message):
    __slots__ = ("i", "j", "geometry", "count", "sum", "average")
    I_FIELD_NUMBER: _ClassVar[int]
    J_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_FIELD_NUMBER: _ClassVar[int]
    i: int
    j: int
    geometry: _geometry_pb2.Geometry
    count: int
    sum: float
    average: float
    def __init__(self, i: _Optional[int] = ..., j: _Optional[int] = ..., geometry: _Optional[_Union[_geometry_pb2.Geometry, _Mapping]] = ..., count: _Optional[int] = ..., sum: _Optional[float] = ..., average: _Optional[float] = ...) -> None: ...
