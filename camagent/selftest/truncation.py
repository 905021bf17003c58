"""A runtime that casts 0..1 to whole numbers: two inputs look alike to it, and the same two, 255 times as large, do not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.selftest import raw, statistics
from camagent.selftest.examination import Examination, textured
from camagent.selftest.naming import cause
from camagent.selftest.report import Cause

_UNIT = 4.0  # a standardised input of 0..1 stays below


def explain(exam: Examination, tensor: NDArray[Any]) -> Cause | None:
    """Four inferences on noise like `tensor`. Raises OutOfBudget, BackendError."""
    if tensor.dtype.kind != "f" or float(np.abs(tensor).max()) > _UNIT:
        return None
    small = [textured(tensor.shape, str(tensor.dtype), tensor, seed) for seed in (4, 5)]
    answers = [exam.infer(one) for one in small]
    if not statistics.same(*answers) or raw.on_a_grid(exam.manifest.head.name, answers[0]):  # int8 rounds small things away
        return None
    if statistics.same(*(exam.infer((one * 255).astype(tensor.dtype)) for one in small)):
        return None
    evidence = {"two inputs in 0..1": "one answer", "the same two, times 255": "two answers"}
    return cause("dtype-mismatch", evidence, others=("scale-not-wanted", "stale-inference-state"), margin=1.0)
