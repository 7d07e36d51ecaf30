"""A load straight into the database, on connections of its own."""

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from uuid import uuid4

from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from sqlalchemy import Engine, NullPool, create_engine, func, select, text
from sqlalchemy.exc import OperationalError

from service.catalog import Catalog, Layer, shipped_layers
from service.changes import ImportPlan, Incoming
from service.codec.arriving.geometries import ArrivalReader
from service.codec.systems import KnownSystems
from service.codec.wkb_types import GeometryLimits
from service.db.engine import Pool, bulk_pool, database_url
from service.db.imports.importer import Importer, ImportOutcome
from service.db.ledger import imports
from service.errors import NotFound
from service.loading.ahead import ahead
from service.loading.errors import LoadError
from service.loading.manner import Manner
from service.loading.mapping import ColumnMapping, Target
from service.loading.rows import RowReader
from service.loading.source import Source
from service.loading.systems import System, of_code
from service.observability.metrics import Metrics
from service.reflected import LayerSource, Wanted, read_wanted
from service.reflected.wanted import LayerOptions
from service.settings import Settings

MOST_LISTED = 10_000
# A file is not a caller who sends too much.
NO_LIMITS = GeometryLimits(max_bytes=2**31, max_vertices=2**31, max_depth=32)


class Database:
    """Where a load goes. Everything that it is asked for is asked on connections of its own pool."""

    def __init__(self, settings: Settings, pool: Pool, metrics: Metrics) -> None:
        self._settings = settings
        self._pool = pool
        self._metrics = metrics

    @property
    def engine(self) -> Engine:
        return self._pool.engine

    def layer(self, name: str) -> Layer:
        """The layer that a server would call so, else the table of this name; who has the database's password may
        write to either."""
        configured = read_wanted(self._settings.layers)
        tables = [each.model_copy(update={"writable": True, "unindexed": True}) for each in configured.tables]
        models = shipped_layers() if configured.models else ()
        catalog = Catalog(models)
        source = LayerSource(Wanted(configured.models, (*tables, *_table(name))), models, self.engine, catalog)
        with _silent("spatial.layers"):
            source.refresh()
        try:
            return _writable(catalog[name])
        except NotFound:
            reasons = [refusal.reason for refusal in source.refusals if refusal.table in (name, f"public.{name}")]
            raise LoadError(
                f"{name!r} cannot be loaded into: {'; '.join(reasons) or 'there is no such layer or table'}; "
                "--create makes a new table"
            ) from None

    def systems(self) -> set[int]:
        """The codes of all CRSs that it can transform from."""
        with self.engine.connect() as connection:
            return {*connection.scalars(text("SELECT srid FROM spatial_ref_sys"))}

    def load(
        self,
        source: Source,
        layer: Layer,
        mapping: ColumnMapping,
        manner: Manner,
        told: Callable[[int], None],
    ) -> ImportOutcome:
        """Reads the file once; `told` hears how many rows were handed over."""
        known = self.systems()
        system = source.system or of_code(layer.srid)
        arrivals = ArrivalReader(NO_LIMITS, KnownSystems(known))
        reader = RowReader(
            layer, mapping, system, arrivals, manner.repair, manner.match, transforms=_transforms(system, layer, known)
        )
        importer = Importer(self._pool, self._settings, self._metrics)
        straight = manner.fresh and not manner.dry_run and (reader.transforms or system.srid == layer.srid)
        plan = replace(_plan(layer, system, manner), straight=straight)
        with importer.begin(plan, layer) as progress, ahead(_read(source, reader)) as incoming:
            for rows, some in incoming:
                importer.write(progress, some)
                told(rows)
            return importer.finish(progress)


def _transforms(system: System, layer: Layer, known: set[int]) -> bool:
    return system.srid != layer.srid and system.srid not in known


def _read(source: Source, reader: RowReader) -> Generator[tuple[int, Incoming], None, None]:
    first = 0
    for batch in source.batches():
        yield batch.rows, reader.read(first, batch)
        first += batch.rows


def _plan(layer: Layer, system: System, manner: Manner) -> ImportPlan:
    name = str(uuid4())
    return ImportPlan(
        layer=layer.name,
        id=name,
        digest=sha256(name.encode()).digest(),  # nobody goes on with it
        mode=manner.mode,
        match=manner.match,
        repair=manner.repair,
        srid=system.srid or layer.srid,
        listed=MOST_LISTED,
        validate_only=manner.dry_run,
        revision=layer.revision,
    )


def target_of(layer: Layer) -> Target:
    return Target(
        layer.name,
        str(layer.key.key),
        {name: prop.writable for name, prop in layer.properties.items()},
    )


def _writable(layer: Layer) -> Layer:
    if not layer.writable:
        raise LoadError(f"layer {layer.name!r} takes no rows: {layer.read_only or 'it is read only'}")
    return layer


def _table(name: str) -> tuple[LayerOptions, ...]:
    try:
        return (LayerOptions(table=name, name=name, writable=True, unindexed=True),)
    except ValidationError:
        return ()


def prepare(url: str) -> None:
    """Has PostGIS in a database that may be new; its own role must be allowed to."""
    engine = create_engine(database_url(url), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS postgis"))


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """What a server says of its layers is not said here."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


@contextmanager
def database(settings: Settings, url: str) -> Iterator[Database]:
    metrics = Metrics(CollectorRegistry())
    pool = bulk_pool(settings, url, metrics)
    try:
        with pool.engine.connect() as connection:
            remembered = connection.scalar(select(func.to_regclass(imports.name)))
        if remembered is None:
            from service import migrations  # Alembic, which is seldom needed

            try:
                migrations.upgrade_ledger(url)
            except migrations.NoSession as error:
                raise LoadError(str(error)) from None
        yield Database(settings, pool, metrics)
    except OperationalError as error:
        raise LoadError(f"the database: {str(error.orig).partition(chr(10))[0]}") from None
    finally:
        pool.engine.dispose()
