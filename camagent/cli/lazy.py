"""A click group whose commands are imported when they are called: a camera's processor pays for each import."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click


class Place(NamedTuple):
    """Where a command is, and its line in the list of commands, which imports none of them."""

    module: str
    text: str
    attribute: str = "command"


class LazyGroup(click.Group):
    """Commands by name; a module is imported when its command is called or asked for help."""

    def __init__(self, *args: Any, places: Mapping[str, Place], **named: Any) -> None:
        """As click.Group, and where each command is."""
        super().__init__(*args, **named)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in alphabetical order."""
        del ctx
        return sorted(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        del ctx
        place = self._places.get(cmd_name)
        if place is None:
            return None
        found: click.Command = getattr(import_module(place.module), place.attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, without importing any of them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.text) for name, place in sorted(self._places.items())])
