"""The shipped model: LinkNet with a detection branch, boxes on one coarse grid and a map of the road (recipes/od_seg)."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np

from camagent.frame import NO_LABEL, FloatArray
from camagent.heads.anchors import BOX, Activation, are_logits
from camagent.heads.base import (
    Arrays,
    HeadContext,
    SemanticMap,
    Sighting,
    describe,
    read_params,
    require_classes,
    require_outputs,
)
from camagent.heads.cells import STRIDES, ScoreKind, as_float32, product, sigmoid
from camagent.heads.levels import CellGrid, Cells, cell_grid, gather, grid_of, score_objectness
from camagent.heads.maps import highest, logit, proportionate, share, strongest, within_unit

_NAME = "od-seg"


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boxes: Activation = "auto"  # the one that is still to be applied
    masks: Activation = "auto"
    mask_score: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5  # from which probability a pixel belongs to a class


class OdSeg:
    """Decodes boxes 1 x A (5 + D) x H x W on one grid of the network input and masks 1 x S x h x w on a finer one, all 0..1.

    The labels are those of the D box classes, then those of the S areas; background has none. A cell may see A objects, one
    after the other in the channels: x y w h, objectness, D classes, activated in the graph, so that one 8-bit scale fits all of
    them. Centre (2 v - 0.5 + cell) * stride, size v^2 * the input's; score = objectness * best class. A pixel belongs to its
    highest area where that reaches `mask_score`. Where the graph leaves a sigmoid out, values outside 0..1 tell so.
    """

    __slots__ = ("_boxes", "_classes", "_grid", "_masks", "_params", "_side", "_slots")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs or a wrong param, LabelCountMismatch for another number of labels."""
        self._params = read_params(context, _Params, _NAME)
        self._side = np.array([context.width, context.height], np.float32)
        maps = _maps(context)
        wanted = f"1 x A (5 + D) x H x W on a grid of {context.width} x {context.height} and a finer 1 x S x h x w"
        require_outputs(context, _NAME, wanted, fits=maps is not None)
        assert maps is not None
        self._boxes, self._masks, stride = maps
        channels, areas = (context.outputs[index].shape[1] for index in (self._boxes, self._masks))
        assert channels is not None
        assert areas is not None
        values = BOX + context.classes - areas
        whole = values > BOX and channels % values == 0 and context.classes < NO_LABEL
        sole = context.classes if whole else channels - BOX + areas  # labels of one object per cell, where A is not known
        require_classes(context, _NAME, sole, f"{describe(context.outputs)}: A (5 + D) and S, labels D + S")
        self._classes, self._slots = values - BOX, channels // values
        self._grid: CellGrid = cell_grid(context.width, context.height, (stride,), self._slots)

    def decode(self, outputs: Arrays, min_score: float) -> Sighting:
        """Two outputs, float, as checked. Boxes in pixels of the network input, by slot and cell, not clipped."""
        values = as_float32(outputs[self._boxes])[0]
        views = [slot.T for slot in values.reshape(self._slots, BOX + self._classes, -1)]
        kind: ScoreKind = "logits" if _open(self._params.boxes, wanted=are_logits(views)) else "probabilities"
        found = score_objectness(views, kind, min_score)
        raw = gather([view[:, :4] for view in views], found.cells)
        boxes = found.candidates(self._corners(found.cells, sigmoid(raw) if kind == "logits" else raw))
        return Sighting(boxes, self._map(as_float32(outputs[self._masks])[0]))

    def _corners(self, cells: Cells, values: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore", over="ignore"):
            center = product(2 * values[:, :2] + self._grid.centers(cells, -0.5), self._grid.stride[cells, None])
            half = 0.5 * np.square(values[:, 2:]) * self._side
            return np.concatenate([center - half, center + half], axis=1)

    def _map(self, planes: FloatArray) -> SemanticMap:
        ids, best, _ = strongest(planes, np.full(planes.shape[1:], -np.inf, np.float32))
        top = highest(best)
        logits = _open(self._params.masks, wanted=not within_unit(planes, top))
        floor = logit(self._params.mask_score) if logits else self._params.mask_score
        ids += np.uint8(self._classes - 1)
        np.copyto(ids, NO_LABEL, where=~(best >= floor))
        best_of_all = float(sigmoid(np.array([top], np.float32))[0]) if logits else top
        return SemanticMap(ids, share(best_of_all), NO_LABEL)


def _maps(context: HeadContext) -> tuple[int, int, int] | None:
    """The outputs that are boxes and masks, and the boxes' stride; None where they are something else."""
    shapes = [spec.shape for spec in context.outputs]
    if len(shapes) != 2 or any(len(shape) != 4 or shape[0] not in (None, 1) or None in shape[1:] for shape in shapes):
        return None
    boxes, masks = sorted((0, 1), key=lambda index: shapes[index][2] or 0)
    grids = {grid_of(context.width, context.height, stride): stride for stride in reversed(STRIDES)}
    stride = grids.get((shapes[boxes][2] or 0, shapes[boxes][3] or 0))
    finer = (shapes[boxes][2] or 0) < (shapes[masks][2] or 0)
    covers = finer and proportionate((shapes[masks][2], shapes[masks][3]), context)
    return (boxes, masks, stride) if stride is not None and covers and (shapes[boxes][1] or 0) > BOX else None


def _open(activation: Activation, *, wanted: bool) -> bool:
    """Whether a sigmoid is still to be applied."""
    return activation == "sigmoid" or (activation == "auto" and wanted)
