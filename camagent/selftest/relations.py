"""Stored outputs against today's for the same input: scaled, permuted, strided, capped, or merely worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.selftest import box_relations, statistics
from camagent.selftest.anatomy import parts_of
from camagent.selftest.axis_head import fits
from camagent.selftest.examination import Arrays, Examination
from camagent.selftest.memory_order import EXCHANGED, exhausts
from camagent.selftest.naming import cause
from camagent.selftest.report import Cause
from camagent.selftest.structure import best_per_cell
from firmware_pkg.manifest import Manifest

ALIKE = 0.98  # cosine; int8 rounds, another runtime adds differently
ALIKE_BITWISE = 0.99999
_SURE = 0.995  # correlation of numbers that are one another's multiples
_LEAST, _GAIN = 0.02, 4.0  # a scale that was left out is no small thing; scores that are a few times too low are another
_ORDERED = 0.995
_BETTER = 0.1  # of the difference that there is in the order as read
_LEFT = 0.4  # of the values
_UNRELATED = 0.3  # correlation
_RANKED = 0.9
_SHRUNK = 0.8  # of what they were
_RAISED = 0.1  # of the span of the stored map
_SLACK = 0.02  # rounding, beyond 0..1


def likeness(head: str, found: Arrays, wanted: Arrays) -> dict[str, float]:
    """Cosine per part, for boxes are large and would hide the scores; 0 for outputs that do not compare."""
    if len(found) != len(wanted) or any(a.shape != b.shape for a, b in zip(found, wanted, strict=True)):
        return {"outputs": 0.0}
    now, then = parts_of(head, found), parts_of(head, wanted)
    made = {"scores": statistics.cosine(now.flat_scores(), then.flat_scores())}
    return made | ({"boxes": statistics.cosine(now.flat_boxes(), then.flat_boxes())} if now.boxes else {})


def explain(exam: Examination) -> Cause | None:
    """What happened to outputs between the day the bundle was built and now, where that can be read off the two."""
    pair = _pair(exam)
    if pair is None:
        return None
    found, wanted = pair
    head = exam.manifest.head.name
    by_score = _emptied(exam.manifest, found, wanted) or _raised(head, found, wanted) or _scaled(head, found, wanted)
    by_part = by_score or box_relations.explain(head, found, wanted)
    return _permuted(found, wanted) or by_part or _reordered(exam, found, wanted)


def _pair(exam: Examination) -> tuple[Arrays, Arrays] | None:
    known, found = exam.reference_known, exam.reference_outputs
    if known is None or known.reference is None or found is None or not known.expect:
        return None
    wanted = known.reference.outputs
    return (found, wanted) if len(found) == len(wanted) else None


def weakened(exam: Examination, evidence: Mapping[str, Any]) -> Cause | None:
    """Today's outputs are not those of the day the bundle was built: arithmetic, or other weights. None where they are."""
    pair = _pair(exam)
    if pair is None or exam.reference_likeness is None:
        return None
    now, then = (parts_of(exam.manifest.head.name, outputs).flat_scores() for outputs in pair)
    comparable = now.shape == then.shape
    shrunk = comparable and _slope(now, then) < _SHRUNK
    if exam.reference_likeness >= ALIKE and not shrunk:
        return None
    alike = statistics.correlation(now, then) if comparable else 0.0
    proof = {**evidence, "scores now against then, correlation": round(alike, 3)}
    proof |= {"best score now, then": f"{np.nanmax(now, initial=0):.3g}, {np.nanmax(then, initial=0):.3g}"}
    first, *others = _differing(now, then, alike)
    return cause(first, proof, others=others, ask=True)


def _differing(now: NDArray[Any], then: NDArray[Any], alike: float) -> tuple[str, str, str]:
    """Which of the three that a device cannot tell for certain, the likeliest first."""
    weights, board, calibration = "wrong-or-untrained-weights", "board-differs-from-simulator", "int8-calibration-bad"
    if alike >= _RANKED:  # the order of the scores is kept: a scale that fits badly
        return calibration, "int8-head-compressed", board
    if _may_be_probabilities(then):  # an activation ends the graph: weights cannot leave its range, arithmetic can
        return (weights, board, calibration) if _may_be_probabilities(now) else (board, calibration, weights)
    return (weights, board, calibration) if alike < _UNRELATED else (board, calibration, weights)


def _may_be_probabilities(values: NDArray[Any]) -> bool:
    return bool(values.size) and float(np.nanmin(values)) >= -_SLACK and float(np.nanmax(values)) <= 1 + _SLACK


def _slope(now: NDArray[Any], then: NDArray[Any]) -> float:
    """By how much the strong scores have shrunk: 1 where they are as they were."""
    length = float(then @ then)
    return float(now @ then) / length if length and np.isfinite(now).all() else 1.0


def _permuted(found: Arrays, wanted: Arrays) -> Cause | None:
    if len(found) < 2 or _all_alike(found, wanted):
        return None
    for order in permutations(range(len(found))):
        if order != tuple(range(len(found))) and _all_alike([found[index] for index in order], wanted):
            evidence = {
                "outputs now": [str(o.shape) for o in found],
                "outputs then": [str(o.shape) for o in wanted],
                "order": list(order),
            }
            return cause("multi-output-order", evidence, margin=1.0)
    return None


def _all_alike(found: Sequence[NDArray[Any]], wanted: Sequence[NDArray[Any]]) -> bool:
    return all(a.shape == b.shape and statistics.cosine(a, b) >= ALIKE for a, b in zip(found, wanted, strict=True))


def _emptied(manifest: Manifest, found: Arrays, wanted: Arrays) -> Cause | None:
    """The strongest cells are as they were, and all weaker ones have become exactly 0: a threshold inside the graph."""
    now, then = (best_per_cell(manifest, outputs) for outputs in (found, wanted))
    if now.shape != then.shape or not np.isfinite(now).all():
        return None
    left, gone = now != 0, (now == 0) & (then > _SLACK)
    if not left.any() or not gone.any() or float(np.abs(now[left] - then[left]).max()) > _SLACK:
        return None
    if then[left].min() < then[gone].max():
        return None
    evidence = {
        "cells as they were": int(left.sum()), "cells that became 0": int(gone.sum()),
        "best of those": round(float(then[gone].max()), 3),
    }  # fmt: skip
    return cause("embedded-nms-threshold", evidence, others=("threshold-too-high",), margin=1.0)


def _raised(head: str, found: Arrays, wanted: Arrays) -> Cause | None:
    """A class map whose planes are the stored ones, the background's plus a constant: it wins everywhere."""
    if head != "semantic" or len(found) != 1 or found[0].shape != wanted[0].shape or found[0].ndim != 4:
        return None
    off = np.asarray(found[0] - wanted[0], np.float64)[0].reshape(found[0].shape[1], -1)
    by, spread = off.mean(axis=1), float(np.ptp(np.asarray(wanted[0], np.float64)))
    if (
        not np.isfinite(off).all()
        or float(off.std(axis=1).max()) > _SLACK * spread
        or by[0] - by[1:].max(initial=0) < _RAISED * spread
    ):
        return None
    evidence = {"the background's plane": f"then {by[0]:+.3g}, everywhere", "the others": "as they were", "expected": "then +0"}
    return cause("seg-all-background", evidence, others=("quant-params-ignored",), margin=1.0)


def _scaled(head: str, found: Arrays, wanted: Arrays) -> Cause | None:
    """Every score is the stored one times a number, plus one: quantisation parameters left out, or applied twice."""
    now, then = (parts_of(head, outputs).flat_scores() for outputs in (found, wanted))
    if now.shape != then.shape or statistics.correlation(now, then) < _SURE:
        return None
    slope, offset = (float(value) for value in np.polyfit(then, now, 1))
    if _LEAST <= slope <= _GAIN:
        return None
    words = f"score now = {slope:.4g} x then {offset:+.4g}"
    return cause("quant-params-ignored", {"outputs": words, "expected": "now = then"}, margin=1.0)


def _reordered(exam: Examination, found: Arrays, wanted: Arrays) -> Cause | None:
    """The stored values stand in today's outputs in another memory order. Axes that the head takes either way are no fault."""
    for index, (one, two) in enumerate(zip(found, wanted, strict=True)):
        now = statistics.correlation(one, two) if one.shape == two.shape else 0.0
        if one.size != two.size or now >= _ORDERED:
            continue
        for words, name, guess in exhausts(one):
            if words == EXCHANGED and not _only_so(exam, found, index, guess):
                continue
            if guess.shape == two.shape and 1 - _kept(guess, two) <= min(1 - _ORDERED, _BETTER * (1 - now)):
                evidence = {"output": index, "fits the stored one when": words, "correlation": round(_kept(guess, two), 4)}
                others = ("output-transposed", "output-stride-or-layout")
                return cause(name, evidence, others=others, margin=1.0)
    return None


def _only_so(exam: Examination, found: Arrays, index: int, guess: NDArray[Any]) -> bool:
    """Whether the deployed head takes the outputs in this order and not as they are."""
    exchanged = [guess if at == index else output for at, output in enumerate(found)]
    return not fits(exam.manifest, found) and fits(exam.manifest, exchanged)


def _kept(guess: NDArray[Any], stored: NDArray[Any]) -> float:
    """Correlation of what was not lost: padding pushes the end out of the buffer.

    Columns that are alike in every row (a background that is nearly 1 everywhere) prove nothing: they are taken out.
    """
    there = int(np.flatnonzero(guess.reshape(-1)).max(initial=-1)) + 1
    usual = stored.mean(axis=tuple(range(stored.ndim - 1)), keepdims=True)
    one, two = ((values - usual).reshape(-1)[:there] for values in (guess, stored))
    return statistics.correlation(one, two) if there >= _LEFT * guess.size else 0.0
