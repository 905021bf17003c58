"""PP-YOLOE as Paddle exports it: boxes decoded, with suppression in the graph or without (PaddlePaddle/PaddleDetection)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from camagent.frame import Candidates
from camagent.heads.base import Arrays, HeadContext, describe, read_params, require_classes, require_outputs
from camagent.heads.cells import (
    BoxUnit,
    ScoreKind,
    as_float32,
    corners,
    grid_cells,
    only_known_classes,
    rows_above,
    unit_scale,
)
from camagent.heads.levels import columns_of, score_classes

_NAME = "ppyoloe"
_BOX = 4
_COLUMNS = 6  # class score x1 y1 x2 y2


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boxes: BoxUnit = "pixels"
    scores: ScoreKind = "probabilities"  # of the forms without suppression


@dataclass(frozen=True, slots=True)
class _Form:
    """Which output is what. `suppressed` rows have a class each, `joined` ones all scores behind their box."""

    kind: Literal["suppressed", "joined", "pair"]
    boxes: int
    scores: int
    classes: int | None  # None where the outputs do not say
    by_row: bool = False


class PpYoloe:
    """Decodes M x 6 (class id, score, x1 y1 x2 y2) and a count; or 1 x N x 4 and 1 x classes x N; or 1 x N x (4 + classes).

    All boxes are x1 y1 x2 y2 in pixels of the picture, that is, of the network input divided by the graph's second input
    `scale_factor`, to which the backend gives 1; scores are 0..1 (PaddleDetection: ppdet/modeling/heads/ppyoloe_head.py,
    post_process; the forms are the default, exclude_nms and exclude_post_process). N = the cells of a pyramid. Where the
    outputs do not say how many classes there are, a row whose id is no label's is background: -1 marks Paddle's empty list.
    """

    __slots__ = ("_classes", "_form", "_height", "_params", "_width")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of classes."""
        self._params = read_params(context, _Params, _NAME)
        self._width, self._height, self._classes = context.width, context.height, context.classes
        form = _suppressed(context) or _joined(context) or _pair(context)
        grid = f"N cells of a pyramid over {context.width} x {context.height}"
        wanted = f"M x 6 and a count, or 1 x N x 4 and 1 x classes x N, or 1 x N x (4 + classes), {grid}"
        require_outputs(context, _NAME, wanted, fits=form is not None)
        assert form is not None
        self._form = form
        if form.classes is not None:
            require_classes(context, _NAME, form.classes, describe([context.outputs[form.scores]]))

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Outputs, float, as checked. Boxes in pixels of the network input, in row order, not clipped."""
        form, unit = self._form, self._params.boxes
        if form.kind == "suppressed":
            rows = as_float32(outputs[form.boxes])
            scores, class_ids = only_known_classes(rows[:, 0], rows[:, 1], self._classes)
            scale = unit_scale(unit, rows[:, 4], self._width, self._height)
            return rows_above(min_score, scores, class_ids, rows[:, 2:], scale, order="xyxy")
        boxes, given = as_float32(outputs[form.boxes])[0], as_float32(outputs[form.scores])[0]
        planes = columns_of(given) if form.by_row else given
        found = score_classes([planes[_BOX:] if form.kind == "joined" else planes], self._params.scores, min_score)
        scale = unit_scale(unit, boxes[:, 2], self._width, self._height)
        return found.candidates(corners(boxes[found.cells, :_BOX], scale, "xyxy"))


def _suppressed(context: HeadContext) -> _Form | None:
    rows = [index for index, spec in enumerate(context.outputs) if len(spec.shape) == 2 and spec.shape[1] == _COLUMNS]
    counts = [spec for spec in context.outputs if spec.shape in ((1,), (None,))]
    fits = len(rows) == 1 and len(counts) <= 1 and len(context.outputs) == 1 + len(counts)
    return _Form("suppressed", rows[0], rows[0], None) if fits else None


def _joined(context: HeadContext) -> _Form | None:
    shape = context.outputs[0].shape if len(context.outputs) == 1 else ()
    if len(shape) != 3 or shape[1] not in _known(context) or shape[2] is None or shape[2] <= _BOX:
        return None
    return _Form("joined", 0, 0, shape[2] - _BOX, by_row=True)


def _pair(context: HeadContext) -> _Form | None:
    """Boxes and scores, in any order; where the classes could be on either axis, the label count decides."""
    shapes = [spec.shape for spec in context.outputs]
    if len(shapes) != 2 or any(len(shape) != 3 for shape in shapes):
        return None
    found = []
    for boxes, scores in ((0, 1), (1, 0)):
        _, rows, four = shapes[boxes]
        _, first, second = shapes[scores]
        for classes, count, by_row in ((first, second, False), (second, first, True)):
            same = count is None or rows is None or count == rows
            if four == _BOX and classes is not None and same and {rows, count} <= _known(context):
                found.append(_Form("pair", boxes, scores, classes, by_row))
    return min(found, key=lambda form: form.classes != context.classes, default=None)


def _known(context: HeadContext) -> set[int | None]:
    return {None, *grid_cells(context.width, context.height)}
