"""camagent model ..: what a model file is and what reads it. A command is imported when it is called."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import click

from camagent.cli.lazy import LazyGroup, Place

COMMANDS: Mapping[str, Place] = MappingProxyType({
    "compare": Place("camagent.cli.model_compare", "Say what a quantised model sees less, or more.", "compare"),
    "convert": Place("camagent.cli.model_convert", "Convert a model for Rockchip's NPUs.", "convert"),
    "inspect": Place("camagent.cli.model_inspect", "Say what a model takes and gives, and which head reads it.", "inspect"),
    "profile": Place("camagent.cli.model_profile", "Say which operators take a model's time.", "profile"),
    "optimize": Place("camagent.cli.model_optimize", "Rewrite a graph: faster, and proved to say the same.", "optimize"),
})  # fmt: skip


@click.group(cls=LazyGroup, places=COMMANDS, epilog="Example: camagent model inspect FastestDet.onnx")
def command() -> None:
    """Look into model files, make them faster, convert and compare them."""
