"""What a request speaks of and only the database knows: features that are probes, and coordinate reference systems."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from service.catalog import Catalog, Layer
from service.codec.freshness import wanted_position
from service.codec.geometry import Stored
from service.codec.references import geometries, not_found, read_reference, referenced, without_geometry
from service.codec.requests import lookup
from service.codec.systems import KnownSystems
from service.db.describe import has_system
from service.db.replication.freshness import WANTED_POSITION
from service.db.replication.routed import Reads
from service.domain import Key, Output
from service.errors import Reason, SpatialError
from spatial.v1 import geometry_pb2

BIG_REQUEST_BYTES = 64 * 1024

ONLY_GEOMETRY = Output(properties=())

R = TypeVar("R", bound=Message)
T = TypeVar("T")


class References:
    """Looks up through `lanes`, so that a call's deadline and its end count here as everywhere."""

    def __init__(self, catalog: Catalog, lanes: Reads, systems: KnownSystems) -> None:
        self._catalog = catalog
        self._lanes = lanes
        self._systems = systems

    async def read(self, reader: Callable[[R, Stored | None], T], request: R) -> T:
        """What `reader` makes of the request and of the feature that it asks about, if it asks about one: elsewhere, if
        checking the geometry would hold up the event loop."""
        if position := wanted_position(request):
            WANTED_POSITION.set(position)
        stored = None
        if found := referenced(request):
            path, reference = found
            try:
                stored = await self._one(reference)
            except SpatialError as error:
                raise error.at(path) from error.__cause__
        size = request.ByteSize() if stored is None else len(stored.wkb)
        while True:
            try:
                if size < BIG_REQUEST_BYTES:
                    return reader(request, stored)
                return await asyncio.to_thread(reader, request, stored)
            except SpatialError as error:
                if not await self.learned(error):
                    raise

    async def learned(self, error: SpatialError) -> bool:
        """Whether what was refused for an SRID can be read again: the database has it, though nobody had asked yet."""
        if error.reason is not Reason.UNKNOWN_SRID:
            return False
        srid = int(error.metadata["srid"])
        if not await self._lanes.run(has_system(srid)):
            return False
        self._systems.add(srid)
        return True

    async def _one(self, reference: geometry_pb2.FeatureRef) -> Stored:
        (found,) = await self.stored([reference])
        if isinstance(found, SpatialError):
            raise found
        return found

    async def stored(self, references: Iterable[geometry_pb2.FeatureRef]) -> list[Stored | SpatialError]:
        """What each of the features has, or why it cannot be asked about; a statement for each of their layers."""
        read = [self._read(reference) for reference in references]
        wanted: dict[str, dict[Key, Layer]] = defaultdict(dict)
        for each in read:
            if not isinstance(each, SpatialError):
                layer, key = each
                wanted[layer.name][key] = layer
        found = {name: await self._look_up(next(iter(keys.values())), list(keys)) for name, keys in wanted.items()}
        return [each if isinstance(each, SpatialError) else _found(*each, found[each[0].name]) for each in read]

    def _read(self, reference: geometry_pb2.FeatureRef) -> tuple[Layer, Key] | SpatialError:
        try:
            return read_reference(self._catalog, reference)
        except SpatialError as error:
            return error

    async def _look_up(self, layer: Layer, keys: Sequence[Key]) -> dict[str, Stored | None]:
        answer = await self._lanes.answer(lookup(layer, ONLY_GEOMETRY, keys))
        found = geometries(answer)
        missing = [key for key in keys if str(key) not in found]
        if answer.cut and found and missing:  # large ones, that did not fit
            found |= await self._look_up(layer, missing)
        return found


def _found(layer: Layer, key: Key, found: dict[str, Stored | None]) -> Stored | SpatialError:
    if str(key) not in found:
        return not_found(layer, key)
    return found[str(key)] or without_geometry(layer, key)
