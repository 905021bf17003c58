"""Faults of the model file, its quantisation and its runtime."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from numpy.random import Generator

from camagent.backends import BackendOptions
from tests.lab.inject.base import exported_otherwise, fault, one, pick, true_too, with_tail, with_trouble
from tests.lab.rig import Rig
from tests.lab.spec import Op

_SCORED = ("fastestdet", "ultraface", "yolov5", "yolov8")
_ONE_OUTPUT = ("yolov5", "yolov8")


@fault("int8-concat-collapse")
def _collapse(rig: Rig, rng: Generator) -> Rig | None:
    """One scale for boxes in pixels and scores in 0..1: every score rounds to nothing."""
    if rig.name not in _ONE_OUTPUT:
        return None
    return with_tail(rig, Op("int8-whole", {"stretch": pick(rng, 2.0, 4.0)}))


@fault("int8-head-compressed")
def _compressed(rig: Rig, rng: Generator) -> Rig | None:
    if rig.name not in _SCORED:
        return None
    least = rig.right.manifest.thresholds.min_score
    ceiling = least * pick(rng, 0.7, 0.97)
    left = ceiling**2 if rig.name == "yolov5" else ceiling  # a product of two capped scores
    limits = msgspec.structs.replace(rig.right.manifest.thresholds, min_score=round(left * 0.7, 3))
    return with_tail(
        rig, Op("cap-scores", {"ceiling": ceiling, "steps": float(rng.integers(4, 12))}),
        cure=rig.deployed.with_manifest(thresholds=limits),
    )  # fmt: skip


@fault("int8-calibration-bad")
def _calibration(rig: Rig, rng: Generator) -> Rig | None:
    if rig.name not in _SCORED:
        return None
    args = {"power": pick(rng, 0.9, 1.6), "gain": pick(rng, 0.08, 0.3), "stretch": pick(rng, 1.5, 4.0)}
    return with_tail(rig, Op("scramble", args))


@fault("fp16-overflow", "nan")
def _nan(rig: Rig, rng: Generator) -> Rig | None:
    return with_tail(rig, Op("poison", {"share": 10 ** pick(rng, -0.7, 0.0), "seed": float(rng.integers(99))}))


@fault("fp16-overflow", "strong")
def _overflow(rig: Rig, rng: Generator) -> Rig | None:
    """The strongest activations are the ones that overflow."""
    if rig.name not in _SCORED:
        return None
    return with_tail(rig, Op("poison-strong", {"above": pick(rng, 0.1, 0.3)}))


@fault("constant-output", "value")
def _constant(rig: Rig, rng: Generator) -> Rig | None:
    value = one(rng, (0.0, 0.01, 329.5366, -1.0))
    made = with_tail(rig, Op("constant", {"value": value}))
    return true_too(made, "quant-params-ignored") if value == 0 else made  # as a scale of 0 leaves it


@fault("stale-inference-state")
def _stale(rig: Rig, rng: Generator) -> Rig | None:
    return with_trouble(rig, "stale")


@fault("board-differs-from-simulator")
def _board(rig: Rig, rng: Generator) -> Rig | None:
    args = {
        "amount": pick(rng, 0.05, 0.4),
        "mix": pick(rng, 0.5, 0.9),
        "seed": float(rng.integers(99)),
        "roll": float(rng.integers(1, 9)),
    }
    return with_tail(rig, Op("noise", args))


@fault("quant-params-ignored", "integers")
def _integers(rig: Rig, rng: Generator) -> Rig | None:
    args = {"unsigned": float(rng.integers(2)), "cast": float(rng.integers(2))}
    return with_tail(rig, Op("int8-raw", args))


@fault("quant-params-ignored", "scale zero")
def _scale_zero(rig: Rig, rng: Generator) -> Rig | None:
    return true_too(with_tail(rig, Op("constant", {"value": 0.0})), "constant-output")


@fault("output-stride-or-layout", "stride")
def _stride(rig: Rig, rng: Generator) -> Rig | None:
    return with_tail(rig, Op("padded-rows", {"pad": float(rng.integers(1, 16))}))


@fault("output-stride-or-layout", "layout")
def _layout(rig: Rig, rng: Generator) -> Rig | None:
    """Channels last in memory, under a shape that says channels first."""
    made = with_tail(rig, Op("channels-last-bytes")) if rig.name in ("fastestdet", "semantic") else None
    return true_too(made, "output-transposed")


@fault("wrong-or-untrained-weights")
def _weights(rig: Rig, rng: Generator) -> Rig | None:
    if rig.name not in _SCORED:
        return None
    weak = 10 ** pick(rng, -4, -2.2)
    if rig.right.spec.engine == "onnx":
        return with_tail(rig, Op("weaken-scores", {"gain": weak}), Op("noise", {"amount": 0.3, "mix": 0.5, "seed": 1.0}))
    return exported_otherwise(rig, gain=weak, seed=int(rng.integers(1000, 2000)))


@fault("model-file-bad", "truncated")
def _truncated(rig: Rig, rng: Generator) -> Rig | None:
    data = rig.right.data
    return replace(rig, deployed=replace(rig.deployed, raw=data[: int(len(data) * pick(rng, 0.1, 0.9))]))


@fault("model-file-bad", "other target")
def _other_target(rig: Rig, rng: Generator) -> Rig | None:
    return with_trouble(rig, "load-error", code=-5)


@fault("runtime-version-mismatch")
def _version(rig: Rig, rng: Generator) -> Rig | None:
    return with_trouble(rig, "load-error", code=-6)


@fault("memory-exhausted", layer="system")
def _memory(rig: Rig, rng: Generator) -> Rig | None:
    return with_trouble(rig, "load-error", code=-4)


@fault("npu-submit-failed", "raises")
def _submit(rig: Rig, rng: Generator) -> Rig | None:
    return with_trouble(rig, "raises", after=float(rng.integers(0, 3)))


@fault("npu-submit-failed", "none")
def _none(rig: Rig, rng: Generator) -> Rig | None:
    return with_trouble(rig, "returns-none", after=float(rng.integers(0, 3)))


@fault("ep-specific-bug")
def _provider(rig: Rig, rng: Generator) -> Rig | None:
    """Scores are 0 on one execution provider only."""
    if rig.name not in _SCORED:
        return None
    made = with_trouble(rig, "provider")
    return replace(made, options=BackendOptions(providers=("LabExecutionProvider", "CPUExecutionProvider")))
