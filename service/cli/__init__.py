"""The `spatial` command, one small file a command."""

from importlib import import_module

import click

from service import __version__


class Commands(click.Group):
    """Each command is imported when it is asked for: `spatial health` runs every few seconds, and needs little."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["serve", "migrate", "query", "explain", "export", "load", "doctor", "config", "health", "token"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = getattr(import_module(f"service.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="spatial")
def spatial() -> None:
    """A gRPC spatial service over PostGIS.

    \b
    In a checkout, `make run` starts everything. By hand:
      export SPATIAL_DATABASE_URL=postgresql://user:password@host:5432/database
      spatial migrate
      spatial serve
      spatial query radius facilities --at 40.7128,-74.006 --radius 2000

    Settings are environment variables; `spatial config` lists them with what is in effect.
    """
