"""python -m recipes.od_seg ..: from nothing to a bundle, one command per step. A command is imported when it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import click

from camagent import cli
from camagent.cli.lazy import LazyGroup, Place

_NAME = "python -m recipes.od_seg"

COMMANDS: Mapping[str, Place] = MappingProxyType({
    "generate": Place("recipes.od_seg.cli_data", "Draw labelled road scenes: pictures and Labelme files.", "generate"),
    "clip": Place("recipes.od_seg.cli_data", "Draw a street in motion as an H.264 clip.", "clip"),
    "lint": Place("recipes.od_seg.cli_data", "Look for what spoils a data set; works on any folder of yours.", "lint"),
    "voc": Place("recipes.od_seg.cli_data", "Convert Labelme files to Pascal VOC.", "voc"),
    "train": Place("recipes.od_seg.cli_train", "Train the network.", "train"),
    "export": Place("recipes.od_seg.cli_train", "Write a checkpoint as ONNX, one input and two outputs.", "export"),
    "evaluate": Place("recipes.od_seg.cli_model", "Measure mAP50 and mIoU on scenes or pictures it has not seen.", "evaluate"),
    "quantize": Place("recipes.od_seg.cli_model", "Make an int8 model, two calibrations compared.", "quantize"),
    "bundle": Place("recipes.od_seg.cli_model", "Build the golden bundle, unsigned.", "bundle"),
    "sheet": Place("recipes.od_seg.cli_model", "Draw pictures with what is there and what was seen.", "sheet"),
    "all": Place("recipes.od_seg.cli_all", "Every step, one after the other.", "everything"),
})  # fmt: skip


@click.group(
    cls=LazyGroup,
    places=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: python -m recipes.od_seg all --smoke -o work/",
)
def app() -> None:
    """The shipped model, from drawn road scenes to a bundle.

    Exit codes: 0 did it, 1 a finding is the answer, 2 wrong usage or input, 3 could not decide.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and ends the process with its exit code."""
    cli.main(arguments, app, _NAME)


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; every error becomes a sentence on stderr and an exit code."""
    return cli.run(arguments, app, _NAME)
