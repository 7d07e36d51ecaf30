from google.protobuf import struct_pb2 as _struct_pb2
from spatial.v1 import geometry_pb2 as _geometry_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Feature(_message.Message):
    __slots__ = ("id", "geometry", "properties", "distance_meters")
    ID_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_METERS_FIELD_NUMBER: _ClassVar[int]
    id: str
    geometry: _geometry_pb2.Geometry
    properties: _struct_pb2.Struct
    distance_meters: float
    def __init__(self, id: _Optional[str] = ..., geometry: _Optional[_Union[_geometry_pb2.Geometry, _Mapping]] = ..., properties: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., distance_meters: _Optional[float] = ...) -> None: ...
