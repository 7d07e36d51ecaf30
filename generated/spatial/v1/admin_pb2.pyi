from google.protobuf import struct_pb2 as _struct_pb2
from spatial.v1 import query_pb2 as _query_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEVERITY_UNSPECIFIED: _ClassVar[Severity]
    SEVERITY_INFO: _ClassVar[Severity]
    SEVERITY_WARNING: _ClassVar[Severity]
    SEVERITY_ERROR: _ClassVar[Severity]
SEVERITY_UNSPECIFIED: Severity
SEVERITY_INFO: Severity
SEVERITY_WARNING: Severity
SEVERITY_ERROR: Severity

class ExplainRequest(_message.Message):
    __slots__ = ("query", "output", "analyze", "stream")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ANALYZE_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    query: _query_pb2.Query
    output: _query_pb2.Output
    analyze: bool
    stream: bool
    def __init__(self, query: _Optional[_Union[_query_pb2.Query, _Mapping]] = ..., output: _Optional[_Union[_query_pb2.Output, _Mapping]] = ..., analyze: _Optional[bool] = ..., stream: _Optional[bool] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("text", "json", "indexes", "sequential_scans", "total_cost", "estimated_rows", "sql", "refusal")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    SEQUENTIAL_SCANS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COST_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_ROWS_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    text: str
    json: str
    indexes: _containers.RepeatedScalarFieldContainer[str]
    sequential_scans: _containers.RepeatedScalarFieldContainer[str]
    total_cost: float
    estimated_rows: float
    sql: str
    refusal: str
    def __init__(self, text: _Optional[str] = ..., json: _Optional[str] = ..., indexes: _Optional[_Iterable[str]] = ..., sequential_scans: _Optional[_Iterable[str]] = ..., total_cost: _Optional[float] = ..., estimated_rows: _Optional[float] = ..., sql: _Optional[str] = ..., refusal: _Optional[str] = ...) -> None: ...

class DiagnoseRequest(_message.Message):
    __slots__ = ("layers", "thorough")
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    THOROUGH_FIELD_NUMBER: _ClassVar[int]
    layers: _containers.RepeatedScalarFieldContainer[str]
    thorough: bool
    def __init__(self, layers: _Optional[_Iterable[str]] = ..., thorough: _Optional[bool] = ...) -> None: ...

class DiagnoseResponse(_message.Message):
    __slots__ = ("findings", "versions", "settings", "pools", "timings")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    POOLS_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    versions: _containers.ScalarMap[str, str]
    settings: _containers.RepeatedCompositeFieldContainer[SettingInEffect]
    pools: _containers.RepeatedCompositeFieldContainer[PoolState]
    timings: _containers.RepeatedCompositeFieldContainer[LayerTiming]
    def __init__(self, findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., versions: _Optional[_Mapping[str, str]] = ..., settings: _Optional[_Iterable[_Union[SettingInEffect, _Mapping]]] = ..., pools: _Optional[_Iterable[_Union[PoolState, _Mapping]]] = ..., timings: _Optional[_Iterable[_Union[LayerTiming, _Mapping]]] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("severity", "kind", "layer", "message", "statement", "details")
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    severity: Severity
    kind: str
    layer: str
    message: str
    statement: str
    details: _struct_pb2.Struct
    def __init__(self, severity: _Optional[_Union[Severity, str]] = ..., kind: _Optional[str] = ..., layer: _Optional[str] = ..., message: _Optional[str] = ..., statement: _Optional[str] = ..., details: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class SettingInEffect(_message.Message):
    __slots__ = ("name", "value", "recommended")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDED_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    recommended: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ..., recommended: _Optional[str] = ...) -> None: ...

class PoolState(_message.Message):
    __slots__ = ("name", "size", "in_use", "idle")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    IN_USE_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    size: int
    in_use: int
    idle: int
    def __init__(self, name: _Optional[str] = ..., size: _Optional[int] = ..., in_use: _Optional[int] = ..., idle: _Optional[int] = ...) -> None: ...

class LayerTiming(_message.Message):
    __slots__ = ("layer", "milliseconds", "index")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    layer: str
    milliseconds: float
    index: str
    def __init__(self, layer: _Optional[str] = ..., milliseconds: _Optional[float] = ..., index: _Optional[str] = ...) -> None: ...

class AnalyzeLayerRequest(_message.Message):
    __slots__ = ("layer", "reindex")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    REINDEX_FIELD_NUMBER: _ClassVar[int]
    layer: str
    reindex: bool
    def __init__(self, layer: _Optional[str] = ..., reindex: _Optional[bool] = ...) -> None: ...

class AnalyzeLayerResponse(_message.Message):
    __slots__ = ("step", "done", "total", "seconds")
    STEP_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    step: str
    done: int
    total: int
    seconds: float
    def __init__(self, step: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ..., seconds: _Optional[float] = ...) -> None: ...
