"""Which reader a file needs, by its name."""

from pathlib import Path

from service.loading.delimited import open_csv
from service.loading.errors import LoadError
from service.loading.ogr import open_ogr
from service.loading.parquet import open_parquet
from service.loading.source import Source, Wanted

DELIMITED = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
PARQUET = (".parquet", ".geoparquet")


def open_source(path: Path, wanted: Wanted) -> Source:
    """The file's layer, ready to be read; LoadError where it cannot be."""
    if not path.exists():
        raise LoadError(f"there is no file {path}")
    name = path.name.lower()
    opened = open_csv if name.endswith(DELIMITED) else open_parquet if name.endswith(PARQUET) else open_ogr
    return opened(path, wanted)
