"""A frame's way through one model, the same for `run`, `infer`, `bundle create`, self-test and the benchmarks.

Frame -> preprocess -> backend -> head -> filters -> Result
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent import filters
from camagent.backends import Backend, BackendOptions, Cautious
from camagent.backends.shared import hold_backend
from camagent.clock import Clock, SystemClock
from camagent.errors import ModelMismatch
from camagent.filters import FilterRule
from camagent.frame import (
    Candidates,
    Classes,
    ClassMap,
    Detections,
    Frame,
    InstanceMask,
    Latency,
    Letterbox,
    Prepared,
    Result,
    Scene,
    Sifted,
    StageCounts,
    TensorSpec,
)
from camagent.heads import Decoded, HeadContext, SemanticMap, Sighting, build_head, task_of
from camagent.heads.base import describe
from camagent.heads.instances import cut
from camagent.heads.masks import encode_class, encode_window
from camagent.heads.nms import nms
from camagent.messages import RleEncoders, RunLengths
from camagent.models import UsableBundle
from camagent.preprocess import Preprocessor
from camagent.waiting_line import ALONE, Pass
from firmware_pkg.manifest import InputSpec, Manifest

INVALID_EVERY_S = 1.0  # how often outputs are searched for NaN: of a large output on a small core that takes a millisecond


class Steps:
    """One loaded model with one camera's filter. Belongs to one thread; `close` frees the model."""

    def __init__(self, bundle: UsableBundle, rule: FilterRule, options: BackendOptions, clock: Clock | None = None) -> None:
        """Opens the model and holds it against its manifest.

        Raises BackendError, ModelMismatch, HeadMismatch or LabelCountMismatch.
        """
        self.manifest = bundle.manifest
        self.rule = rule
        self.backend_name = bundle.artifact.backend
        self.signature = bundle.signature
        self._clock = clock or SystemClock()
        # asked first: it is cheaper than loading a model that nothing can decode
        self._detects = task_of(self.manifest.head.name).startswith("detect")
        self.backend: Backend = hold_backend(bundle.artifact.backend, bundle.model, options)
        try:
            require_input(self.manifest.input, self.backend.inputs)
            self._head = build_head(self.manifest.head.name, _context(self.manifest, self.backend.outputs))
        except BaseException:
            self.backend.close()
            raise
        self._preprocessor = Preprocessor(self.manifest.input)
        self._search_at = float("-inf")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the backend says of versions that may not go together: a sentence each."""
        return tuple(self.backend.warnings) if isinstance(self.backend, Cautious) else ()

    def run(
        self, frame: Frame, look: Callable[[Prepared], None] = lambda _: None, *, rule: FilterRule | None = None,
        turn: Pass = ALONE,
    ) -> Result:  # fmt: skip
        """The whole way of one frame; `look` is shown what the model gets, `rule` stands in for this camera's.

        `turn`: where others use the backend too. Raises BackendError when the model fails on it.
        """
        started = perf_counter()
        prepared = self.prepare(frame)
        look(prepared)
        tensor_ready = perf_counter()
        turn.prepared()
        called = perf_counter()
        outputs = self.backend.infer(prepared.tensor)
        inferred = perf_counter()
        turn.over()
        sifted = self.decode(outputs, prepared.letterbox, rule)
        done = perf_counter()
        latency = Latency(
            decode=frame.decode_ms,
            preprocess=(tensor_ready - started) * 1e3,
            infer=(inferred - called) * 1e3,
            postprocess=(done - inferred) * 1e3,
            total=(self._clock.monotonic() - frame.arrived) * 1e3,
        )
        invalid = self._invalid(outputs, done)
        return Result(frame, sifted.outcome, sifted.counts, latency, prepared.letterbox, invalid, sifted.faint)

    def prepare(self, frame: Frame) -> Prepared:
        """The frame as the network's input; valid until the next call."""
        return self._preprocessor.prepare(frame)

    def decode(self, outputs: Sequence[NDArray[Any]], letterbox: Letterbox, rule: FilterRule | None = None) -> Sifted:
        """The model's outputs -> what is published, and how much survived each filter."""
        rule = rule or self.rule
        least = rule.decode_score if self._detects else rule.min_score  # of a map it decides what is a thing
        return outcome_of(self._head.decode(outputs, least), letterbox, rule)

    def _invalid(self, outputs: Sequence[NDArray[Any]], now: float) -> int | None:
        if now < self._search_at:
            return None
        self._search_at = now + INVALID_EVERY_S
        return invalid_values(outputs)

    def warm_up(self) -> None:
        """Runs the model once on a textured picture: the first run allocates, and zeros upset some decoders."""
        dtype = self.manifest.input.dtype
        texture = np.random.default_rng(0).integers(0, 256, _input_shape(self.manifest.input))
        self.backend.infer(texture.astype(dtype) if dtype == "uint8" else (texture / 255).astype(dtype))

    def close(self) -> None:
        """Frees the model."""
        self.backend.close()


def outcome_of(decoded: Decoded, letterbox: Letterbox, rule: FilterRule) -> Sifted:
    """A head's answer -> what is published, and how much survived each filter. Of two kinds, the boxes are counted."""
    if isinstance(decoded, Candidates):
        return filters.apply(decoded, letterbox, rule, nms, cut)
    if isinstance(decoded, SemanticMap):
        return Sifted(_in_source(decoded, letterbox), StageCounts(score_max=decoded.score_max))
    if isinstance(decoded, Sighting):
        sifted = filters.apply(decoded.candidates, letterbox, rule, nms, cut)
        assert isinstance(sifted.outcome, Detections)
        return replace(sifted, outcome=Scene(sifted.outcome, _in_source(decoded.areas, letterbox)))
    return Sifted(decoded, _counts_of(decoded, rule.min_score))


def _in_source(found: SemanticMap, letterbox: Letterbox) -> ClassMap:
    height, width = found.ids.shape
    rows, columns = letterbox.grid_index(width, height)
    return ClassMap(found.ids, rows, columns, found.score_max, found.background)


def _encode_area(found: ClassMap, class_id: int) -> RunLengths:
    made = encode_class(found, class_id)
    return RunLengths(made.size, made.counts)


def _encode_object(found: InstanceMask, height: int, width: int) -> RunLengths:
    made = encode_window(found.pixels(), found.left, found.top, height, width)
    return RunLengths(made.size, made.counts)


RLE = RleEncoders(_encode_area, _encode_object)


def invalid_values(outputs: Sequence[NDArray[Any]]) -> int:
    """How many values are NaN or infinite."""
    real = (output for output in outputs if output.dtype.kind == "f")
    return sum(output.size - int(np.count_nonzero(np.isfinite(output))) for output in real)


def require_input(spec: InputSpec, inputs: Sequence[TensorSpec]) -> None:
    """Raises ModelMismatch where the model's input is not what the manifest declares."""
    wanted = _input_shape(spec)
    declared = f"one input {'x'.join(map(str, wanted))} {spec.dtype} ({spec.layout})"
    if len(inputs) == 1 and inputs[0].takes(wanted, spec.dtype):
        return
    raise ModelMismatch(
        "the model's input is not what the manifest declares",
        evidence={"manifest": declared, "model": describe(inputs)},
        fix="create the bundle again without --size: width, height, layout and dtype are then read from the model",
    )


def _input_shape(spec: InputSpec) -> tuple[int, int, int, int]:
    return (1, 3, spec.height, spec.width) if spec.layout == "nchw" else (1, spec.height, spec.width, 3)


def _context(manifest: Manifest, outputs: Sequence[TensorSpec]) -> HeadContext:
    spec = manifest.input
    return HeadContext(spec.width, spec.height, len(manifest.labels), outputs, manifest.head.params)


def _counts_of(classes: Classes, min_score: float) -> StageCounts:
    best = float(classes.scores.max(initial=0.0))
    return StageCounts(candidates=len(classes.scores), scored=int((classes.scores >= min_score).sum()), score_max=best)
