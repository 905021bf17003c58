"""Stored outputs against today's for the same input: scaled, permuted, strided, capped, or merely worse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.selftest import statistics
from camagent.selftest.examination import Arrays, Examination
from camagent.selftest.known import Known
from camagent.selftest.naming import cause
from camagent.selftest.report import Cause

ALIKE = 0.98  # cosine
ALIKE_BITWISE = 0.99999
_SURE = 0.97  # correlation that is no accident
_GAIN_OFF = 0.25  # a slope that differs from 1 by more
_ROW_BYTES = (16, 32, 64, 128)  # to which runtimes align rows of outputs
_UNRELATED = 0.3


def explain(exam: Examination) -> Cause | None:
    """What happened to outputs between the day the bundle was built and now, where that can be read off the two."""
    known = next((known for known in exam.known if known.reference is not None), None)
    if known is None or known.reference is None or exam.reference_outputs is None or not known.expect:
        return None
    found, wanted = exam.reference_outputs, known.reference.outputs
    if exam.reference_likeness is None or len(found) != len(wanted):
        return None
    return _permuted(found, wanted) or _scaled(found, wanted) or _strided(found, wanted)


def weakened(exam: Examination, evidence: Mapping[str, Any]) -> Cause:
    """Correlated with the stored outputs but not alike: arithmetic. Unrelated: other weights."""
    likeness = exam.reference_likeness or 0.0
    best = max((score for known in exam.known for score in [_best(exam, known)]), default=0.0)
    if likeness < _UNRELATED and best < 0.05:
        return cause(
            "wrong-or-untrained-weights", evidence, others=("board-differs-from-simulator", "int8-calibration-bad"), ask=True
        )
    return cause(
        "int8-calibration-bad", evidence, others=("board-differs-from-simulator", "wrong-or-untrained-weights"), ask=True
    )


def _best(exam: Examination, known: Known) -> float:
    score = exam.score(exam.manifest, known, exam.deployed(known))
    return score.support


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


def _scaled(found: Arrays, wanted: Arrays) -> Cause | None:
    """Every output is the stored one times a number, plus one: quantisation parameters left out, or applied twice."""
    slopes = []
    for one, two in zip(found, wanted, strict=True):
        if one.shape != two.shape or not np.ptp(np.nan_to_num(two)):
            return None
        if statistics.correlation(one, two) < _SURE:
            return None
        slope, offset = np.polyfit(np.asarray(two, np.float64).reshape(-1), np.asarray(one, np.float64).reshape(-1), 1)
        slopes.append((float(slope), float(offset)))
    if not slopes or all(abs(slope - 1) <= _GAIN_OFF for slope, _ in slopes):
        return None
    words = "; ".join(f"now = {slope:.4g} x then {offset:+.4g}" for slope, offset in slopes)
    return cause("quant-params-ignored", {"outputs": words, "expected": "now = then"}, margin=1.0)


def _strided(found: Arrays, wanted: Arrays) -> Cause | None:
    """The stored values stand in today's outputs in another order: rows with padding, or another layout."""
    for index, (one, two) in enumerate(zip(found, wanted, strict=True)):
        if one.size != two.size or statistics.cosine(one, two) >= ALIKE:
            continue
        for words, guess in _reorderings(two):
            if statistics.correlation(one.reshape(-1), guess) >= _SURE:
                evidence = {"output": index, "fits": words, "expected": "the order of the day the bundle was built"}
                return cause("output-stride-or-layout", evidence, others=("output-transposed",), margin=1.0)
    return None


def _reorderings(stored: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    """The stored output's values as a reader sees them who takes another order for granted, flat."""
    axes = range(stored.ndim)
    for order in permutations(axes):
        if order != tuple(axes) and order[0] == 0:
            yield f"axes {order}", stored.transpose(order).reshape(-1)
    width = stored.shape[-1]
    for align in _ROW_BYTES:
        padded = -(-width // align) * align
        if padded != width:
            rows = stored.reshape(-1, width)
            wide = np.zeros((len(rows), padded), stored.dtype)
            wide[:, :width] = rows
            yield f"rows of {width} padded to {padded}", wide.reshape(-1)[: stored.size]
