"""`spatial export`: a stream, written to a file."""

from service.cli.export.command import export

__all__ = ["export"]
