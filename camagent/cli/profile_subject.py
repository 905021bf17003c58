"""What `model profile` measures: a model's bytes, from a file or a bundle, and what it is fed with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from camagent.cli.golden_request import input_of, read_file
from camagent.cli.model_facts import shown
from camagent.cli.telling import warn
from camagent.cli.tool_bundle import load_bundle
from camagent.config import Config
from camagent.errors import UsageError, printable
from camagent.pipeline import BackendOptions, TensorSpec, UsableBundle, one_picture, picture_frame, prepare
from camagent.profiling.measure import GUESSED_SIDE, Feeds, is_open, made_up
from firmware_pkg.errors import ArtifactTarget
from firmware_pkg.graph_facts import GraphFacts, read_graph
from firmware_pkg.graph_scopes import scopes
from firmware_pkg.manifest import InputSpec
from firmware_pkg.model_file import model_format, require_self_contained

Size = tuple[int, int]
_ON_THE_BOARD = (
    "on the board: rknn.init_runtime(target=.., perf_debug=True), rknn.eval_perf(); keep what it prints, and give that file to "
    "camagent model profile --read FILE. Or profile the .onnx file that it was converted from"
)


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """A model that may be run, how, and on what. `facts` and `blocks`: see profiling.report and profiling.summary."""

    data: bytes
    options: BackendOptions
    feeds: Feeds
    operators: int
    facts: Mapping[str, str]
    blocks: Mapping[str, tuple[str, ...]]


def chosen(
    path: Path, image: Path | None, size: Size | None, roots: tuple[Path, ...], config: Config | None, threads: int | None
) -> Chosen:
    """The ONNX model of a file or bundle.

    Raises:
        UsageError: an .rknn file, a picture that the input does not take, --trust for a bare model.
        Refused: a damaged or refused bundle, a damaged model, or one that reaches for other files.
    """
    onnx = (config or Config()).onnx
    options = BackendOptions(threads or onnx.intra_op_threads, onnx.providers)
    with path.open("rb") as file:
        is_bundle = file.read(512)[257:262] == b"ustar"
    bundle = _bundle(path, roots, config) if is_bundle else None
    data = bundle.model if bundle else _bare(path, roots, config)
    graph = read_graph(data)
    specs = [TensorSpec(one.name, one.shape, one.dtype) for one in graph.inputs]
    tensor, fed = _picture(bundle, specs, image, size)
    facts = {"model": _about(graph, data, bundle), "input": _input(specs, fed, size)}
    return Chosen(data, options, made_up(specs, size, tensor), sum(graph.operators.values()), facts, scopes(data))


def _bundle(path: Path, roots: tuple[Path, ...], config: Config | None) -> UsableBundle:
    try:
        return load_bundle(path, roots, config, golden=True, backend="onnx")
    except ArtifactTarget as exc:
        raise UsageError(
            "the bundle has no ONNX model for this machine, and others can only be measured on their own board",
            evidence=exc.evidence, fix=_ON_THE_BOARD,
        ) from exc  # fmt: skip


def _bare(path: Path, roots: tuple[Path, ...], config: Config | None) -> bytes:
    data = read_file(path, "model")
    if model_format(data) == "rknn":
        raise UsageError(
            "an .rknn file can only be measured on its own board",
            evidence={"model": printable(path.name), "measured here": "ONNX models"},
            fix=_ON_THE_BOARD,
        )
    if roots:
        raise UsageError("a bare model has no signature to verify", fix="give the bundle, or leave --trust out")
    if config is not None:
        warn("UNSIGNED", f"{printable(path)} is a bare model; only bundles can be verified")
    require_self_contained(data)
    return data


def _picture(
    bundle: UsableBundle | None, specs: list[TensorSpec], image: Path | None, size: Size | None
) -> tuple[NDArray[Any] | None, str]:
    """The first input's tensor, and what it is in words; None for noise."""
    if bundle is not None:
        return _of_bundle(bundle, image)
    if image is None:
        return None, "noise"
    if not specs:
        raise UsageError("the model has no input for a picture", fix="leave --image out")
    document = input_of(specs[0], size)
    scale = 1 / 255 if document["dtype"] == "float32" else 1.0
    try:
        spec = msgspec.convert({**document, "scale": scale}, InputSpec)
    except msgspec.ValidationError as exc:
        raise UsageError(
            f"pictures cannot be shown to this model: {exc}",
            evidence={"input": f"{printable(specs[0].name)} {shown(specs[0].shape)} {specs[0].dtype}"},
            fix="leave --image out: it is then measured on noise",
        ) from exc
    return prepare(one_picture(image), spec).tensor, f"{printable(image.name)}, letterboxed"


def _of_bundle(bundle: UsableBundle, image: Path | None) -> tuple[NDArray[Any] | None, str]:
    """As the manifest prepares pictures: the one given, else the first golden one."""
    spec = bundle.manifest.input
    if image is not None:
        return prepare(one_picture(image), spec).tensor, f"{printable(image.name)}, as the manifest says"
    for golden in bundle.manifest.golden:
        frame = picture_frame(bundle.golden[golden.image], golden.image)
        return prepare(frame, spec).tensor, f"golden {printable(golden.image)}"
    return None, "noise"


def _about(graph: GraphFacts, data: bytes, bundle: UsableBundle | None) -> str:
    made = f", made by {printable(graph.producer, 64)}" if graph.producer else ""
    model = f"ONNX, opset {graph.opset}{made}, {sum(graph.operators.values())} operators in the file, {len(data) / 1e6:.1f} MB"
    if bundle is None:
        return model
    return f"{bundle.manifest.name} {bundle.manifest.version} ({bundle.signature}): {model}"


def _input(specs: list[TensorSpec], fed: str, size: Size | None) -> str:
    if not specs:
        return "none"
    first = specs[0]
    said = f"{printable(first.name, 64)} {shown(first.shape)} {first.dtype}, {fed}"
    if is_open(first):
        said += f", measured at {'x'.join(map(str, size or (GUESSED_SIDE, GUESSED_SIDE)))}" + ("" if size else " (--size WxH)")
    return said + (f"; {len(specs) - 1} more, made up" if len(specs) > 1 else "")
