"""all: from an empty folder to a bundle, and what the transfer brought."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from camagent.cli.bar import work_bar
from camagent.errors import UsageError, printable
from recipes.classify import weights as store
from recipes.classify.cli_data import run_generate
from recipes.classify.cli_model import NAME, held, run_bundle, run_evaluate
from recipes.classify.cli_train import run_export
from recipes.classify.cli_train import train as train_command
from recipes.classify.dataset import Samples, open_dataset, read
from recipes.classify.lint import lint
from recipes.od_seg.extras import require


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything; pictures are of each class."""

    nine: int
    nine_steps: int
    two: int
    val: int
    steps: int
    few: Sequence[int]
    repeats: int


FULL = Scale(nine=300, nine_steps=3000, two=80, val=150, steps=250, few=(5, 20, 80), repeats=3)
SMOKE = Scale(nine=30, nine_steps=200, two=16, val=15, steps=60, few=(16,), repeats=1)


@click.command(epilog="Example: python -m recipes.classify all --smoke -o work/")
@click.option("--smoke", is_flag=True, help="Little of everything: about a minute, and a model that has only begun to learn.")
@click.option("--seed", type=click.IntRange(0, 90), default=1, show_default=True, help="Of weights, order and looks.")
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write; new or empty."
)
def everything(smoke: bool, seed: int, output: Path) -> int:
    """Generate, lint, train on nine kinds, transfer to two, measure, export, bundle, one after the other.

    Exit code 1 where the bundle's golden pictures disagree: after --smoke they may.
    """
    require("torch", "onnx")
    return run_all(SMOKE if smoke else FULL, seed, output)


def run_all(scale: Scale, seed: int, output: Path) -> int:
    """The bundle's exit code. Raises what the steps raise."""
    nine, two = output / "nine", output / "two"
    run_generate("nine", {"train": scale.nine, "val": max(5, scale.val // 5)}, 0, nine)
    run_generate("two", {"train": scale.two, "val": scale.val}, 0, two)
    for folder in (nine, two):
        findings = lint(folder)
        if findings:
            raise UsageError(f"{printable(folder)} has faults: {findings[0].sentence}", fix="mend what 'lint' names")
        click.echo(f"{printable(folder)}: nothing to mend")
    _train(nine, output / "nine.npz", scale.nine_steps, seed)
    _train(two, output / "two.npz", scale.steps, seed, "--weights", str(output / "nine.npz"))
    for kinds in ("nine", "two"):
        run_export(output / f"{kinds}.npz", output / f"{kinds}.onnx")
    rows = compare(two, output / "nine.npz", scale, seed)
    qualities = {kinds: run_evaluate(output / f"{kinds}.onnx", held(output / kinds, kinds, 0)).document()
                 for kinds in ("nine", "two")}  # fmt: skip
    store.record(output / "classify.json", _record(scale, seed, output / "two.onnx") | {"compared": rows, **qualities})
    _show(rows)
    for kinds, quality in qualities.items():
        click.echo(f"{kinds}.onnx: right on {quality['accuracy']:.1%} of {quality['pictures']} pictures")
    return run_bundle(output / "two.onnx", held(None, "two", 0), NAME, "1.0.0", output / f"{NAME}-1.0.0.cambundle")


def compare(folder: Path, checkpoint: Path, scale: Scale, seed: int) -> list[dict[str, Any]]:
    """Per number of pictures, accuracy on `val` of networks that began with nothing and with the checkpoint's backbone."""
    from recipes.classify import train as training

    found, known = open_dataset(folder), store.read(checkpoint)
    everything_, judged = read(found, "train"), read(found, "val")
    rows: list[dict[str, Any]] = []

    def trained(samples: Samples, number: int, *, knows: bool) -> float:
        network = training.fresh(len(found.classes.classes), number)
        if knows:
            training.fill(network, known)
        settings = training.Settings(scale.steps, seed=number)
        training.train(network, samples, settings, lambda _: bar.advance(task), knows=knows)
        return round(training.share_right(network, judged), 4)

    with work_bar(stays_clear=False) as bar:
        task = bar.add_task("comparing", total=len(scale.few) * scale.repeats * 2 * scale.steps)
        for few in scale.few:
            seeds = range(seed, seed + scale.repeats)
            row: dict[str, Any] = {"pictures": few, "steps": scale.steps, "seeds": list(seeds)}
            for name, knows in (("scratch", False), ("transferred", True)):
                row[name] = [trained(everything_.few(few, number), number, knows=knows) for number in seeds]
            rows.append(row)
    return rows


def _record(scale: Scale, seed: int, model: Path) -> dict[str, Any]:
    import torch

    smoke = "--smoke " if scale == SMOKE else ""
    return {"command": f"python -m recipes.classify all {smoke}--seed {seed} -o work/", "torch": torch.__version__,
            "sha256": hashlib.sha256(model.read_bytes()).hexdigest()}  # fmt: skip


def _train(folder: Path, output: Path, steps: int, seed: int, *more: str) -> None:
    arguments = [str(folder), "-o", str(output), "--steps", str(steps), "--seed", str(seed), *more]
    train_command.main(arguments, standalone_mode=False)


def _show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table("pictures of each class", "from nothing", "transferred")
    for row in rows:
        table.add_row(str(row["pictures"]), *(_spread(row[name]) for name in ("scratch", "transferred")))
    Console(width=None if Console().is_terminal else 100, highlight=False).print(table)


def _spread(values: Sequence[float]) -> str:
    """`0.84 (0.81 to 0.88)`."""
    return f"{sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})"


__all__ = ["FULL", "SMOKE", "Scale", "compare", "everything", "run_all"]
