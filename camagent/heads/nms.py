"""Non-maximum suppression: of boxes of one class that lie on each other, the best one stays."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.frame import Candidates

INPUT_LIMIT = 1000  # the comparison grows with the square of the count; a scene has fewer objects than this
_FAR = 1e6  # pixels; boxes of a broken model may reach to infinity


def nms(candidates: Candidates, iou: float, limit: int = 300) -> NDArray[np.intp]:
    """Greedy suppression per class: a box goes when its IoU with a better box of its class is above `iou` (0..1).

    Returns at most `limit` indices into `candidates`, best first, equal scores in the order they came in. Only the 1000 best
    candidates take part. Boxes with a NaN are left out; boxes without area count as lying on each other.

    `cv2.dnn.NMSBoxesBatched` does the work, with four things put right (tried, OpenCV 5.0): it keeps classes apart by adding
    an offset that leaks when coordinates are negative, one infinite box ruins it for all, it drops scores of 0, and it takes
    lists several times as fast as arrays.
    """
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
