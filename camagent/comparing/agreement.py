"""Which of two models' objects are the same: same class, and boxes that lie on each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camagent.frame import Detections, FloatArray

SAME_IOU = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """Of one picture. Indices into the reference's objects or the other's; `pairs` (n, 2) has both."""

    pairs: NDArray[np.intp]
    ious: FloatArray  # (n,) of the pairs
    score_changes: FloatArray  # (n,) the other's score less the reference's
    faded: NDArray[np.intp]  # the reference's: the other sees them, below the threshold
    lost: NDArray[np.intp]  # the reference's: the other does not see them
    gained: NDArray[np.intp]  # the other's: the reference sees nothing there


def agreement(reference: Detections, other: Detections, min_score: float) -> Agreement:
    """Both hold objects well below `min_score`, which is what counts as seen. Best scores choose first."""
    seen = np.flatnonzero(reference.scores >= min_score)
    same = np.where(reference.class_ids[seen][:, None] == other.class_ids[None, :],
                    iou_matrix(reference.boxes[seen], other.boxes), 0.0)  # fmt: skip
    taken: dict[int, int] = {}
    for index in np.argsort(-other.scores, kind="stable"):
        free = [row for row in range(len(seen)) if row not in taken and same[row, index] >= SAME_IOU]
        if free:
            taken[max(free, key=lambda row: same[row, index])] = int(index)
    found = [(row, index) for row, index in taken.items() if other.scores[index] >= min_score]
    pairs = np.array([(seen[row], index) for row, index in found], np.intp).reshape(-1, 2)
    partners = set(taken.values())
    loud = np.flatnonzero(other.scores >= min_score)
    return Agreement(
        pairs,
        np.array([same[row, index] for row, index in found], np.float32),
        (other.scores[pairs[:, 1]] - reference.scores[pairs[:, 0]]).astype(np.float32),
        np.array([seen[row] for row, index in taken.items() if other.scores[index] < min_score], np.intp),
        np.array([index for row, index in enumerate(seen) if row not in taken], np.intp),
        np.array([index for index in loud if int(index) not in partners], np.intp),
    )


def iou_matrix(first: FloatArray, second: FloatArray) -> NDArray[np.float64]:
    """(n, 4) and (m, 4) x1 y1 x2 y2 -> (n, m): the shared area over the joint one; 0 where neither has any."""
    a, b = first.astype(np.float64)[:, None], second.astype(np.float64)[None, :]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.clip(sides, 0, None).prod(axis=-1)
    areas = [np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(axis=-1) for boxes in (a, b)]
    joint = areas[0] + areas[1] - shared
    ious: NDArray[np.float64] = np.divide(shared, joint, out=np.zeros_like(shared), where=joint > 0)
    return ious
