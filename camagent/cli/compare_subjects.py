"""The models that `model compare` compares: files or bundles, how each is fed, and what reads its outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from camagent import labels as label_lists
from camagent.cli.contract import Contract, bundle_of, input_spec, is_bundle, model_bytes
from camagent.cli.tool_bundle import load_bundle
from camagent.comparing.tally import LOWEST, Look
from camagent.errors import UsageError, printable
from camagent.frame import Detections, Frame, TensorSpec, outcome_parts
from camagent.pipeline import BackendOptions, FilterRule, UsableBundle, Workbench, head_of, prepare, read, task_of
from camagent.rockchip import recipe
from firmware_pkg import build as builder
from firmware_pkg.graph_facts import read_graph
from firmware_pkg.manifest import Artifact, HeadSpec, InputSpec, Manifest, Thresholds
from firmware_pkg.model_file import model_format, require_self_contained

OPEN_S = 900.0  # the simulator calculates weights anew for some algorithms
_EIGHT_BITS = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger"})


@dataclass(frozen=True, slots=True)
class Reader:
    """What turns outputs into objects, where that is told for bare models."""

    head: str | None
    labels: str | None
    min_score: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Contestant:
    """`manifest`: None where nobody said what reads the outputs. Close the bench at the end."""

    name: str
    spec: InputSpec
    manifest: Manifest | None
    bench: Workbench
    eight_bits: bool

    def look(self, frame: Frame) -> Look:
        """What it makes of one picture. Raises BackendError, HeadMismatch, LabelCountMismatch."""
        prepared = prepare(frame, self.spec)
        outputs = self.bench.infer(prepared.tensor)
        if self.manifest is None:
            return Look(outputs)
        head = head_of(self.manifest, outputs, [spec.name for spec in self.bench.outputs])
        reading = read(head, outputs, prepared.letterbox, self.rule())
        return Look(outputs, reading.outcome, reading.candidates)

    def rule(self) -> FilterRule:
        """From far below the threshold on, where there are boxes."""
        assert self.manifest is not None
        thresholds = self.manifest.thresholds
        lowest = thresholds.min_score if self.manifest.task in ("segment", "classify") else min(LOWEST, thresholds.min_score)
        return FilterRule(lowest, thresholds.nms_iou)


def split(text: str) -> tuple[Path, str | None]:
    """PATH[:BACKEND]; a path that exists as written is taken whole. Raises UsageError."""
    if Path(text).is_file():
        return Path(text), None
    path, _, backend = text.rpartition(":")
    if not path or not Path(path).is_file():
        raise UsageError(f"{printable(text)} is not there", fix="name a model or a bundle: M.onnx, M.rknnsim, B.cambundle")
    return Path(path), backend


def contestants(
    texts: Sequence[str], contract: Contract, reader: Reader, roots: tuple[Path, ...], simulator: Callable[[], Path]
) -> list[Contestant]:
    """Opens them all; the first one's contract holds for every bare model. `simulator`: finds or makes its environment.

    Raises UsageError, Refused, BackendError, ToolkitMissing.
    """
    made: list[Contestant] = []
    try:
        manifest, spec = None, None
        for text in texts:
            path, backend = split(text)
            if not made:
                own = bundle_of(path, contract, roots, backend or "onnx")
            else:
                own = load_bundle(path, roots, None, backend=backend or _usual(path)) if is_bundle(path) else None
            data = own.model if own is not None and is_bundle(path) else model_bytes(path)
            chosen = own.artifact.backend if own is not None and is_bundle(path) else _backend(path, data)
            extra = {"rknn_environment": str(simulator())} if chosen == "rknn-sim" else {}
            bench = Workbench(chosen, data, BackendOptions(extra=extra), open_s=OPEN_S)
            try:
                if not made:
                    spec = own.manifest.input if own is not None else input_spec(bench.inputs[0], contract)
                    manifest = _manifest(own, spec, reader)
                assert spec is not None
                mine = manifest if own is None else _manifest(own, own.manifest.input, reader)
                fed = own.manifest.input if own is not None else _fed(spec, bench.inputs[0])
                made.append(Contestant(_name(text, made), fed, mine, bench, _eight_bits(chosen, data)))
            except BaseException:
                bench.close()
                raise
    except BaseException:
        close(made)
        raise
    return made


def close(made: Sequence[Contestant]) -> None:
    """Frees all models."""
    for one in made:
        one.bench.close()


def objects(look: Look) -> Detections | None:
    """The boxes of a look; None where the model gives none."""
    if look.outcome is None:
        return None
    return next((part for part in outcome_parts(look.outcome) if isinstance(part, Detections)), None)


def _usual(path: Path) -> str:
    """A bundle's quantised model where it has one that runs here."""
    from camagent.cli.model_facts import subject

    found = subject(path).bundle
    artifacts: Sequence[Artifact] = found.manifest.artifacts if found is not None else ()
    return "rknn-sim" if any(artifact.backend == "rknn-sim" for artifact in artifacts) else "onnx"


def _backend(path: Path, data: bytes) -> str:
    kind = model_format(data)
    if kind == "rknn":
        raise UsageError(
            f"{printable(path.name)} can only be run by an NPU",
            evidence={"given": "an .rknn file", "run here": "ONNX models, and .rknnsim files in Rockchip's simulator"},
            fix="give the file that 'camagent model convert --simulator OUT.rknnsim' wrote beside it",
        )
    if kind != "rknn-sim":
        require_self_contained(data)
        return "onnx"
    return "rknn-sim"


def _manifest(own: UsableBundle | None, spec: InputSpec, reader: Reader) -> Manifest | None:
    if own is not None:
        manifest = own.manifest
        if reader.min_score is not None:
            thresholds = msgspec.structs.replace(manifest.thresholds, min_score=reader.min_score)
            return msgspec.structs.replace(manifest, thresholds=thresholds)
        return manifest
    if reader.head is None or reader.labels is None:
        return None
    document = {
        "name": "model", "version": "0", "created": builder.now(), "task": task_of(reader.head), "input": spec,
        "head": HeadSpec(name=reader.head), "labels": label_lists.read(reader.labels),
        "thresholds": Thresholds(min_score=0.4 if reader.min_score is None else reader.min_score),
        "artifacts": [Artifact(path="model", backend="onnx")], "files": {"model": 1},
    }  # fmt: skip
    return msgspec.convert(msgspec.to_builtins(document), Manifest)


def _fed(spec: InputSpec, taken: TensorSpec) -> InputSpec:
    """The contract, for a file that has scale, mean and std inside: then it takes bytes."""
    if taken.dtype != "uint8" or spec.dtype == "uint8":
        return spec
    return msgspec.structs.replace(
        spec, dtype="uint8", layout="nhwc" if taken.shape[-1] == 3 else "nchw", scale=1.0, mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )  # fmt: skip


def _eight_bits(backend: str, data: bytes) -> bool:
    if backend == "rknn-sim":
        return recipe.parse(data).quantised
    return not _EIGHT_BITS.isdisjoint(read_graph(data).operators)


def _name(text: str, made: Sequence[Contestant]) -> str:
    """The file's, made different where two are called alike."""
    path, backend = split(text)
    name = path.name + (f":{backend}" if backend else "")
    alike = sum(one.name.partition(" #")[0] == name for one in made)
    return f"{name} #{alike + 1}" if alike else name
