"""What `model convert` converts: a float ONNX model, how its pictures are prepared, and the tensors to calibrate with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import click
import numpy as np
from numpy.typing import NDArray

from camagent.cli.contract import Contract, bundle_of, input_spec, is_bundle, model_bytes
from camagent.cli.model_facts import shown
from camagent.cli.telling import warn
from camagent.errors import ConversionFailed, InputError, UsageError, printable
from camagent.pipeline import BackendOptions, TensorSpec, Workbench, is_auxiliary, named_frames, prepare
from camagent.rockchip.convert import Job
from camagent.rockchip.recipe import Algorithm, Port, Triple
from firmware_pkg.graph_facts import read_graph
from firmware_pkg.manifest import InputSpec
from firmware_pkg.model_file import model_format, require_self_contained

Door: TypeAlias = Literal["tensor", "pixels"]
FEW = 20  # calibration pictures, below which Rockchip's own guide expects losses


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """`spec`: what the network takes. `name` and `shape`: its input in the graph, open sides filled in."""

    data: bytes
    spec: InputSpec
    name: str
    shape: tuple[int, ...]
    was_open: bool


def subject(path: Path, contract: Contract, roots: tuple[Path, ...]) -> Subject:
    """The model of a file or bundle. Raises UsageError, Refused, ConversionFailed for inputs that no NPU takes."""
    bundle = bundle_of(path, contract, roots)
    data = bundle.model if bundle is not None and is_bundle(path) else model_bytes(path)
    if model_format(data) == "rknn":
        raise UsageError(f"{printable(path.name)} is converted already", fix="give the .onnx file that it was made from")
    require_self_contained(data)
    graph = read_graph(data)
    specs = [TensorSpec(one.name, one.shape, one.dtype) for one in graph.inputs]
    one = _only(specs)
    spec = bundle.manifest.input if bundle is not None else input_spec(one, contract)
    shape = _fixed(one, spec)
    if bundle is not None and (spec.dtype != "float32" or one.dtype != "float32"):
        raise _bytes_inside(one)
    return Subject(data, spec, one.name, shape, None in one.shape)


def calibration(folder: Path, spec: InputSpec, door: Door, limit: int, advance: Any) -> list[NDArray[Any]]:
    """The pictures of a folder (every one, or `limit` of them, evenly) as the network takes them. Raises InputError."""
    raw = _as_pixels(spec) if door == "pixels" else spec
    frames = named_frames(str(folder), damaged=tell_damaged)
    tensors = []
    for name, frame in frames:
        if not name:
            raise UsageError(
                "calibration wants pictures", evidence={"given": folder}, fix="name a folder of JPEG or PNG pictures"
            )
        tensors.append(prepare(frame, raw).tensor.astype(np.float32, copy=False))
        advance(name)
    if not tensors:
        raise InputError(f"{printable(folder)} has no pictures", fix="name a folder of JPEG or PNG pictures, some 20 to 100")
    if len(tensors) > limit:
        click.echo(f"note: {limit} of {len(tensors)} pictures, evenly spread; --pictures N takes more", err=True)
        tensors = [tensors[index * len(tensors) // limit] for index in range(limit)]
    if len(tensors) < FEW:
        warn("FEW_PICTURES", f"{len(tensors)} pictures calibrate poorly; some {FEW} to 100 of the camera's own scenes do")
    return tensors


def tell_damaged(error: InputError) -> None:
    """A picture of a folder that cannot be read."""
    click.echo(f"note: {printable(error.what, 1000)}; it is passed over", err=True)


def job(found: Subject, target: str, algorithm: Algorithm, tensors: Sequence[NDArray[Any]], door: Door) -> Job:
    """All that the converter needs. Runs the float model once, for its outputs' shapes. Raises BackendError."""
    spec = found.spec
    mean: Triple | None = None
    std: Triple | None = None
    made = Port(name=found.name, shape=found.shape)
    if door == "pixels":
        made = Port(name=found.name, shape=(1, spec.height, spec.width, 3), dtype="uint8")
        # (x * scale - mean) / std = (x - mean / scale) / (std / scale), and the converter's formula is (x - mean) / std
        mean, std = (_unscaled(values, spec.scale) for values in (spec.mean, spec.std))
    return Job(
        found.data, made, _outputs(found), target, algorithm, tensors, mean, std, found.shape if found.was_open else None
    )  # fmt: skip


def _unscaled(values: Triple, scale: float) -> Triple:
    first, second, third = (value / scale for value in values)
    return first, second, third


def _as_pixels(spec: InputSpec) -> InputSpec:
    """0..255, planes, in the network's own colour order."""
    return InputSpec(
        width=spec.width, height=spec.height, layout="nchw", dtype="uint8", color=spec.color, resize=spec.resize,
        pad_value=spec.pad_value, placement=spec.placement,
    )  # fmt: skip


def _outputs(found: Subject) -> tuple[Port, ...]:
    bench = Workbench("onnx", found.data, BackendOptions())
    try:
        outputs = bench.infer(np.zeros(found.shape, np.float32))
        names = [spec.name for spec in bench.outputs]
    finally:
        bench.close()
    return tuple(Port(name=name, shape=output.shape) for name, output in zip(names, outputs, strict=True))


def _only(specs: Sequence[TensorSpec]) -> TensorSpec:
    pictures = [spec for spec in specs if len(specs) == 1 or not is_auxiliary(spec)]
    if len(specs) != 1 or len(pictures) != 1:
        raise ConversionFailed(
            "Rockchip's converter would make a model that wants more than a picture",
            evidence={"inputs": ", ".join(f"{spec.name} {shown(spec.shape)} {spec.dtype}" for spec in specs) or "none"},
            fix="make the other inputs constants of the graph, or cut the graph before what needs them, and convert that",
        )
    if pictures[0].dtype != "float32":
        raise _bytes_inside(pictures[0])
    return pictures[0]


def _bytes_inside(spec: TensorSpec) -> ConversionFailed:
    return ConversionFailed(
        f"the network's input is {spec.dtype}, and Rockchip's converter ends without a word at that",
        evidence={"input": f"{spec.name} {shown(spec.shape)} {spec.dtype}", "needed": "float32"},
        fix="export it with a float32 input; --input pixels makes a file that takes bytes all the same",
    )


def _fixed(one: TensorSpec, spec: InputSpec) -> tuple[int, ...]:
    """The input's shape with the manifest's sides. Raises UsageError where the two differ."""
    wanted = (1, 3, spec.height, spec.width) if spec.layout == "nchw" else (1, spec.height, spec.width, 3)
    fits = len(one.shape) == len(wanted) and all(have in (None, want) for have, want in zip(one.shape, wanted, strict=True))
    if not fits:
        raise UsageError(
            "the model's input is not what is to be prepared",
            evidence={"model": f"{one.name} {shown(one.shape)}", "prepared": f"{shown(wanted)} ({spec.layout})"},
            fix="give --size WxH as the model has it, or the bundle that was made of this model",
        )
    return wanted
