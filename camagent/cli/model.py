"""camagent model ..: what a model file is and what reads it. A command is imported when it is called."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

import click

# name -> (module, attribute, help); the help stands here so that the list of commands imports none of them
COMMANDS: Mapping[str, tuple[str, str, str]] = MappingProxyType({
    "inspect": ("camagent.cli.model_inspect", "inspect", "Say what a model takes and gives, and which head reads it."),
})  # fmt: skip


class _Commands(click.Group):
    """Commands by name, imported when they are called or asked for help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in alphabetical order."""
        del ctx
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        found: click.Command = getattr(import_module(module), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, without importing any of them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in sorted(COMMANDS)])


@click.group(cls=_Commands, epilog="Example: camagent model inspect FastestDet.onnx")
def command() -> None:
    """Look into model files."""
