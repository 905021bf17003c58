"""YOLOv10 as Rockchip's exporter splits it: YOLOv8's maps, of which the best 300 cells are taken (rknn_model_zoo)."""

from __future__ import annotations

import msgspec
import numpy as np

from camagent.frame import Candidates, FloatArray
from camagent.heads.base import Arrays, HeadContext, no_candidates, read_params
from camagent.heads.cells import ScoreKind, activated
from camagent.heads.levels import Cells, cell_grid, expected_bins, gather, planes, require_split, score_classes

_NAME = "yolov10-rknn"
_BOX = 64  # 4 sides x 16 bins
_MOST = 300  # cells, and then pairs of cell and class


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    scores: ScoreKind = "probabilities"


class YoloV10Rknn:
    """Decodes per level 1 x 64 x H x W (4 sides x 16 bins, logits) and 1 x classes x H x W (0..1), in any order.

    A third map per level, 1 x 1 x H x W, the clipped sum of the class scores, is left alone. As in the end-to-end graph, the
    300 best cells are taken, and of these the 300 best pairs of cell and class: a cell may be two things (rknn_model_zoo:
    examples/yolov10; THU-MIG/yolov10: ultralytics/utils/ops.py). Boxes as those of yolov8-rknn.
    """

    __slots__ = ("_grid", "_maps", "_params")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        self._maps = require_split(context, _NAME, (_BOX,))
        self._grid = cell_grid(context.width, context.height, self._maps.strides)

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Outputs, float, as checked. Boxes in pixels of the network input, by cell and class, not clipped."""
        maps = planes(outputs, self._maps.scores)
        found = score_classes(maps, self._params.scores, min_score)
        if not found.cells.size:
            return no_candidates(found.seen, found.score_max)
        cells = found.cells[_best(found.scores)]
        scores = activated(gather([plane.T for plane in maps], cells), self._params.scores)
        owners, class_ids = np.nonzero(scores >= min_score)
        best = _best(scores[owners, class_ids])
        owners, class_ids = owners[best], class_ids[best]
        distances = expected_bins(gather([plane.T for plane in planes(outputs, self._maps.boxes)], cells))
        boxes = self._grid.boxes(cells, distances)[owners]
        return Candidates(boxes, scores[owners, class_ids], class_ids, seen=found.seen, score_max=found.score_max)


def _best(scores: FloatArray) -> Cells:
    """Indices of the best 300, ascending; the first of equals."""
    if len(scores) <= _MOST:
        return np.arange(len(scores))
    return np.sort(np.argsort(-scores, kind="stable")[:_MOST])
