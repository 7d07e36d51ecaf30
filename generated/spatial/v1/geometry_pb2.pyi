from google.protobuf import struct_pb2 as _struct_pb2
from google.type import latlng_pb2 as _latlng_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Predicate(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PREDICATE_UNSPECIFIED: _ClassVar[Predicate]
    PREDICATE_INTERSECTS: _ClassVar[Predicate]
    PREDICATE_WITHIN: _ClassVar[Predicate]
    PREDICATE_CONTAINS: _ClassVar[Predicate]
    PREDICATE_COVERS: _ClassVar[Predicate]
    PREDICATE_COVERED_BY: _ClassVar[Predicate]
    PREDICATE_TOUCHES: _ClassVar[Predicate]
    PREDICATE_CROSSES: _ClassVar[Predicate]
    PREDICATE_OVERLAPS: _ClassVar[Predicate]
    PREDICATE_EQUALS: _ClassVar[Predicate]

class DistanceModel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DISTANCE_MODEL_UNSPECIFIED: _ClassVar[DistanceModel]
    DISTANCE_MODEL_SPHEROID: _ClassVar[DistanceModel]
    DISTANCE_MODEL_SPHERE: _ClassVar[DistanceModel]
    DISTANCE_MODEL_PLANAR: _ClassVar[DistanceModel]

class GeometryView(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GEOMETRY_VIEW_UNSPECIFIED: _ClassVar[GeometryView]
    GEOMETRY_VIEW_FULL: _ClassVar[GeometryView]
    GEOMETRY_VIEW_NONE: _ClassVar[GeometryView]
    GEOMETRY_VIEW_CENTROID: _ClassVar[GeometryView]
    GEOMETRY_VIEW_BBOX: _ClassVar[GeometryView]

class GeometryEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GEOMETRY_ENCODING_UNSPECIFIED: _ClassVar[GeometryEncoding]
    GEOMETRY_ENCODING_WKB: _ClassVar[GeometryEncoding]
    GEOMETRY_ENCODING_WKT: _ClassVar[GeometryEncoding]
    GEOMETRY_ENCODING_GEOJSON: _ClassVar[GeometryEncoding]
PREDICATE_UNSPECIFIED: Predicate
PREDICATE_INTERSECTS: Predicate
PREDICATE_WITHIN: Predicate
PREDICATE_CONTAINS: Predicate
PREDICATE_COVERS: Predicate
PREDICATE_COVERED_BY: Predicate
PREDICATE_TOUCHES: Predicate
PREDICATE_CROSSES: Predicate
PREDICATE_OVERLAPS: Predicate
PREDICATE_EQUALS: Predicate
DISTANCE_MODEL_UNSPECIFIED: DistanceModel
DISTANCE_MODEL_SPHEROID: DistanceModel
DISTANCE_MODEL_SPHERE: DistanceModel
DISTANCE_MODEL_PLANAR: DistanceModel
GEOMETRY_VIEW_UNSPECIFIED: GeometryView
GEOMETRY_VIEW_FULL: GeometryView
GEOMETRY_VIEW_NONE: GeometryView
GEOMETRY_VIEW_CENTROID: GeometryView
GEOMETRY_VIEW_BBOX: GeometryView
GEOMETRY_ENCODING_UNSPECIFIED: GeometryEncoding
GEOMETRY_ENCODING_WKB: GeometryEncoding
GEOMETRY_ENCODING_WKT: GeometryEncoding
GEOMETRY_ENCODING_GEOJSON: GeometryEncoding

class Geometry(_message.Message):
    __slots__ = ("wkb", "wkt", "geojson", "srid")
    WKB_FIELD_NUMBER: _ClassVar[int]
    WKT_FIELD_NUMBER: _ClassVar[int]
    GEOJSON_FIELD_NUMBER: _ClassVar[int]
    SRID_FIELD_NUMBER: _ClassVar[int]
    wkb: bytes
    wkt: str
    geojson: _struct_pb2.Struct
    srid: int
    def __init__(self, wkb: _Optional[bytes] = ..., wkt: _Optional[str] = ..., geojson: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., srid: _Optional[int] = ...) -> None: ...

class BoundingBox(_message.Message):
    __slots__ = ("west", "south", "east", "north")
    WEST_FIELD_NUMBER: _ClassVar[int]
    SOUTH_FIELD_NUMBER: _ClassVar[int]
    EAST_FIELD_NUMBER: _ClassVar[int]
    NORTH_FIELD_NUMBER: _ClassVar[int]
    west: float
    south: float
    east: float
    north: float
    def __init__(self, west: _Optional[float] = ..., south: _Optional[float] = ..., east: _Optional[float] = ..., north: _Optional[float] = ...) -> None: ...

class FeatureRef(_message.Message):
    __slots__ = ("layer", "id")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    layer: str
    id: str
    def __init__(self, layer: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...

class Probe(_message.Message):
    __slots__ = ("point", "geometry", "bbox", "feature")
    POINT_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    BBOX_FIELD_NUMBER: _ClassVar[int]
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    point: _latlng_pb2.LatLng
    geometry: Geometry
    bbox: BoundingBox
    feature: FeatureRef
    def __init__(self, point: _Optional[_Union[_latlng_pb2.LatLng, _Mapping]] = ..., geometry: _Optional[_Union[Geometry, _Mapping]] = ..., bbox: _Optional[_Union[BoundingBox, _Mapping]] = ..., feature: _Optional[_Union[FeatureRef, _Mapping]] = ...) -> None: ...
