"""A model file or a bundle's model as one value: what `model inspect` shows, and what of it deserves a warning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from camagent.cli.golden_request import picture_size, read_file
from camagent.errors import BackendError, InputError, UsageError
from camagent.pipeline import BackendOptions, HeadFit, TensorSpec, UsableBundle, Workbench, fits, is_auxiliary, task_of
from firmware_pkg import verify as verifier
from firmware_pkg.errors import ManifestInvalid
from firmware_pkg.graph_facts import GraphFacts, Tensor, read_graph
from firmware_pkg.manifest import Artifact, Manifest
from firmware_pkg.model_file import model_format, require_self_contained
from firmware_pkg.rknn_file import read_rknn
from firmware_pkg.verify import Policy

GUESSED_SIDE = 640  # pixels, where the model leaves its size open and nobody says it
OLDEST_OPSET = 7  # ONNX Runtime promises nothing for older ones
NEWEST_OPSET = 19  # what Rockchip's converter takes (airockchip/rknn-toolkit2 #157, #539; up to 1.5.2 it was 12)
REDUCES = 1 / 20  # a graph that multiplies with less than this brings 0..255 down itself
_EIGHT_BITS = frozenset({"int8", "uint8"})
_DETECTS = ("detect", "detect-segment")


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What is looked at: a model's bytes, and the bundle that it came in."""

    data: bytes
    bundle: UsableBundle | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ModelFacts:
    """`size`: width and height of the network input in pixels; `guessed` where the model does not say them."""

    format: Literal["onnx", "rknn"]
    targets: tuple[str, ...]
    toolkit: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    graph: GraphFacts | None
    size: tuple[int, int]
    guessed: bool
    heads: tuple[HeadFit, ...]


def subject(path: Path) -> Subject:
    """A model file, or the ONNX model of a bundle, else its first. Raises InputError, or Refused for a damaged bundle."""
    data = read_file(path, "model")
    if model_format(data) == "rknn-sim":
        raise UsageError(
            f"{path.name} is for Rockchip's simulator alone", evidence={"format": "rknn-sim", "read": "onnx, rknn"},
            fix="inspect the .onnx file that it was made of; 'camagent model compare' runs this one",
        )  # fmt: skip
    if model_format(data) != "unknown":
        return Subject(data)
    chosen: list[Artifact] = []

    def wanted(manifest: Manifest) -> list[str]:
        chosen[:] = sorted(manifest.artifacts, key=lambda artifact: artifact.backend != "onnx")[:1]
        golden = [name for item in manifest.golden for name in (item.image, item.reference) if name]
        return [chosen[0].path, *golden]

    if data[257:262] != b"ustar":
        raise ManifestInvalid(
            f"{path.name} is neither a model nor a bundle",
            evidence={"begins with": data[:8].hex(" ") or "nothing", "expected": "an .onnx, .rknn or .cambundle file"},
            fix="check the path, and copy the file again",
        )
    try:
        with path.open("rb") as source:
            loaded = verifier.load(source, Policy(trusted=None, unsigned="allowed"), wanted, whole=True)
    except OSError as exc:
        raise InputError(f"the bundle {path} cannot be read: {exc.strerror}", fix="check the path") from exc
    files = dict(loaded.files)
    model = files.pop(chosen[0].path)
    return Subject(model, UsableBundle(loaded.verified.manifest, chosen[0], model, "unsigned", golden=files))


def facts_of(found: Subject, size: tuple[int, int] | None, labels: int | None) -> ModelFacts:
    """Everything that needs no picture. Raises ManifestInvalid for a damaged model or one that reaches for other files."""
    if model_format(found.data) == "rknn":
        said = read_rknn(found.data)
        network, guessed = _size(said.inputs, size)
        # the runtime hands out floats, whatever the NPU calculates with
        specs = [TensorSpec(one.name, one.shape, "float32") for one in said.outputs]
        heads = fits(specs, *network, labels)
        return ModelFacts("rknn", said.targets, said.toolkit, said.inputs, said.outputs, None, network, guessed, heads)
    require_self_contained(found.data)
    graph = read_graph(found.data)
    network, guessed = _size(graph.inputs, size)
    heads = fits(_outputs(found.data, graph, network), *network, labels)
    return ModelFacts("onnx", (), graph.producer, graph.inputs, graph.outputs, graph, network, guessed, heads)


def doubts(facts: ModelFacts) -> tuple[str, ...]:
    """Sentences about what most often goes wrong with such a model, the likeliest first."""
    found = [*_of_beginning(facts.graph)] if facts.graph else []
    reading = [fit.name for fit in facts.heads if fit.fits and task_of(fit.name) in _DETECTS]
    if len(facts.outputs) == 1 and reading and _is_eight_bits(facts):
        found.append(
            f"output {facts.outputs[0].name} has boxes and scores in one 8-bit tensor: the scale that boxes need rounds scores "
            "to 0; export them as separate outputs"
        )
    found += [
        f"input {tensor.name} {shown(tensor.shape)} leaves its size open: NPU converters want it fixed"
        for tensor in facts.inputs
        if None in tensor.shape[1:]
    ]
    if facts.guessed:
        found.append(f"the input's size is not known: heads are judged for {facts.size[0]}x{facts.size[1]}; give --size WxH")
    if len(others := pictures(facts.inputs)) > 1:
        found.append(f"the model has {len(others)} inputs that nothing is known of: the agent gives one picture")
    if facts.graph is not None:
        found += _of_graph(facts.graph)
    return tuple(found)


def pictures(inputs: Sequence[Tensor]) -> list[Tensor]:
    """Inputs without those that only ask for the picture's size, which the agent feeds by itself."""
    return [one for one in inputs if len(inputs) == 1 or not is_auxiliary(_declared(one))]


def shown(shape: Sequence[int | None]) -> str:
    """A shape as `1x3x?x?`."""
    return "x".join("?" if side is None else str(side) for side in shape) or "scalar"


def _of_beginning(graph: GraphFacts) -> list[str]:
    steps = ", ".join(map(str, graph.normalisation))
    if not steps:
        return []
    if graph.gain <= REDUCES:
        return [f"the graph begins with {steps}: it brings 0..255 down by itself, so leave scale, mean and std out"]
    return [f"the graph begins with {steps}: it normalises by itself, and the manifest must not do that part again"]


def _of_graph(graph: GraphFacts) -> list[str]:
    found = []
    if graph.suppression:
        found.append(f"{graph.suppression} is in the graph: what is below its own thresholds never comes out")
    if graph.opset < OLDEST_OPSET:
        found.append(f"opset {graph.opset} is older than ONNX Runtime promises to run ({OLDEST_OPSET}): export it again")
    if graph.opset > NEWEST_OPSET:
        found.append(
            f"opset {graph.opset} is newer than Rockchip's converter takes ({NEWEST_OPSET}): an NPU needs an older one"
        )
    found += [
        f"input {tensor.name} is {tensor.dtype}: the agent gives float32 or uint8"
        for tensor in pictures(graph.inputs)
        if tensor.dtype not in ("float32", "uint8")
    ]
    return found


def _is_eight_bits(facts: ModelFacts) -> bool:
    output = facts.outputs[0]
    ending = facts.graph.endings.get(output.name, ()) if facts.graph else ()
    return output.dtype in _EIGHT_BITS or "DequantizeLinear" in ending or "QuantizeLinear" in ending


def _size(inputs: Sequence[Tensor], size: tuple[int, int] | None) -> tuple[tuple[int, int], bool]:
    known = size or picture_size(inputs)
    return (known, False) if known else ((GUESSED_SIDE, GUESSED_SIDE), True)


def _outputs(model: bytes, graph: GraphFacts, size: tuple[int, int]) -> list[TensorSpec]:
    """The declared outputs; where their shapes are open, those of one run, if the model lets itself be run like that."""
    declared = [_declared(one) for one in graph.outputs]
    inputs = pictures(graph.inputs)
    if all(one.shape and None not in one.shape for one in graph.outputs) or len(inputs) != 1:
        return declared
    try:
        bench = Workbench("onnx", model, BackendOptions())
    except BackendError:  # the declared shapes have to do
        return declared
    try:
        outputs = bench.infer(_zeros(inputs[0], size))
    except BackendError:
        return declared
    finally:
        bench.close()
    return [TensorSpec(one.name, array.shape, str(array.dtype)) for one, array in zip(declared, outputs, strict=False)]


def _declared(tensor: Tensor) -> TensorSpec:
    return TensorSpec(tensor.name, tensor.shape, tensor.dtype)


def _zeros(tensor: Tensor, size: tuple[int, int]) -> Any:
    by_pixel = len(tensor.shape) == 4 and tensor.shape[3] == 3
    usual = (1, size[1], size[0], 3) if by_pixel else (1, 3, size[1], size[0])
    shape = [side if side is not None else usual[index] if index < 4 else 1 for index, side in enumerate(tensor.shape)]
    return np.zeros(shape, "float32" if tensor.dtype == "unknown" else tensor.dtype)
