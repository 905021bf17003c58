"""train and export: the two steps that need torch. What is wrong with data or weights is said before torch is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from camagent.cli.bar import work_bar
from camagent.errors import UsageError, printable
from recipes.classify import weights as store
from recipes.classify.dataset import Samples, open_dataset, read
from recipes.od_seg.extras import require

if TYPE_CHECKING:
    from recipes.classify.network import ResNet
    from recipes.classify.train import Settings

_checkpoint = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(epilog="Example: python -m recipes.classify train work/two --weights work/nine.npz -o work/two.npz")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--weights", type=_checkpoint, help="Checkpoint whose backbone to start from; its classes may be others.")
@click.option("--resume", type=_checkpoint, help="Checkpoint to go on with, head and all; its classes must be the same.")
@click.option("--few", type=click.IntRange(1), help="Use this many pictures of each class.  [default: all]")
@click.option("--steps", type=click.IntRange(1), default=600, show_default=True, help="Steps of the training.")
@click.option("--batch", type=click.IntRange(2), default=32, show_default=True, help="Pictures per step.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=4e-3, show_default=True, help="Highest learning rate.")
@click.option("--clip", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True, help="Longest gradient.")
@click.option("--seed", type=click.IntRange(0, 99), default=1, show_default=True, help="Of weights, order and looks.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Processors to use.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Checkpoint to write (.npz)."
)
def train(
    folder: Path, weights: Path | None, resume: Path | None, few: int | None, steps: int, batch: int, rate: float, clip: float,
    seed: int, threads: int, output: Path,
) -> None:  # fmt: skip
    """Train on FOLDER/train; how it went is written beside the checkpoint as .json.

    The head is made from FOLDER/dataset.toml: there is no second place to set how many classes there are.
    """
    if weights is not None and resume is not None:
        raise UsageError("--weights and --resume are two beginnings", fix="give one of them")
    if output.suffix != ".npz":
        raise UsageError(f"{printable(output.name)} is no checkpoint's name", fix="give -o NAME.npz")
    found = open_dataset(folder)
    known = [store.read(path) for path in (weights, resume) if path is not None]
    if resume is not None:
        store.require_same_head(known[0], found.classes)
    samples = read(found, "train")
    require("torch")
    from recipes.classify import train as training

    settings = training.Settings(steps, batch, rate, seed, clip, threads)
    samples = samples.few(few, seed) if few else samples
    network = training.fresh(len(found.classes.classes), seed)
    said = {"beginning": _fill(network, known[0])} if known else {}
    losses = run_steps(network, samples, settings, knows=bool(known))
    store.write(output, found.classes, training.arrays(network))
    store.record(output.with_suffix(".json"), {
        "data": folder.name, "classes": found.classes.classes, "pictures": len(samples.class_ids), "steps": steps,
        "batch": batch, "rate": rate, "clip": clip, "seed": seed, **said, "loss": [round(loss, 4) for loss in losses],
    })  # fmt: skip
    click.echo(f"wrote {printable(output)}: {len(found.classes.classes)} classes, {len(samples.class_ids)} pictures, "
               f"{steps} steps, loss {losses[-1]:.3f}")  # fmt: skip


def run_steps(network: ResNet, samples: Samples, settings: Settings, *, knows: bool) -> list[float]:
    """Trains `network` in place behind a bar; the mean loss of each tenth of the steps."""
    from recipes.classify import train as training

    losses: list[float] = []
    with work_bar(stays_clear=False) as bar:
        task = bar.add_task("training", total=settings.steps)

        def tell(loss: float) -> None:
            losses.append(loss)
            bar.advance(task)

        training.train(network, samples, settings, tell, knows=knows)
    size = max(1, len(losses) // 10)
    parts = [losses[start : start + size] for start in range(0, len(losses), size)]
    return [sum(part) / len(part) for part in parts]


def _fill(network: ResNet, checkpoint: store.Checkpoint) -> str:
    from recipes.classify import train as training

    said = f"{checkpoint.path.name}: {training.fill(network, checkpoint).sentence}"
    click.echo(printable(said, 1000), err=True)
    return said


@click.command(epilog="Example: python -m recipes.classify export work/two.npz -o work/two.onnx")
@click.argument("checkpoint", type=_checkpoint)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Model to write.")
def export(checkpoint: Path, output: Path) -> None:
    """Write CHECKPOINT as ONNX."""
    run_export(checkpoint, output)


def run_export(checkpoint: Path, output: Path) -> None:
    """Raises InputError, CountMismatch, WeightsMisfit, ExtraMissing, FileUnusable."""
    found = store.read(checkpoint)
    require("torch", "onnx")
    from recipes.classify.export import to_onnx
    from recipes.classify.train import fill, fresh

    network = fresh(len(found.classes.classes), 0)
    fill(network, found)
    data = to_onnx(network)
    store.save(output, data)
    click.echo(f"wrote {printable(output)}: {len(data):,} bytes, {len(found.classes.classes)} scores")
