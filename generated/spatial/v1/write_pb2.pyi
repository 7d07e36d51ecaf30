from google.protobuf import field_mask_pb2 as _field_mask_pb2
from spatial.v1 import errors_pb2 as _errors_pb2
from spatial.v1 import feature_pb2 as _feature_pb2
from spatial.v1 import geometry_pb2 as _geometry_pb2
from spatial.v1 import query_pb2 as _query_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ImportMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMPORT_MODE_UNSPECIFIED: _ClassVar[ImportMode]
    IMPORT_MODE_INSERT: _ClassVar[ImportMode]
    IMPORT_MODE_UPSERT: _ClassVar[ImportMode]
IMPORT_MODE_UNSPECIFIED: ImportMode
IMPORT_MODE_INSERT: ImportMode
IMPORT_MODE_UPSERT: ImportMode

class CreateFeatureRequest(_message.Message):
    __slots__ = ("layer", "feature", "repair", "require_layer_srid", "output", "validate_only", "request_id")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_LAYER_SRID_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    layer: str
    feature: _feature_pb2.Feature
    repair: bool
    require_layer_srid: bool
    output: _query_pb2.Output
    validate_only: bool
    request_id: str
    def __init__(self, layer: _Optional[str] = ..., feature: _Optional[_Union[_feature_pb2.Feature, _Mapping]] = ..., repair: _Optional[bool] = ..., require_layer_srid: _Optional[bool] = ..., output: _Optional[_Union[_query_pb2.Output, _Mapping]] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateFeatureResponse(_message.Message):
    __slots__ = ("feature", "freshness_token")
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    feature: _feature_pb2.Feature
    freshness_token: str
    def __init__(self, feature: _Optional[_Union[_feature_pb2.Feature, _Mapping]] = ..., freshness_token: _Optional[str] = ...) -> None: ...

class UpdateFeatureRequest(_message.Message):
    __slots__ = ("layer", "feature", "update_mask", "repair", "require_layer_srid", "output", "validate_only", "request_id")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_LAYER_SRID_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    layer: str
    feature: _feature_pb2.Feature
    update_mask: _field_mask_pb2.FieldMask
    repair: bool
    require_layer_srid: bool
    output: _query_pb2.Output
    validate_only: bool
    request_id: str
    def __init__(self, layer: _Optional[str] = ..., feature: _Optional[_Union[_feature_pb2.Feature, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., repair: _Optional[bool] = ..., require_layer_srid: _Optional[bool] = ..., output: _Optional[_Union[_query_pb2.Output, _Mapping]] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class UpdateFeatureResponse(_message.Message):
    __slots__ = ("feature", "freshness_token")
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    feature: _feature_pb2.Feature
    freshness_token: str
    def __init__(self, feature: _Optional[_Union[_feature_pb2.Feature, _Mapping]] = ..., freshness_token: _Optional[str] = ...) -> None: ...

class DeleteFeatureRequest(_message.Message):
    __slots__ = ("layer", "id", "etag", "validate_only", "request_id")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    layer: str
    id: str
    etag: str
    validate_only: bool
    request_id: str
    def __init__(self, layer: _Optional[str] = ..., id: _Optional[str] = ..., etag: _Optional[str] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteFeatureResponse(_message.Message):
    __slots__ = ("freshness_token",)
    FRESHNESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    freshness_token: str
    def __init__(self, freshness_token: _Optional[str] = ...) -> None: ...

class DeleteFeaturesRequest(_message.Message):
    __slots__ = ("query", "max_features", "validate_only", "request_id")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    MAX_FEATURES_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    query: _query_pb2.Query
    max_features: int
    validate_only: bool
    request_id: str
    def __init__(self, query: _Optional[_Union[_query_pb2.Query, _Mapping]] = ..., max_features: _Optional[int] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteFeaturesResponse(_message.Message):
    __slots__ = ("deleted", "freshness_token")
    DELETED_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    freshness_token: str
    def __init__(self, deleted: _Optional[int] = ..., freshness_token: _Optional[str] = ...) -> None: ...

class ImportPlan(_message.Message):
    __slots__ = ("layer", "mode", "match_property", "repair", "require_layer_srid", "srid", "max_rejections", "import_id", "validate_only")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MATCH_PROPERTY_FIELD_NUMBER: _ClassVar[int]
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_LAYER_SRID_FIELD_NUMBER: _ClassVar[int]
    SRID_FIELD_NUMBER: _ClassVar[int]
    MAX_REJECTIONS_FIELD_NUMBER: _ClassVar[int]
    IMPORT_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    layer: str
    mode: ImportMode
    match_property: str
    repair: bool
    require_layer_srid: bool
    srid: int
    max_rejections: int
    import_id: str
    validate_only: bool
    def __init__(self, layer: _Optional[str] = ..., mode: _Optional[_Union[ImportMode, str]] = ..., match_property: _Optional[str] = ..., repair: _Optional[bool] = ..., require_layer_srid: _Optional[bool] = ..., srid: _Optional[int] = ..., max_rejections: _Optional[int] = ..., import_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class ImportFeaturesRequest(_message.Message):
    __slots__ = ("plan", "rows", "columns", "first_row")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    FIRST_ROW_FIELD_NUMBER: _ClassVar[int]
    plan: ImportPlan
    rows: _feature_pb2.FeatureRows
    columns: _feature_pb2.FeatureColumns
    first_row: int
    def __init__(self, plan: _Optional[_Union[ImportPlan, _Mapping]] = ..., rows: _Optional[_Union[_feature_pb2.FeatureRows, _Mapping]] = ..., columns: _Optional[_Union[_feature_pb2.FeatureColumns, _Mapping]] = ..., first_row: _Optional[int] = ...) -> None: ...

class ImportRejection(_message.Message):
    __slots__ = ("row", "id", "reason", "message", "field", "location")
    ROW_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    row: int
    id: str
    reason: _errors_pb2.ErrorReason
    message: str
    field: str
    location: _geometry_pb2.Geometry
    def __init__(self, row: _Optional[int] = ..., id: _Optional[str] = ..., reason: _Optional[_Union[_errors_pb2.ErrorReason, str]] = ..., message: _Optional[str] = ..., field: _Optional[str] = ..., location: _Optional[_Union[_geometry_pb2.Geometry, _Mapping]] = ...) -> None: ...

class ImportTotals(_message.Message):
    __slots__ = ("rows", "inserted", "updated", "rejected", "chunks", "retries")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    INSERTED_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    rows: int
    inserted: int
    updated: int
    rejected: int
    chunks: int
    retries: int
    def __init__(self, rows: _Optional[int] = ..., inserted: _Optional[int] = ..., updated: _Optional[int] = ..., rejected: _Optional[int] = ..., chunks: _Optional[int] = ..., retries: _Optional[int] = ...) -> None: ...

class ImportFeaturesResponse(_message.Message):
    __slots__ = ("import_id", "totals", "rejections", "analyzed", "freshness_token")
    IMPORT_ID_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    REJECTIONS_FIELD_NUMBER: _ClassVar[int]
    ANALYZED_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    import_id: str
    totals: ImportTotals
    rejections: _containers.RepeatedCompositeFieldContainer[ImportRejection]
    analyzed: bool
    freshness_token: str
    def __init__(self, import_id: _Optional[str] = ..., totals: _Optional[_Union[ImportTotals, _Mapping]] = ..., rejections: _Optional[_Iterable[_Union[ImportRejection, _Mapping]]] = ..., analyzed: _Optional[bool] = ..., freshness_token: _Optional[str] = ...) -> None: ...

class GetImportRequest(_message.Message):
    __slots__ = ("import_id",)
    IMPORT_ID_FIELD_NUMBER: _ClassVar[int]
    import_id: str
    def __init__(self, import_id: _Optional[str] = ...) -> None: ...

class GetImportResponse(_message.Message):
    __slots__ = ("layer", "totals", "complete", "rejections")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    REJECTIONS_FIELD_NUMBER: _ClassVar[int]
    layer: str
    totals: ImportTotals
    complete: bool
    rejections: _containers.RepeatedCompositeFieldContainer[ImportRejection]
    def __init__(self, layer: _Optional[str] = ..., totals: _Optional[_Union[ImportTotals, _Mapping]] = ..., complete: _Optional[bool] = ..., rejections: _Optional[_Iterable[_Union[ImportRejection, _Mapping]]] = ...) -> None: ...
