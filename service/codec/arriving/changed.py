"""What of a feature a request is about."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from service.catalog import Layer
from service.errors import InvalidArgument, Reason
from spatial.v1 import feature_pb2

_PREFIX = "properties."


class Changed(NamedTuple):
    """Whether the geometry is, which properties become what the feature has, and which get their default again."""

    geometry: bool
    properties: tuple[str, ...]
    defaults: tuple[str, ...] = ()


def given_properties(layer: Layer, given: Iterable[str]) -> tuple[str, ...]:
    """The names of the properties that a feature has, but for those that cannot be written; in an order of their own,
    so that the same properties make the same statement."""
    names, known = sorted(given), layer.properties
    for name in names:
        if name not in known:
            raise InvalidArgument(
                Reason.UNKNOWN_PROPERTY,
                f"layer {layer.name!r} has no property {name[:80]!r}",
                field=f"properties.{name}",
                metadata={"layer": layer.name},
            )
    return tuple([name for name in names if known[name].writable])


def read_mask(layer: Layer, feature: feature_pb2.Feature, paths: Sequence[str]) -> Changed:
    """What the paths say is changed; their refusals name the field relative to the request."""
    geometry, whole, named = False, False, {}
    for index, path in enumerate(paths):
        geometry |= path in ("geometry", "*")
        whole |= path in ("properties", "*")
        if path.startswith(_PREFIX):
            named[_named(layer, path, f"update_mask.paths[{index}]")] = True
        elif path not in ("geometry", "properties", "*"):
            problem = f"{path[:80]!r} is not `geometry`, `properties`, `properties.<name>` or `*`"
            raise InvalidArgument(Reason.INVALID_UPDATE_MASK, problem, field=f"update_mask.paths[{index}]")
    defaults: tuple[str, ...] = ()
    if whole:
        try:
            named |= dict.fromkeys(given_properties(layer, feature.properties.fields), True)
        except InvalidArgument as error:
            raise error.at("feature") from None
        defaults = tuple(name for name, prop in layer.properties.items() if prop.writable and name not in named)
    return Changed(geometry, tuple(named), defaults)


def _named(layer: Layer, path: str, field: str) -> str:
    name = path.removeprefix(_PREFIX)
    prop = layer.properties.get(name)
    if prop is None:
        problem = f"layer {layer.name!r} has no property {name[:80]!r}"
        raise InvalidArgument(Reason.INVALID_UPDATE_MASK, problem, field=field, metadata={"layer": layer.name})
    if not prop.writable:
        problem = f"property {name!r} is computed, or kept by the database"
        raise InvalidArgument(
            Reason.READ_ONLY_PROPERTY, problem, field=field, metadata={"layer": layer.name, "property": name}
        )
    return name
