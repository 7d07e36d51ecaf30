from google.protobuf import struct_pb2 as _struct_pb2
from spatial.v1 import geometry_pb2 as _geometry_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BatchLayout(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BATCH_LAYOUT_UNSPECIFIED: _ClassVar[BatchLayout]
    BATCH_LAYOUT_ROWS: _ClassVar[BatchLayout]
    BATCH_LAYOUT_COLUMNS: _ClassVar[BatchLayout]
    BATCH_LAYOUT_ARROW: _ClassVar[BatchLayout]
BATCH_LAYOUT_UNSPECIFIED: BatchLayout
BATCH_LAYOUT_ROWS: BatchLayout
BATCH_LAYOUT_COLUMNS: BatchLayout
BATCH_LAYOUT_ARROW: BatchLayout

class Feature(_message.Message):
    __slots__ = ("id", "geometry", "properties", "distance_meters", "etag")
    ID_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_METERS_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    id: str
    geometry: _geometry_pb2.Geometry
    properties: _struct_pb2.Struct
    distance_meters: float
    etag: str
    def __init__(self, id: _Optional[str] = ..., geometry: _Optional[_Union[_geometry_pb2.Geometry, _Mapping]] = ..., properties: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., distance_meters: _Optional[float] = ..., etag: _Optional[str] = ...) -> None: ...

class FeatureRows(_message.Message):
    __slots__ = ("features",)
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    def __init__(self, features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ...) -> None: ...

class FeatureColumns(_message.Message):
    __slots__ = ("count", "int64_ids", "string_ids", "wkb", "distance_meters", "properties")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    INT64_IDS_FIELD_NUMBER: _ClassVar[int]
    STRING_IDS_FIELD_NUMBER: _ClassVar[int]
    WKB_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_METERS_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    count: int
    int64_ids: _containers.RepeatedScalarFieldContainer[int]
    string_ids: _containers.RepeatedScalarFieldContainer[str]
    wkb: _containers.RepeatedScalarFieldContainer[bytes]
    distance_meters: _containers.RepeatedScalarFieldContainer[float]
    properties: _containers.RepeatedCompositeFieldContainer[Column]
    def __init__(self, count: _Optional[int] = ..., int64_ids: _Optional[_Iterable[int]] = ..., string_ids: _Optional[_Iterable[str]] = ..., wkb: _Optional[_Iterable[bytes]] = ..., distance_meters: _Optional[_Iterable[float]] = ..., properties: _Optional[_Iterable[_Union[Column, _Mapping]]] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("name", "null_rows", "strings", "integers", "numbers", "booleans", "timestamps", "json", "bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NULL_ROWS_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    INTEGERS_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    BOOLEANS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    null_rows: _containers.RepeatedScalarFieldContainer[int]
    strings: StringValues
    integers: Int64Values
    numbers: DoubleValues
    booleans: BoolValues
    timestamps: Int64Values
    json: StringValues
    bytes: BytesValues
    def __init__(self, name: _Optional[str] = ..., null_rows: _Optional[_Iterable[int]] = ..., strings: _Optional[_Union[StringValues, _Mapping]] = ..., integers: _Optional[_Union[Int64Values, _Mapping]] = ..., numbers: _Optional[_Union[DoubleValues, _Mapping]] = ..., booleans: _Optional[_Union[BoolValues, _Mapping]] = ..., timestamps: _Optional[_Union[Int64Values, _Mapping]] = ..., json: _Optional[_Union[StringValues, _Mapping]] = ..., bytes: _Optional[_Union[BytesValues, _Mapping]] = ...) -> None: ...

class StringValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class BytesValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, values: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Int64Values(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Optional[_Iterable[int]] = ...) -> None: ...

class DoubleValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class BoolValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, values: _Optional[_Iterable[bool]] = ...) -> None: ...

class FeatureBatch(_message.Message):
    __slots__ = ("rows", "columns", "arrow_ipc", "resume_token", "srid")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ARROW_IPC_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SRID_FIELD_NUMBER: _ClassVar[int]
    rows: FeatureRows
    columns: FeatureColumns
    arrow_ipc: bytes
    resume_token: str
    srid: int
    def __init__(self, rows: _Optional[_Union[FeatureRows, _Mapping]] = ..., columns: _Optional[_Union[FeatureColumns, _Mapping]] = ..., arrow_ipc: _Optional[bytes] = ..., resume_token: _Optional[str] = ..., srid: _Optional[int] = ...) -> None: ...
