"""evaluate, quantize and bundle: what is done with an ONNX model; none of it needs torch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from camagent.cli import EXIT_DONE
from camagent.cli.bar import work_bar
from camagent.errors import FileUnusable, InputError, UsageError, printable
from recipes.od_seg import voc
from recipes.od_seg.classes import LABELS, ROADS, Classes
from recipes.od_seg.extras import require
from recipes.od_seg.measure import Model, Quality, measure
from recipes.od_seg.quantize import CALIBRATIONS, DEFAULT, Trial, as_tensor, compared
from recipes.od_seg.scene import SIZE, Sample, scene
from recipes.od_seg.seeds import drawn, fitted_scene, seeds_of
from recipes.od_seg.targets import fitted

_SCENES = 200
_model = click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_data = click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="VOC folder instead of scenes."
)
_seed = click.option("--seed", type=click.IntRange(0, 99), default=0, show_default=True, help="Of the held-out scenes.")


@dataclass(frozen=True, slots=True)
class Held:
    """What a model is judged on: a split of a VOC folder, or scenes from seeds that no training uses."""

    data: Path | None
    scenes: int
    seed: int

    def classes(self) -> Classes:
        """Raises InputError."""
        return voc.classes_of(self.data) if self.data else ROADS

    def count(self) -> int:
        """How many pictures. Raises InputError."""
        return len(voc.names(self.data, "val")) if self.data else self.scenes

    def samples(self) -> Iterator[Sample]:
        """One by one. Raises InputError."""
        return voc.samples(self.data, "val") if self.data else drawn(seeds_of("test", self.scenes, self.seed), _scene)


def _scene(seed: int) -> Sample:
    return scene(seed, SIZE)


@click.command(epilog="Example: python -m recipes.od_seg evaluate recipes/od_seg/od_seg.onnx --scenes 500")
@_model
@_data
@click.option("--scenes", type=click.IntRange(1), default=_SCENES, show_default=True, help="Held-out scenes to draw.")
@_seed
@click.option("--json", "as_json", is_flag=True, help="Print JSON (camagent.quality/1).")
def evaluate(model: Path, data: Path | None, scenes: int, seed: int, as_json: bool) -> int:
    """Measure MODEL (ONNX) through the agent's own steps: average precision at IoU 0.5 by class, IoU by area.

    The pictures are the `val` split of a VOC folder, or scenes from seeds that no training uses.
    """
    require("pycocotools")
    held = Held(data, scenes, seed)
    quality = judged({"": _bytes(model)}, held, stays_clear=as_json)[""]
    if as_json:
        click.echo(json.dumps({"schema": "camagent.quality/1", "model": printable(model, 1000)} | quality.document()))
    else:
        show([(model.name, len(_bytes(model)), quality)])
    return EXIT_DONE


def judged(models: Mapping[str, bytes], held: Held, *, stays_clear: bool = False) -> dict[str, Quality]:
    """Every model's quality, with a bar. Raises what its parts raise."""
    with work_bar(stays_clear=stays_clear) as bar:
        task = bar.add_task("measuring", total=held.count())
        return measure(models, held.classes(), held.samples(), lambda: bar.advance(task))


@click.command(epilog="Example: python -m recipes.od_seg quantize work/od_seg.onnx -o work/od_seg-int8.onnx")
@_model
@_data
@click.option(
    "--pictures", type=click.IntRange(1), default=64, show_default=True, help="Calibration pictures, of training's split."
)
@click.option("--scenes", type=click.IntRange(1), default=_SCENES, show_default=True, help="Held-out scenes to compare on.")
@_seed
@click.option(
    "--calibration", "calibrations", multiple=True, type=click.Choice(list(CALIBRATIONS)), default=DEFAULT, show_default=True,
    help="Which to compare; repeat.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Model to write.")
def quantize(
    model: Path, data: Path | None, pictures: int, scenes: int, seed: int, calibrations: tuple[str, ...], output: Path
) -> None:
    """Make an int8 model of MODEL: every calibration is measured beside the float model, and the best one written.

    The comparison is written beside it as .json.
    """
    require("onnx", "pycocotools")
    run_quantize(model, Held(data, scenes, seed), pictures, calibrations, output)


def run_quantize(model: Path, held: Held, count: int, calibrations: Sequence[str], output: Path) -> None:
    """Raises what its parts raise."""
    data = _bytes(model)
    tensors = [as_tensor(sample.picture) for sample in _calibration(held, count)]
    with _quiet():
        plain, trials = compared(data, tensors, calibrations, lambda made: judged(made, held),
                                 lambda name: click.echo(f"quantising: {name}", err=True))  # fmt: skip
    best = trials[0]
    report = {
        "schema": "camagent.quantization/1", "model": model.name, "calibration_pictures": len(tensors),
        "chosen": best.calibration,
        "float": {"bytes": len(data)} | plain.document(),
        "int8": {one.calibration: {"bytes": len(one.model)} | one.quality.document() for one in trials},
    }  # fmt: skip
    _write(output, best.model)
    _write(output.with_suffix(".json"), (json.dumps(report, indent=1) + "\n").encode())
    show(
        [
            (f"{model.name} (float)", len(data), plain),
            *((f"int8, {one.calibration}", len(one.model), one.quality) for one in trials),
        ]
    )
    click.echo(f"wrote {printable(output)}: {best.calibration}, {_against(plain, best)}")


@click.command(
    epilog="Example: python -m recipes.od_seg bundle recipes/od_seg/od_seg.onnx -o work/od-seg-roads-1.0.0.cambundle"
)
@_model
@click.option("--version", default="1.0.0", show_default=True, help="PEP 440 version.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The bundle to write.")
def bundle(model: Path, version: str, output: Path) -> int:
    """Build a bundle of MODEL with two golden pictures from held-out seeds; 'camagent bundle sign' signs it.

    Exit code 1 where the model does not see on them what is on them. For classes of your own: camagent bundle create.
    """
    return run_bundle(model, version, output)


def run_bundle(model: Path, version: str, output: Path) -> int:
    """The exit code of `camagent bundle create`. Raises FileUnusable."""
    from recipes.od_seg.golden import create, write_pictures

    with tempfile.TemporaryDirectory(prefix="od_seg-") as folder:
        labels = Path(folder) / LABELS
        _write(labels, "".join(f"{name}\n" for name in ROADS.labels).encode())
        output.parent.mkdir(parents=True, exist_ok=True)
        return create(model, labels, write_pictures(Path(folder)), version, output)


@click.command(epilog="Example: python -m recipes.od_seg sheet recipes/od_seg/od_seg.onnx -o sheet.jpg")
@_model
@_data
@click.option("--scenes", type=click.IntRange(1, 60), default=6, show_default=True, help="Held-out scenes to draw.")
@_seed
@click.option("--width", type=click.IntRange(64, 1920), default=480, show_default=True, help="Of each picture, pixels.")
@click.option("--min-score", type=click.FloatRange(0, 1), default=0.4, show_default=True, help="Of what is drawn.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="JPEG or PNG to write.")
def sheet(model: Path, data: Path | None, scenes: int, seed: int, width: int, min_score: float, output: Path) -> None:
    """Draw pictures side by side: what MODEL sees, and white corners around what is there."""
    from recipes.od_seg import pictures
    from recipes.od_seg.sheet import sheet as drawing

    if not pictures.is_picture(output):
        raise UsageError(f"{printable(output.name)} is no picture's name", fix="give -o sheet.jpg or sheet.png")
    held = Held(data, scenes, seed)
    opened = Model(_bytes(model), held.classes(), min_score=min_score)
    try:
        pictures.write(output, drawing(opened, held.classes(), list(islice(held.samples(), scenes)), width))
    finally:
        opened.close()
    click.echo(f"wrote {printable(output)}")


def show(rows: Sequence[tuple[str, int, Quality]]) -> None:
    """One line per model."""
    first = rows[0][2]
    table = Table("model", "bytes", "mAP50", "mIoU", *(Column(Text(printable(name, 40))) for name in (*first.ap50, *first.iou)))
    for name, size, quality in rows:
        parts = [quality.map50, quality.miou, *quality.ap50.values(), *quality.iou.values()]
        table.add_row(Text(printable(name, 60)), f"{size:,}", *(f"{value:.3f}" for value in parts))
    Console(width=None if Console().is_terminal else 200, highlight=False).print(table)
    click.echo(f"{first.pictures} pictures, {first.objects} objects")


def _calibration(held: Held, count: int) -> list[Sample]:
    if held.data is None:
        return list(drawn(seeds_of("val", count), fitted_scene))
    names = voc.names(held.data, "train")[:count]
    return [fitted(voc.read(held.data, name, held.classes())) for name in names]


def _against(plain: Quality, best: Trial) -> str:
    points = ((best.quality.map50 - plain.map50) * 100, (best.quality.miou - plain.miou) * 100)
    return f"{points[0]:+.2f} points of mAP50 and {points[1]:+.2f} of mIoU against the float model"


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's tools warn through the root logger of what this recipe has done already."""
    import logging

    before = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(before)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise InputError(f"{printable(path)} cannot be read: {exc.strerror}", fix="check the path and its rights") from exc


def _write(path: Path, data: bytes) -> None:
    from firmware_pkg import disk

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.write_atomic(path, data)
    except OSError as exc:
        raise FileUnusable.of(exc, path) from exc


__all__ = ["Held", "bundle", "evaluate", "judged", "quantize", "run_bundle", "run_quantize", "sheet", "show"]
