"""The same scores as on the day the bundle was built, and other boxes: decoded with other anchors, strides or padding.

Each box column of today lies on a straight line over that of then: its slope and offset say what was decoded otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.selftest import statistics
from camagent.selftest.anatomy import parts_of
from camagent.selftest.naming import cause
from camagent.selftest.report import Cause

_SAME_SCORES = 0.999  # correlation
_STRAIGHT = 0.99
_OFF = 0.12  # how far a slope must be from 1, as a logarithm, to be another one
_MOVED = 2.0  # network pixels; boxes in 0..1 cannot be moved by so much


def explain(head: str, found: Sequence[NDArray[Any]], wanted: Sequence[NDArray[Any]]) -> Cause | None:
    """None where the scores differ too, where boxes are no rows of four, or where they are as they were."""
    now, then = parts_of(head, found), parts_of(head, wanted)
    scores = now.flat_scores(), then.flat_scores()
    if scores[0].shape != scores[1].shape or statistics.correlation(*scores) < _SAME_SCORES:
        return None
    lines = _lines(now.boxes, then.boxes)
    if lines is None:
        return None
    slopes, offsets = lines
    place, size = np.abs(np.log(slopes[:2])).max() > _OFF, np.abs(np.log(slopes[2:])).max() > _OFF
    lines_told = ", ".join(f"{slope:.3g}x {offset:+.3g}" for slope, offset in zip(slopes, offsets, strict=True))
    evidence = {"scores": "as they were", "boxes now, of then": lines_told, "expected": "1x +0, in all four columns"}
    if place and size:  # another unit: which one, and whether it helps, the search finds out
        return None
    if place:
        return cause("stride-or-order-wrong", evidence, others=("box-scale-wrong",), margin=1.0)
    if size:
        return cause("anchors-wrong", evidence, others=("stride-or-order-wrong",), margin=1.0)
    if np.abs(offsets[:2]).max() > _MOVED:
        return cause("pad-placement-wrong", evidence, others=("letterbox-vs-stretch",), margin=1.0)
    return None


def _lines(now: Sequence[NDArray[Any]], then: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """(slope, offset) of the four columns; None where one of them is no straight line."""
    if len(now) != 1 or len(then) != 1 or now[0].shape != then[0].shape or now[0].shape[-1] != 4:
        return None
    one, two = (np.asarray(part, np.float64).reshape(-1, 4) for part in (now[0], then[0]))
    fits = [statistics.correlation(one[:, column], two[:, column]) for column in range(4)]
    if min(fits) < _STRAIGHT:
        return None
    slopes, offsets = np.array([np.polyfit(two[:, column], one[:, column], 1) for column in range(4)]).T
    return (slopes, offsets) if (slopes > 0).all() else None
