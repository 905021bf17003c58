"""python -m recipes.classify ..: from nothing to a bundle, one command per step. A command is imported when it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import click

from camagent import cli
from camagent.cli.lazy import LazyGroup, Place

_NAME = "python -m recipes.classify"

COMMANDS: Mapping[str, Place] = MappingProxyType({
    "generate": Place("recipes.classify.cli_data", "Draw pictures of waste, in folders named for their class.", "generate"),
    "sheet": Place("recipes.classify.cli_data", "Draw every kind side by side.", "sheet"),
    "lint": Place("recipes.classify.cli_data", "Look for what spoils a data set; works on any folder of yours.", "lint"),
    "train": Place("recipes.classify.cli_train", "Train the network, from nothing or from a backbone.", "train"),
    "export": Place("recipes.classify.cli_train", "Write a checkpoint as ONNX.", "export"),
    "evaluate": Place("recipes.classify.cli_model", "Count how often a model is right on new pictures.", "evaluate"),
    "bundle": Place("recipes.classify.cli_model", "Build the golden bundle with its label groups, unsigned.", "bundle"),
    "all": Place("recipes.classify.cli_all", "Every step, and transfer measured against starting from nothing.", "everything"),
})  # fmt: skip


@click.group(
    cls=LazyGroup,
    places=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: python -m recipes.classify all --smoke -o work/",
)
def app() -> None:
    """A classifier by transfer: nine kinds of waste first, then two others from few pictures.

    Exit codes: 0 did it, 1 a finding is the answer, 2 wrong usage or input, 3 could not decide.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and ends the process with its exit code."""
    cli.main(arguments, app, _NAME)


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; every error becomes a sentence on stderr and an exit code."""
    return cli.run(arguments, app, _NAME)
