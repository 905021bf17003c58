"""train and export: the two steps that need torch."""

from __future__ import annotations

import json
import shlex
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from camagent.cli.bar import work_bar
from camagent.errors import FileUnusable, UsageError, printable
from recipes.od_seg.classes import ROADS, Classes
from recipes.od_seg.extras import require
from recipes.od_seg.pack import Pack, pack
from recipes.od_seg.scene import Sample
from recipes.od_seg.seeds import drawn, fitted_scene, seeds_of

if TYPE_CHECKING:
    from recipes.od_seg.train import Epoch, Settings

_SCENES = 4000


@dataclass(frozen=True, slots=True)
class Source:
    """Where the samples come from: a VOC folder, or as many drawn scenes."""

    data: Path | None
    scenes: int
    seed: int

    @property
    def words(self) -> dict[str, Any]:
        """As the record tells it."""
        if self.data is not None:
            return {"data": str(self.data)}
        seeds = seeds_of("train", self.scenes, self.seed)
        return {"scenes": self.scenes, "scene_seeds": [seeds.start, seeds.stop - 1]}


@click.command(epilog="Example: python -m recipes.od_seg train --data work/voc --epochs 60 -o work/od_seg.pt")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="VOC folder that 'voc' wrote.")
@click.option("--scenes", type=click.IntRange(1), help=f"Draw this many instead.  [default: {_SCENES} without --data]")
@click.option("--epochs", type=click.IntRange(1), default=40, show_default=True, help="Rounds over all pictures.")
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Pictures per step.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=2e-3, show_default=True, help="Highest learning rate.")
@click.option("--clip", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True, help="Longest gradient.")
@click.option("--seed", type=click.IntRange(0, 99), default=1, show_default=True, help="Of scenes, weights and order.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where.")
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Processes that augment.")
@click.option("--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Checkpoint to start from.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Checkpoint to write.")
def train(
    data: Path | None, scenes: int | None, epochs: int, batch: int, rate: float, clip: float, seed: int, device: str,
    workers: int, weights: Path | None, output: Path,
) -> None:  # fmt: skip
    """Train on a VOC folder or on drawn scenes; how it went is written beside the checkpoint as .json."""
    if data is not None and scenes is not None:
        raise UsageError("--data and --scenes are two sources", fix="give one of them")
    require("torch")
    from recipes.od_seg.train import Settings

    settings = Settings(epochs, batch, rate, seed, clip, device, workers)
    run_training(Source(data, scenes or _SCENES, seed), settings, weights, output)


def run_training(source: Source, settings: Settings, weights: Path | None, output: Path) -> None:
    """Reads or draws, trains, writes checkpoint and record. Raises what its parts raise."""
    from recipes.od_seg import train as training

    began = time.monotonic()
    epochs: list[Epoch] = []
    with samples(source) as (found, classes), work_bar(stays_clear=False) as bar:
        ready = time.monotonic()
        task = bar.add_task("training", total=settings.epochs)

        def tell(epoch: Epoch) -> None:
            epochs.append(epoch)
            click.echo(_words(epoch, settings.epochs), err=True)

        def step(done: int, of: int) -> None:
            bar.update(task, completed=len(epochs) + done / of)

        network = training.train(found, classes, settings, weights, tell, step)
        count = len(found)
    training.save(output, network, classes)
    record = {
        "command": _command(source, settings, weights), **source.words, "pictures": count, "seed": settings.seed,
        "parameters": training.parameters(network), "minutes_preparing": round((ready - began) / 60, 1),
        "minutes_training": round((time.monotonic() - ready) / 60, 1), **_surroundings(settings.device),
        "loss_per_epoch": [round(epoch.loss, 4) for epoch in epochs],
        "steps_clipped": round(sum(epoch.clipped for epoch in epochs) / len(epochs), 4),
    }  # fmt: skip
    _write(output.with_suffix(".json"), (json.dumps(record, indent=1) + "\n").encode())
    click.echo(f"wrote {printable(output)}: {record['parameters']:,} parameters, {count} pictures, {len(epochs)} epochs")


@contextmanager
def samples(source: Source) -> Iterator[tuple[Pack, Classes]]:
    """Fitted samples on disk for as long as they are needed."""
    with tempfile.TemporaryDirectory(prefix="od_seg-") as folder:
        with work_bar(stays_clear=False) as bar:
            task = bar.add_task("reading" if source.data else "drawing", total=None)
            classes, count, found = _fitted(source)
            bar.update(task, total=count)
            packed = pack(found, count, Path(folder), lambda: bar.advance(task))
        yield packed, classes


def _fitted(source: Source) -> tuple[Classes, int, Iterator[Sample]]:
    """Classes, how many samples, and they themselves, one by one. Raises InputError."""
    if source.data is None:
        seeds = seeds_of("train", source.scenes, source.seed)
        return ROADS, len(seeds), drawn(seeds, fitted_scene)
    from recipes.od_seg import voc
    from recipes.od_seg.targets import fitted

    data, classes, names = source.data, voc.classes_of(source.data), voc.names(source.data, "train")
    return classes, len(names), (fitted(voc.read(data, name, classes)) for name in names)


@click.command(epilog="Example: python -m recipes.od_seg export work/od_seg.pt -o work/od_seg.onnx")
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Model to write.")
def export(checkpoint: Path, output: Path) -> None:
    """Write CHECKPOINT as ONNX, one input and two outputs, and its labels beside it."""
    run_export(checkpoint, output)


def run_export(checkpoint: Path, output: Path) -> None:
    """Raises what its parts raise."""
    require("torch", "onnx")
    from recipes.od_seg.export import to_onnx
    from recipes.od_seg.train import restore

    network, classes = restore(checkpoint)
    data = to_onnx(network)
    _write(output, data)
    _write(output.with_name("labels.txt"), "".join(f"{name}\n" for name in classes.labels).encode())
    click.echo(f"wrote {printable(output)}: {len(data):,} bytes")


def _words(epoch: Epoch, total: int) -> str:
    parts = ", ".join(f"{name} {value:.3f}" for name, value in epoch.parts.items())
    return (f"epoch {epoch.number}/{total}: loss {epoch.loss:.3f} ({parts}), longest gradient {epoch.gradient:.1f}, "
            f"{epoch.clipped:.0%} clipped, {epoch.seconds:.0f} s")  # fmt: skip


def _command(source: Source, settings: Settings, weights: Path | None) -> str:
    parts = ["--data", str(source.data)] if source.data else ["--scenes", str(source.scenes)]
    named = {"epochs": settings.epochs, "batch": settings.batch, "rate": settings.rate, "clip": settings.clip,
             "seed": settings.seed, "device": settings.device, "workers": settings.workers}  # fmt: skip
    parts += [
        word
        for name, value in named.items()
        for word in (f"--{name}", f"{value:g}" if isinstance(value, float) else str(value))
    ]
    parts += ["--weights", weights.name] if weights else []
    return f"python -m recipes.od_seg train {shlex.join(parts)} -o od_seg.pt"


def _surroundings(device: str) -> dict[str, str]:
    import cv2
    import torch

    on = torch.cuda.get_device_name() if device != "cpu" and torch.cuda.is_available() else "CPU"
    return {"device": on, "torch": torch.__version__, "opencv": cv2.__version__}


def _write(path: Path, data: bytes) -> None:
    from firmware_pkg import disk

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.write_atomic(path, data)
    except OSError as exc:
        raise FileUnusable.of(exc, path) from exc
