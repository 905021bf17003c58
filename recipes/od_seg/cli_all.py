"""all: from an empty folder to a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from camagent.errors import Refusal, printable
from recipes.od_seg.cli_data import run_generate, run_lint, run_voc
from recipes.od_seg.cli_model import Held, run_bundle, run_quantize
from recipes.od_seg.cli_train import Source, run_export, run_training
from recipes.od_seg.extras import require
from recipes.od_seg.quantize import DEFAULT
from recipes.od_seg.scene import SIZE


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    train: int
    val: int
    epochs: int
    batch: int
    calibration: int


FULL = Scale(train=4000, val=200, epochs=40, batch=32, calibration=64)
SMOKE = Scale(train=120, val=12, epochs=4, batch=8, calibration=8)


class DatasetSpoiled(Refusal):
    """The data set has faults: training on it would hide them."""

    code = "DATASET_SPOILED"


@click.command(epilog="Example: python -m recipes.od_seg all --smoke -o work/")
@click.option("--smoke", is_flag=True, help="Little of everything: minutes on a CPU, and a model that has only begun to learn.")
@click.option("--seed", type=click.IntRange(0, 99), default=1, show_default=True, help="Of scenes, weights and order.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to train.")
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Processes that augment.")
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write; new or empty."
)
def everything(smoke: bool, seed: int, device: str, workers: int, output: Path) -> int:
    """Generate, lint, voc, train, export, evaluate, quantize, bundle, one after the other.

    Exit code 1 where the bundle's golden pictures disagree: after --smoke they do.
    """
    require("torch", "onnx", "pycocotools")
    return run_all(SMOKE if smoke else FULL, seed, device, workers, output)


def run_all(scale: Scale, seed: int, device: str, workers: int, output: Path) -> int:
    """The bundle's exit code. Raises what the steps raise, DatasetSpoiled where lint finds something."""
    from recipes.od_seg.train import Settings

    data, pascal, checkpoint = output / "data", output / "voc", output / "od_seg.pt"
    model, small = output / "od_seg.onnx", output / "od_seg-int8.onnx"
    run_generate({"train": scale.train, "val": scale.val}, seed, SIZE, data)
    if run_lint(data):
        raise DatasetSpoiled(f"{printable(data)} has faults", fix="mend what 'lint' named, then go on with 'voc'")
    run_voc(data, pascal)
    run_training(
        Source(pascal, 0, seed),
        Settings(scale.epochs, scale.batch, seed=seed, device=device, workers=workers),
        None,
        checkpoint,
    )
    run_export(checkpoint, model)
    held = Held(pascal, 0, seed)
    run_quantize(model, held, scale.calibration, DEFAULT, small)
    return run_bundle(model, "1.0.0", output / "od-seg-roads-1.0.0.cambundle")
