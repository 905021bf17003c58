"""Average precision as COCO defines it, with one model's objects as the truth for another's.

Own code, for pycocotools is compiled, wants files of its own form and prints to stdout; the tests hold this against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camagent.comparing.agreement import iou_matrix
from camagent.frame import Detections

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of IoU
MOST = 100  # objects of a picture and class that take part, best first
_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True)
class Precision:
    """0..1, the mean over the classes that the truth has; `map` also over IoU 0.50 to 0.95."""

    map: float
    map50: float


def precision(truth: Sequence[Detections], found: Sequence[Detections]) -> Precision | None:
    """Picture by picture the objects that are there, and those that were found, well below any threshold.

    None where the truth has no objects. T.-Y. Lin et al., Microsoft COCO (2014), and cocoapi's evaluation: greedy by score,
    precision made monotonic and read off at 101 recalls.
    """
    classes = sorted({int(one) for picture in truth for one in picture.class_ids})
    if not classes:
        return None
    table = np.array([_of_class(truth, found, one) for one in classes])  # (classes, thresholds)
    return Precision(float(table.mean()), float(table[:, 0].mean()))


def _of_class(truth: Sequence[Detections], found: Sequence[Detections], class_id: int) -> NDArray[np.float64]:
    """(thresholds,)."""
    scores, hits, there = [], [], 0
    for real, seen in zip(truth, found, strict=True):
        wanted = real.boxes[real.class_ids == class_id]
        mine = np.flatnonzero(seen.class_ids == class_id)
        order = mine[np.argsort(-seen.scores[mine], kind="stable")][:MOST]
        there += len(wanted)
        scores.append(seen.scores[order])
        hits.append(_hits(iou_matrix(seen.boxes[order], wanted)))
    by_score = np.argsort(-np.concatenate(scores), kind="stable")
    hit = np.concatenate(hits, axis=1)[:, by_score]
    return np.array([_average(row, there) for row in hit])


def _hits(ious: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(found, there) -> (thresholds, found): whether each found one, in this order, takes a real one that is still free."""
    made = np.zeros((len(THRESHOLDS), len(ious)), np.bool_)
    for at, threshold in enumerate(THRESHOLDS):
        left = ious.copy()
        for index, row in enumerate(left):
            if row.size and row.max() >= threshold:
                best = len(row) - 1 - int(row[::-1].argmax())  # of equal ones the last, as cocoapi takes them
                left[:, best] = -1.0
                made[at, index] = True
    return made


def _average(hit: NDArray[np.bool_], there: int) -> float:
    """(found,) by score -> the area under precision over recall."""
    right = hit.cumsum()
    recall = right / there
    precise = right / np.arange(1, len(hit) + 1)
    precise = np.maximum.accumulate(precise[::-1])[::-1]
    at = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.where(at < len(precise), np.append(precise, 0.0)[np.minimum(at, len(precise))], 0.0).mean())
