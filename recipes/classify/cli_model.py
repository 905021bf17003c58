"""evaluate and bundle: what is done with an ONNX model; none of it needs torch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from numpy.typing import NDArray

from camagent.cli.bar import work_bar
from camagent.errors import FileUnusable, InputError, printable
from recipes.classify import weights as store
from recipes.classify.classes import CONFIG, SETS, Classes
from recipes.classify.dataset import Dataset, open_dataset
from recipes.classify.draw import picture
from recipes.od_seg import pictures

if TYPE_CHECKING:
    from recipes.classify.measure import Quality

NAME = "waste"
_GOLDEN = 1  # pictures of each class in the bundle
_BY_EYE = {"cardboard box": 2, "disposable box": 6}  # of the demo's pictures, chosen by eye: in good light, nothing over them
_model = click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_data = click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with dataset.toml instead of drawn ones.",
)


@dataclass(frozen=True, slots=True)
class Held:
    """What a model is judged on: the `val` split of a folder, or drawn pictures that no training uses."""

    data: Dataset | None
    classes: Classes
    each: int

    @property
    def place(self) -> str:
        """Where the list of classes stands."""
        return CONFIG if self.data else "classes of this recipe"

    def count(self) -> int:
        """How many pictures."""
        return len(self.data.files.get("val", ())) if self.data else self.each * len(self.classes.classes)

    def samples(self) -> Iterator[tuple[NDArray[np.uint8], int]]:
        """Pictures with their class ids. Raises InputError."""
        if self.data is not None:
            yield from ((pictures.read(path), index) for path, index in self.data.files.get("val", ()))
            return
        for index, label in enumerate(self.classes.classes):
            yield from ((picture(label, "demo", number), index) for number in range(self.each))


def held(data: Path | None, kinds: str, each: int) -> Held:
    """Raises InputError, StrayClass, CountMismatch."""
    if data is None:
        return Held(None, SETS[kinds], each)
    found = open_dataset(data)
    if not found.files.get("val"):
        raise InputError(
            f"{printable(data)} has no pictures in val/", fix="put pictures that training has not seen into val/CLASS"
        )
    return Held(found, found.classes, each)


@click.command(epilog="Example: python -m recipes.classify evaluate recipes/classify/classify.onnx --pictures 200")
@_model
@_data
@click.option("--kinds", type=click.Choice(list(SETS)), default="two", show_default=True, help="Which kinds to draw.")
@click.option("--pictures", "each", type=click.IntRange(1), default=200, show_default=True, help="Of each class to draw.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (camagent.accuracy/1).")
def evaluate(model: Path, data: Path | None, kinds: str, each: int, as_json: bool) -> None:
    """Count how often MODEL (ONNX) is right, through the agent's own steps.

    The pictures are the `val` split of a folder, or drawn from seeds that no training uses.
    """
    quality = run_evaluate(model, held(data, kinds, each), stays_clear=as_json)
    if as_json:
        click.echo(json.dumps({"schema": "camagent.accuracy/1", "model": printable(model, 1000)} | quality.document()))
        return
    click.echo(f"{printable(model)}: right on {quality.share:.1%} of {sum(quality.pictures)} pictures")
    for name, good, count in zip(quality.classes, quality.right, quality.pictures, strict=True):
        click.echo(f"  {printable(name, 64)}: {good} of {count}")


def run_evaluate(model: Path, judged: Held, *, stays_clear: bool = False) -> Quality:
    """Raises what its parts raise."""
    from recipes.classify.measure import measure

    with work_bar(stays_clear=stays_clear) as bar:
        task = bar.add_task("measuring", total=judged.count())
        return measure(_bytes(model), judged.classes, judged.place, judged.samples(), lambda: bar.advance(task))


@click.command(epilog="Example: python -m recipes.classify bundle recipes/classify/classify.onnx -o work/waste-1.0.0.cambundle")
@_model
@_data
@click.option("--name", default=NAME, show_default=True, help="Name in the store.")
@click.option("--version", default="1.0.0", show_default=True, help="PEP 440 version.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The bundle to write.")
def bundle(model: Path, data: Path | None, name: str, version: str, output: Path) -> int:
    """Build a bundle of MODEL with one golden picture of each class; 'camagent bundle sign' signs it.

    Labels and groups are those of dataset.toml, and so is the first picture of each class in its val/: put one there on which
    nobody errs. Exit code 1 where the model takes a golden picture for another class.
    """
    return run_bundle(model, held(data, "two", _GOLDEN), name, version, output)


def run_bundle(model: Path, judged: Held, name: str, version: str, output: Path) -> int:
    """The exit code of `camagent bundle create`. Raises CountMismatch, BackendError, FileUnusable."""
    from camagent.cli import run as camagent
    from recipes.classify.measure import RESIZE, SCALE, scores_of

    classes = judged.classes
    store.require_count("model", scores_of(_bytes(model)), judged.place, classes)
    with tempfile.TemporaryDirectory(prefix="classify-") as made:
        folder = Path(made)
        labels = folder / "labels.txt"
        store.save(labels, "".join(f"{label}\n" for label in classes.classes).encode())
        arguments = [
            "bundle", "create", str(model), "--name", name, "--version", version, "--head", "classify", "--labels", str(labels),
            "--scale", f"{SCALE:.8f}", "--resize", RESIZE, "-o", str(output),
        ]  # fmt: skip
        for label, group in classes.groups.items():
            arguments += ["--group", f"{label}={group}"]
        for number, (shown, index) in enumerate(_golden(judged)):
            path = folder / f"{number}.jpg"
            pictures.write(path, shown)
            arguments += ["--golden", f"{path}={classes.classes[index]}"]
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise FileUnusable.of(exc, output.parent) from exc
        return camagent(arguments)


def _golden(judged: Held) -> list[tuple[NDArray[np.uint8], int]]:
    """The first pictures of each class; of what is drawn, those where a person is sure, too."""
    if judged.data is None:
        return [(picture(label, "demo", _BY_EYE.get(label, 0)), index) for index, label in enumerate(judged.classes.classes)]
    chosen: dict[int, list[NDArray[np.uint8]]] = {}
    for shown, index in judged.samples():
        chosen.setdefault(index, []).append(shown)
    return [(shown, index) for index, many in sorted(chosen.items()) for shown in many[:_GOLDEN]]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise InputError(f"{printable(path)} cannot be read: {exc.strerror}", fix="check the path and its rights") from exc
