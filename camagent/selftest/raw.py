"""Causes that numbers about the outputs give away in one pass, without an inference spent on a guess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from camagent.selftest import statistics
from camagent.selftest.anatomy import parts_of
from camagent.selftest.examination import Arrays
from camagent.selftest.naming import cause
from camagent.selftest.report import Cause
from camagent.selftest.structure import best_per_cell
from firmware_pkg.manifest import Manifest

_BROKEN = 0.001  # share of NaN or Inf that is no accident
_BACKGROUND = 0.99  # share of the map
_CELLS = 50
_FLOOR = 0.12  # int8 rounds to 0 what is below 0.004, not what is below this
_STEPS = 20
_SUM = 0.05
_BYTES = 8  # a span of whole numbers that is no accident
_FEW = 300  # different values: fewer than int8 can tell apart, give or take an activation


def invalid(outputs: Arrays) -> Cause | None:
    """NaN or infinity in what the model gives."""
    facts = [statistics.tensor_facts(f"output{index}", output) for index, output in enumerate(outputs)]
    broken = sum(fact.nan + fact.inf for fact in facts)
    total = sum(output.size for output in outputs)
    if not total or broken / total < _BROKEN:
        return None
    evidence = {"nan": sum(fact.nan for fact in facts), "inf": sum(fact.inf for fact in facts), "values": total}
    return cause("fp16-overflow", {**evidence, "expected": "no NaN and no infinity"}, margin=1.0)


def stuck(first: Arrays, second: Arrays) -> Cause | None:
    """The same answer to two different inputs."""
    if not statistics.same(first, second):
        return None
    distinct = [statistics.distinct(output) for output in first]
    evidence = {"different inputs": 2, "different outputs": 1, "distinct values per output": distinct}
    if max(distinct, default=0) <= 1:
        return cause("constant-output", evidence, others=("quant-params-ignored", "embedded-nms-threshold"), margin=1.0)
    return cause("stale-inference-state", evidence, others=("constant-output",), margin=1.0)


def fickle(first: Arrays, again: Arrays) -> Cause | None:
    """Different answers to the same input."""
    likeness = [statistics.cosine(one, two) for one, two in zip(first, again, strict=True)]
    if min(likeness, default=1.0) > 0.999 or any(not np.isfinite(output).all() for output in (*first, *again)):
        return None
    evidence = {"cosine of two runs on one input": round(min(likeness), 4), "expected": "1"}
    return cause("shared-context-race", evidence, others=("multi-core-wrong", "npu-submit-failed"), margin=1.0)


def silent_scores(head: str, runs: Sequence[Arrays], best: Sequence[float]) -> Cause | None:
    """A score, or a factor of it, exactly 0 everywhere while boxes vary: quantisation or a provider has lost it.

    `best`: the best decoded score per run.
    """
    parts = [parts_of(head, outputs) for outputs in runs]
    boxes = parts[0].flat_boxes()
    lost = all(any(not np.any(part) for part in one.scores) for one in parts)
    if any(best) or not lost or not boxes.size or not np.isfinite(boxes).all() or not np.ptp(boxes):
        return None
    levels = statistics.distinct(boxes)
    evidence = {
        "scores": f"exactly 0 on {len(runs)} pictures",
        "boxes": f"{levels} distinct values from {boxes.min():.4g} to {boxes.max():.4g}",
        "expected": "a score above 0 on a known picture",
    }
    if levels <= _FEW:
        step = np.ptp(boxes) / max(1, levels - 1)
        evidence["quantisation step"] = f"{step:.3g}: a score of 1 is rounded away when it shares the scale of the boxes"
        return cause("int8-concat-collapse", evidence, others=("ep-specific-bug",), margin=1.0)
    return cause("ep-specific-bug", evidence, others=("int8-concat-collapse", "quant-params-ignored"), margin=1.0)


def integers(head: str, runs: Sequence[Arrays]) -> Cause | None:
    """Whole numbers of one byte where scores should be: nobody applied scale and zero point."""
    if head == "semantic":  # class ids are whole numbers
        return None
    values = [np.asarray(output, np.float64).reshape(-1) for outputs in runs for output in outputs]
    if not all(np.isfinite(one).all() and (one == np.rint(one)).all() for one in values):
        return None
    low, high = min(float(one.min()) for one in values), max(float(one.max()) for one in values)
    if not (low >= -128 and high <= 255 and high - low > _BYTES):
        return None
    evidence = {"outputs": f"whole numbers from {low:g} to {high:g}", "expected": "scores in 0..1"}
    return cause("quant-params-ignored", evidence, margin=1.0)


def on_a_grid(head: str, outputs: Arrays) -> bool:
    """Whether the boxes take no more values than int8 can tell apart: the outputs were quantised."""
    boxes = parts_of(head, outputs).flat_boxes()
    return boxes.size > _FEW and statistics.distinct(boxes) <= _FEW


def nothing_at_all(runs: Sequence[Arrays]) -> Cause | None:
    """All outputs are one constant each, on every picture."""
    if not all(statistics.distinct(output) <= 1 and np.isfinite(output).all() for outputs in runs for output in outputs):
        return None
    values = [f"{float(output.reshape(-1)[0]):g}" for output in runs[0] if output.size]
    evidence = {"outputs": f"constant: {', '.join(values)}", "expected": "values that vary"}
    return cause("constant-output", evidence, others=("quant-params-ignored", "embedded-nms-threshold"), margin=1.0)


def all_background(head: str, runs: Sequence[Arrays]) -> Cause | None:
    """A class map in which the background wins nearly everywhere although its logits vary."""
    planes = [outputs[0] for outputs in runs if len(outputs) == 1 and outputs[0].ndim == 4 and outputs[0].shape[1] > 1]
    if head != "semantic" or len(planes) < len(runs):
        return None
    shares = [float((plane.argmax(axis=1) == 0).mean()) for plane in planes]
    if min(shares) < _BACKGROUND or not all(np.ptp(np.nan_to_num(plane)) for plane in planes):
        return None
    evidence = {"background wins on": [round(share, 4) for share in shares], "expected": "something else on a known picture"}
    return cause("seg-all-background", evidence, others=("mean-std-wrong",), ask=True)


def floored(manifest: Manifest, runs: Sequence[Arrays]) -> Cause | None:
    """No score between 0 and a floor, on any picture: a threshold in the graph, which no setting here can lower."""
    if manifest.head.name == "ultraface":
        return _emptied_rows(runs)
    scores = np.concatenate([best_per_cell(manifest, outputs) for outputs in runs] or [np.zeros(0)])
    scores = scores[np.isfinite(scores)]
    some = scores[scores > 0]
    if len(scores) < _CELLS or not 0 < len(some) <= len(scores) / 2 or float(some.min()) < _FLOOR:
        return None
    if len(some) > _STEPS and statistics.distinct(some) <= _STEPS:  # a few steps: quantisation, not a threshold
        return None
    empty = f"{1 - len(some) / len(scores):.1%}"
    evidence = {"lowest score": round(float(some.min()), 3), "cells at exactly 0": empty, "expected": "small scores too"}
    return cause("embedded-nms-threshold", evidence, others=("threshold-too-high",), margin=0.9)


def _emptied_rows(runs: Sequence[Arrays]) -> Cause | None:
    """Background and thing sum to 1 in every row; rows of zeros have been emptied by somebody."""
    parts = [parts_of("ultraface", outputs).scores for outputs in runs]
    if not all(part and part[0].ndim == 3 for part in parts):
        return None
    each = [part[0].sum(axis=2 if part[0].shape[2] == 2 else 1).reshape(-1) for part in parts]
    if any(map(_apart, each)):
        return None
    sums = np.concatenate(each)
    empty = float((sums == 0).mean())
    if not 0 < empty < 1 or float(np.abs(sums[sums != 0] - 1).mean()) > _SUM:
        return None
    evidence = {"rows that are all 0": f"{empty:.1%}", "the others' sums": 1, "expected": "a sum of 1 in every row"}
    return cause("embedded-nms-threshold", evidence, others=("threshold-too-high",), margin=0.9)


def _apart(sums: np.ndarray[Any, Any]) -> bool:
    """Whether rows that are not empty stand at one distance from each other: padding lies between, no threshold's work."""
    steps = np.diff(np.flatnonzero(sums))
    return steps.size > 1 and steps[0] > 1 and bool((steps == steps[0]).all())
