"""ONNX -> `.rknn` and the simulator's file, in the toolkit's process."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.errors import ConversionFailed
from camagent.rockchip.complaints import explained
from camagent.rockchip.recipe import Algorithm, Port, Recipe, Triple, settings
from camagent.rockchip.toolkit import StepFailed, Tell, Toolkit

CONVERT_S = 4 * 3600.0  # `mmse` with many pictures takes its time
ABOUT_S = 180.0
# as rknn-toolkit2 2.5.0 lists them
TARGETS = (
    "rk2118", "rk3562", "rk3566", "rk3568", "rk3576", "rk3588", "rv1103", "rv1103b", "rv1106", "rv1106b", "rv1126b",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What is to be converted.

    `calibration`: tensors (1, 3, h, w) or (1, h, w, 3) float32 as the network's input takes them, before `mean` and `std` where
    those are given. `mean`, `std`: what the made file itself does to 0..255; None where it takes the tensor as it is.
    """

    model: bytes
    input: Port
    outputs: tuple[Port, ...]
    target: str
    algorithm: Algorithm
    calibration: Sequence[NDArray[Any]] = ()
    mean: Triple | None = None
    std: Triple | None = None
    sizes: tuple[int, ...] | None = None  # the network's own input, where the exporter left it open


@dataclass(frozen=True, slots=True, eq=False)
class Converted:
    """What came of it."""

    rknn: bytes
    recipe: Recipe


class Unconverted(ConversionFailed):
    """With all that the converter printed."""

    def __init__(self, failure: ConversionFailed, log: str) -> None:
        super().__init__(failure.what, fix=failure.fix, evidence=failure.evidence)
        self.log = log


def convert(python: Path, job: Job, tell: Tell) -> Converted:
    """Raises Unconverted where the converter does not take the model, BackendError where it cannot be started."""
    quantised = job.algorithm != "none"
    config = settings(job.target, job.algorithm, job.mean, job.std)
    with Toolkit(python) as toolkit:
        try:
            about, _ = toolkit.ask({"do": "about"}, within_s=ABOUT_S, tell=tell)
            calibration = lay_out(toolkit.folder, job.model, job.calibration)
            request = {"do": "convert", "quantised": quantised, "config": config, "sizes": sizes(job.input.name, job.sizes)}
            toolkit.ask(request, within_s=CONVERT_S, tell=tell)
        except StepFailed as exc:
            raise Unconverted(_meaning(exc), exc.log) from exc
        recipe = Recipe(
            toolkit=str(about["toolkit"]), target=job.target, algorithm=job.algorithm, mean=job.mean, std=job.std,
            input=job.input, outputs=job.outputs, open_sides=job.sizes is not None,
            graph=(toolkit.folder / ("model.model" if quantised else "model.onnx")).read_bytes(),
            parts=(toolkit.folder / "parts.json").read_bytes() if quantised else b"",
            calibration=calibration if job.algorithm == "mmse" else (),
        )  # fmt: skip
        return Converted((toolkit.folder / "model.rknn").read_bytes(), recipe)


def lay_out(folder: Path, model: bytes, calibration: Sequence[NDArray[Any]]) -> tuple[bytes, ...]:
    """Writes the model and the calibration data where the worker looks for them: the latter's files, as they lie there."""
    (folder / "model.onnx").write_bytes(model)
    return lay_out_calibration(folder, [_npy(tensor) for tensor in calibration])


def lay_out_calibration(folder: Path, files: Sequence[bytes]) -> tuple[bytes, ...]:
    """Writes calibration files and the list of them, which the toolkit asks for."""
    names = [f"calibration-{index}.npy" for index in range(len(files))]
    for name, data in zip(names, files, strict=True):
        (folder / name).write_bytes(data)
    (folder / "dataset.txt").write_text("".join(f"{name}\n" for name in names), "ascii")
    return tuple(files)


def sizes(name: str, shape: Sequence[int] | None) -> dict[str, Any]:
    """What RKNN.load_onnx is told of an input whose size the exporter left open."""
    return {} if shape is None else {"inputs": [name], "input_size_list": [list(shape)]}


def _npy(tensor: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(tensor, np.float32), allow_pickle=False)
    return file.getvalue()


def _meaning(exc: StepFailed) -> ConversionFailed:
    evidence: dict[str, object] = {"step": exc.step, **exc.evidence}
    meant = explained(exc.log + "\n" + str(exc.evidence.get("raised", "")))
    if meant is None:
        return ConversionFailed(f"Rockchip's converter does not take this model: {exc.what}", evidence=evidence, fix=exc.fix)
    cause, fix = meant
    return ConversionFailed(f"Rockchip's converter does not take this model: {cause}", evidence=evidence, fix=fix)
