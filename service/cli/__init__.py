"""The `spatial` command, one small file a command."""

from importlib import import_module

import click

from service import __version__
from service.heap import lasting

# What the list of commands says of each, so that to show it imports none.
COMMANDS = {
    "serve": "Serve gRPC until told to stop.",
    "migrate": "Bring the database's schema up to date.",
    "query": "Ask a running server.",
    "explain": "Show the plan by which a running server answers a query.",
    "export": "Write a layer, or what a question finds in it, to a file.",
    "load": "Load a file into a layer.",
    "doctor": "Find what is, or may soon be, wrong, and say how to mend it.",
    "config": "Print every setting, as in effect, with secrets masked.",
    "health": "Ask a running server whether it is ready; exit code 0 if it is.",
    "token": "Make a token for the caller NAME.",
}


class Commands(click.Group):
    """Each command is imported when it is asked for: `spatial health` runs every few seconds, and needs little."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        with lasting():
            command = getattr(import_module(f"service.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])


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
