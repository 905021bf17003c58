"""Undecoded maps of three anchors per cell, as YOLOv5 and YOLOv7 have them: which outputs they are, and their boxes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from camagent.errors import HeadMismatch
from camagent.frame import Candidates, FloatArray, MaskParts
from camagent.heads.base import Arrays, HeadContext, describe, require_classes, require_outputs
from camagent.heads.cells import ScoreKind, as_float32, sigmoid
from camagent.heads.levels import CellGrid, Cells, Grid, by_stride, cell_grid, gather, grid_of, map_grids, score_objectness

Anchors = tuple[tuple[float, ...], ...]  # per level, the finest first: w h w h w h, pixels of the network input
Activation = Literal["auto", "none", "sigmoid"]  # the one that is still to be applied
Layout = Literal["channels", "rows"]  # 1 x 3 (5 + classes) x H x W, or 1 x 3 x H x W x (5 + classes)

COUNT = 3  # anchors per cell
BOX = 5  # values before the classes: x y w h, objectness
_SLACK = 0.05  # rounding of an int8 model's probabilities

# the models with a fourth level, trained at 1280 pixels, have the same anchors in both families
_FOUR: Anchors = (
    (19, 27, 44, 40, 38, 94), (96, 68, 86, 152, 180, 137), (140, 301, 303, 264, 238, 542), (436, 615, 739, 380, 925, 792),
)  # fmt: skip
YOLOV5: Mapping[int, Anchors] = {
    3: ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326)), 4: _FOUR,
}  # fmt: skip
YOLOV7: Mapping[int, Anchors] = {
    3: ((12, 16, 19, 36, 40, 28), (36, 75, 76, 55, 72, 146), (142, 110, 192, 243, 459, 401)), 4: _FOUR,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class AnchorMaps:
    """The maps, one per level. Cells are counted level by level, anchor by anchor, row by row."""

    outputs: tuple[int, ...]
    layout: Layout
    grid: CellGrid
    sizes: FloatArray  # (cells, 2) width and height of the cell's anchor, pixels

    def decode(
        self, outputs: Arrays, activation: Activation, min_score: float, masks: Callable[[Cells], MaskParts] | None = None
    ) -> Candidates:
        """Boxes in pixels of the network input, x1 y1 x2 y2, in cell order, not clipped. `masks` gives those of cells."""
        views = [view for index in self.outputs for view in anchor_views(as_float32(outputs[index])[0], self.layout)]
        kind: ScoreKind = (
            "logits" if activation == "sigmoid" or (activation == "auto" and are_logits(views)) else "probabilities"
        )
        found = score_objectness(views, kind, min_score)
        values = gather([view[:, :4] for view in views], found.cells)
        boxes = self._boxes(found.cells, sigmoid(values) if kind == "logits" else values)
        return found.candidates(boxes, masks(found.cells) if masks else None)

    def _boxes(self, cells: Cells, values: FloatArray) -> FloatArray:
        """Centre (2 v - 0.5 + cell) * stride, size (2 v)^2 * anchor (ultralytics/yolov5: models/yolo.py, Detect)."""
        with np.errstate(invalid="ignore", over="ignore"):
            center = (2 * values[:, :2] + self.grid.centers(cells, -0.5)) * self.grid.stride[cells, None]
            half = 0.5 * np.square(2 * values[:, 2:]) * self.sizes[cells]
            return np.concatenate([center - half, center + half], axis=1)


def find_maps(context: HeadContext, layout: Layout) -> tuple[dict[int, int], int] | None:
    """(stride -> output, values per anchor) where the outputs are one such map per level, in any order."""
    shapes = [spec.shape for spec in context.outputs]
    if layout == "channels":
        levels = by_stride(context, map_grids(context))
        sizes = {shape[1] for shape in shapes if len(shape) == 4}
    else:
        levels = by_stride(context, [_row_grid(shape) for shape in shapes])
        sizes = {COUNT * shape[4] if shape[4] is not None else None for shape in shapes if len(shape) == 5}
    size = sizes.pop() if len(sizes) == 1 else None
    if levels is None or size is None or size % COUNT or size <= COUNT * BOX or any(len(own) > 1 for own in levels.values()):
        return None
    return {stride: own[0] for stride, own in levels.items()}, size // COUNT


def require_maps(
    context: HeadContext, head: str, wanted: str, layout: Layout, anchors: Anchors | None, *, usual: Mapping[int, Anchors]
) -> AnchorMaps:  # fmt: skip
    """As find_maps, with `anchors`, or those that are usual for this many levels.

    Raises HeadMismatch for other outputs or anchors that do not go with them, LabelCountMismatch for another number of classes.
    """
    found = find_maps(context, layout)
    require_outputs(context, head, wanted, fits=found is not None)
    assert found is not None
    levels, values = found
    chosen = anchors if anchors is not None else usual.get(len(levels))
    _require_anchors(context, head, chosen, len(levels))
    assert chosen is not None
    words = f"{describe([context.outputs[next(iter(levels.values()))]])}: {COUNT} x (5 + classes)"
    require_classes(context, head, values - BOX, words)
    strides = tuple(levels)
    grid = cell_grid(context.width, context.height, strides, COUNT)
    per_level = [np.reshape(level, (COUNT, 2)) for level in chosen]
    counts = [math.prod(grid_of(context.width, context.height, stride)) for stride in strides]
    sizes = [np.repeat(level, count, axis=0) for level, count in zip(per_level, counts, strict=True)]
    return AnchorMaps(tuple(levels.values()), layout, grid, np.concatenate(sizes).astype(np.float32))


def _require_anchors(context: HeadContext, head: str, anchors: Anchors | None, levels: int) -> None:
    good = anchors is not None and len(anchors) == levels and all(len(level) == 2 * COUNT for level in anchors)
    if good and anchors is not None and all(math.isfinite(size) and size > 0 for level in anchors for size in level):
        return
    raise HeadMismatch(
        f"head {head!r} has no anchors for {levels} levels",
        evidence={"head wants": f"{levels} levels of 6 sizes above 0: w h w h w h", "anchors": anchors or "none are usual",
                  "model gives": describe(context.outputs)},
        fix="give the training's anchors as head.params.anchors, the finest level first, in pixels of the network input",
    )  # fmt: skip


def _row_grid(shape: Sequence[int | None]) -> Grid | None:
    if len(shape) != 5 or shape[0] not in (None, 1) or shape[1] != COUNT or shape[2] is None or shape[3] is None:
        return None
    return shape[2], shape[3]


def anchor_views(values: FloatArray, layout: Layout) -> list[FloatArray]:
    """A map without its batch -> (cells, values) per anchor, nothing copied where the runtime's memory is in order."""
    if layout == "rows":
        return list(values.reshape(COUNT, -1, values.shape[-1]))
    return [anchor.T for anchor in values.reshape(COUNT, len(values) // COUNT, -1)]


def are_logits(views: Sequence[FloatArray]) -> bool:
    """Whether the objectness holds values that are no probabilities: a grid of logits always has some below 0."""
    low = min(float(np.fmin.reduce(view[:, 4])) for view in views)
    high = max(float(np.fmax.reduce(view[:, 4])) for view in views)
    return low < -_SLACK or high > 1 + _SLACK
