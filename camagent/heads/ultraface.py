"""UltraFace: a small SSD that sees faces only (github Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB)."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from camagent.backends import TensorSpec
from camagent.frame import Candidates
from camagent.heads.base import (
    Arrays,
    HeadContext,
    best_score,
    describe,
    no_candidates,
    read_params,
    require_classes,
    require_outputs,
)
from camagent.heads.cells import as_float32, count_seen

_NAME = "ultraface"


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    background: Literal[0, 1] = 0  # which of the two score columns is not the face


class UltraFace:
    """Decodes scores 1 x N x 2 (background, face; softmaxed, 0..1) and boxes 1 x N x 4 (x1 y1 x2 y2, 0..1 of the picture).

    The priors are applied in the graph. The two outputs are told apart by their shape, since exporters order them as they like
    (Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB: vision/ssd/ssd.py, vision/ssd/predictor.py).
    """

    __slots__ = ("_boxes", "_face", "_scale", "_scores")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch unless there is exactly one label."""
        params = read_params(context, _Params, _NAME)
        self._face = 1 - params.background
        scores, boxes = _with_last(context, 2), _with_last(context, 4)
        fits = len(context.outputs) == 2 and len(scores) == len(boxes) == 1
        fits = fits and _same_rows(context.outputs[scores[0]], context.outputs[boxes[0]])
        require_outputs(context, _NAME, "two outputs, scores 1 x N x 2 and boxes 1 x N x 4", fits=fits)
        require_classes(context, _NAME, 1, f"{describe([context.outputs[scores[0]]])}: background and face")
        self._scores, self._boxes = scores[0], boxes[0]
        self._scale = np.array([context.width, context.height] * 2, dtype=np.float32)

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Two outputs, float, as checked. Boxes in pixels of the network input, in prior order, not clipped."""
        scores = as_float32(outputs[self._scores])[0, :, self._face]
        seen, score_max = count_seen(scores), best_score(scores)
        kept = np.flatnonzero(scores >= min_score)
        if not kept.size:
            return no_candidates(seen, score_max)
        boxes = as_float32(outputs[self._boxes][0, kept]) * self._scale
        return Candidates(boxes, scores[kept], np.zeros(len(kept), np.int64), seen=seen, score_max=score_max)


def _with_last(context: HeadContext, size: int) -> list[int]:
    return [index for index, spec in enumerate(context.outputs) if len(spec.shape) == 3 and spec.shape[2] == size]


def _same_rows(scores: TensorSpec, boxes: TensorSpec) -> bool:
    return None in (scores.shape[1], boxes.shape[1]) or scores.shape[1] == boxes.shape[1]
