"""camagent fleet ..: many cameras at once. A command is imported when it is called."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import click

from camagent.cli.lazy import LazyGroup, Place

COMMANDS: Mapping[str, Place] = MappingProxyType({
    "status": Place("camagent.cli.fleet_status", "Every camera behind a broker: what runs, who is silent, who sees nothing."),
})  # fmt: skip


@click.group(cls=LazyGroup, places=COMMANDS, epilog="Example: camagent fleet status --url mqtt://192.168.1.10")
def command() -> None:
    """Look at many cameras at once."""
