"""Tables that are there already, as layers: which of them, read from PostgreSQL's catalog, again when they change."""

from service.reflected.source import LayerSource
from service.reflected.wanted import ConfigurationError, Wanted, read_wanted

__all__ = ["ConfigurationError", "LayerSource", "Wanted", "read_wanted"]
