"""UltraFace: a small SSD that sees faces only (github Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from camagent.frame import Candidates, FloatArray, TensorSpec
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
from camagent.heads.cells import BoxOrder, BoxUnit, as_float32, corners, count_seen, sigmoid, unit_scale

_NAME = "ultraface"


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    background: Literal[0, 1] = 0  # which of the two score columns is not the face
    boxes: BoxUnit = "normalized"
    order: BoxOrder = "xyxy"
    scores: Literal["probabilities", "logits"] = "probabilities"


class UltraFace:
    """Decodes scores 1 x N x 2 (background, face; softmaxed, 0..1) and boxes 1 x N x 4 (x1 y1 x2 y2, 0..1 of the picture).

    The priors are applied in the graph. The two outputs are told apart by their shape, since exporters order them as they like
    (Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB: vision/ssd/ssd.py, vision/ssd/predictor.py), and may be transposed.
    Exports that end elsewhere are told by `boxes`, `order` and `scores` (logits: a softmax over the two columns is missing).
    """

    __slots__ = ("_boxes", "_height", "_params", "_scores", "_width")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch unless there is exactly one label."""
        self._params = read_params(context, _Params, _NAME)
        self._width, self._height = context.width, context.height
        scores, boxes = _with_side(context, 2), _with_side(context, 4)
        fits = len(context.outputs) == 2 and len(scores) == len(boxes) == 1
        fits = fits and _same_rows(context.outputs[scores[0]], context.outputs[boxes[0]])
        require_outputs(context, _NAME, "two outputs, scores 1 x N x 2 and boxes 1 x N x 4", fits=fits)
        require_classes(context, _NAME, 1, f"{describe([context.outputs[scores[0]]])}: background and face")
        self._scores, self._boxes = scores[0], boxes[0]

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Two outputs, float, as checked. Boxes in pixels of the network input, in prior order, not clipped."""
        scores = self._faces(_by_row(outputs[self._scores][0], 2))
        seen, score_max = count_seen(scores), best_score(scores)
        kept = np.flatnonzero(scores >= min_score)
        if not kept.size:
            return no_candidates(seen, score_max)
        rows = _by_row(outputs[self._boxes][0], 4)
        scale = unit_scale(self._params.boxes, as_float32(rows[:, 0]), self._width, self._height)
        boxes = corners(as_float32(rows[kept]), scale, self._params.order)
        return Candidates(boxes, scores[kept], np.zeros(len(kept), np.int64), seen=seen, score_max=score_max)

    def _faces(self, columns: NDArray[Any]) -> FloatArray:
        background = self._params.background
        face = as_float32(columns[:, 1 - background])
        if self._params.scores == "probabilities":
            return face
        return sigmoid(face - as_float32(columns[:, background]))  # a softmax of two


def _by_row(output: NDArray[Any], columns: int) -> NDArray[Any]:
    return output if output.shape[1] == columns else output.T


def _rows(spec: TensorSpec, side: int) -> int | None:
    return spec.shape[1] if spec.shape[2] == side else spec.shape[2]


def _with_side(context: HeadContext, size: int) -> list[int]:
    """Outputs with that many columns or, where there are none, as many rows."""
    flat = [(index, spec.shape) for index, spec in enumerate(context.outputs) if len(spec.shape) == 3]
    by_row = [index for index, shape in flat if shape[2] == size]
    return by_row or [index for index, shape in flat if shape[1] == size]


def _same_rows(scores: TensorSpec, boxes: TensorSpec) -> bool:
    counts = {_rows(scores, 2), _rows(boxes, 4)}
    return None in counts or len(counts) == 1
