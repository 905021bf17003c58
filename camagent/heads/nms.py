"""Non-maximum suppression: of boxes of one class that lie on each other, the best one stays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.boxes import Box, overlap
from camagent.frame import Candidates

INPUT_LIMIT = 1000  # the comparison grows with the square of the count; a scene has fewer objects than this
FEW = 20  # so many are compared one by one before a call into OpenCV, and NumPy's before and after it, have begun
_FAR = 1e6  # pixels; boxes of a broken model may reach to infinity


def nms(candidates: Candidates, iou: float, limit: int = 300) -> NDArray[np.intp]:
    """Greedy suppression per class: a box goes when its IoU with a better box of its class is above `iou` (0..1).

    Returns at most `limit` indices into `candidates`, best first, equal scores in the order they came in. Only the 1000 best
    candidates take part. Boxes with a NaN are left out; boxes without area count as lying on each other.

    `cv2.dnn.NMSBoxesBatched` does the work, with four things put right (tried, OpenCV 5.0): it keeps classes apart by adding
    an offset that leaks when coordinates are negative, one infinite box ruins it for all, it drops scores of 0, and it takes
    lists several times as fast as arrays. A few boxes are compared here, with the same result.
    """
    if len(candidates.scores) <= FEW:
        return np.array(_among_few(candidates, iou)[:limit], np.intp)
    order = np.argsort(-candidates.scores, kind="stable")[:INPUT_LIMIT]
    boxes = np.clip(candidates.boxes[order].astype(np.float64), -_FAR, _FAR)
    real = ~np.isnan(boxes).any(axis=1)
    order, boxes = order[real], boxes[real]
    if not order.size:
        return order
    boxes -= boxes.min()
    boxes[:, 2:] = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
    ranks = range(len(order), 0, -1)  # instead of scores: what is sorted stays as it is
    class_ids = candidates.class_ids[order].tolist()
    kept = cv2.dnn.NMSBoxesBatched(boxes.tolist(), list(ranks), class_ids, 0.0, iou)
    return order[np.asarray(kept[:limit], dtype=np.intp)]


def _among_few(candidates: Candidates, iou: float) -> list[int]:
    """Of those that stay, best first."""
    scores, class_ids, boxes = candidates.scores.tolist(), candidates.class_ids.tolist(), candidates.boxes.tolist()
    kept: list[int] = []
    stay: list[tuple[int, Box]] = []
    for row in sorted(range(len(scores)), key=lambda row: -scores[row]):
        box = _bounded(boxes[row])
        if box is None or any(class_id == class_ids[row] and _lie_on(box, other, iou) for class_id, other in stay):
            continue
        kept.append(row)
        stay.append((class_ids[row], box))
    return kept


def _bounded(box: Sequence[float]) -> Box | None:
    """Within reach, and with no side below 0; None where a NaN is among its edges."""
    if any(math.isnan(edge) for edge in box):
        return None
    x1, y1, x2, y2 = (max(-_FAR, min(edge, _FAR)) for edge in box)
    return x1, y1, max(x1, x2), max(y1, y2)


def _lie_on(box: Box, other: Box, iou: float) -> bool:
    share = overlap(box, other)
    return share > iou or (share == 0 and iou < 1 and _is_empty(box) and _is_empty(other))


def _is_empty(box: Box) -> bool:
    return box[0] == box[2] or box[1] == box[3]
