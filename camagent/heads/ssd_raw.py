"""SSD as it leaves the network: offsets from priors, and confidences with a background; no suppression (Liu et al., 2016)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec
import numpy as np

from camagent.errors import HeadMismatch
from camagent.frame import Candidates, FloatArray
from camagent.heads.base import (
    SEEN_SCORE,
    Arrays,
    HeadContext,
    best_score,
    describe,
    no_candidates,
    read_params,
    require_classes,
    require_outputs,
)
from camagent.heads.cells import as_float32, corners, count_seen, sigmoid
from camagent.heads.levels import Cells, columns_of
from camagent.heads.maps import highest, within_unit
from camagent.heads.priors import PRESETS, Level, Preset, boxes_of

_NAME = "ssd-raw"
_BOX = 4

Positive = Annotated[float, msgspec.Meta(gt=0)]


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    priors: Literal["auto", "tensorflow", "caffe", "torchvision"] | tuple[Level, ...] = "auto"
    order: Literal["auto", "yxhw", "xywh"] = "auto"  # of the four offsets
    variances: tuple[Positive, Positive, Positive, Positive] = (10.0, 10.0, 5.0, 5.0)  # in that order
    activation: Literal["auto", "none", "softmax", "sigmoid"] = "auto"  # the one that is still to be applied


class SsdRaw:
    """Decodes locations 1 x N x 4 (or 1 x N x 1 x 4) and confidences 1 x N x (1 + classes), the first being the background.

    Centre = prior centre + offset / 10 * prior size, size = prior size * exp(offset / 5); score = best class but the background
    (Liu et al., SSD, 2016; TensorFlow: box_coders/faster_rcnn_box_coder.py). The priors are those of a known network, told by
    their number, or `priors`. Confidences outside 0..1 are logits; of a softmax unless `activation` says sigmoid.

    A softmax gives a class no more than it has against the background alone, so only cells in which that is enough get one.
    """

    __slots__ = ("_confidences", "_height", "_locations", "_order", "_params", "_priors", "_width")

    def __init__(self, context: HeadContext) -> None:
        """Raises HeadMismatch for other outputs, wrong params or unknown priors, LabelCountMismatch for other classes."""
        self._params = read_params(context, _Params, _NAME)
        self._width, self._height = context.width, context.height
        sides = [tuple(side for side in spec.shape[1:] if side != 1) for spec in context.outputs]
        pairs = [
            (locations, 1 - locations)
            for locations in (0, 1)
            if len(sides) == 2 and all(len(side) == 2 for side in sides) and sides[locations][1] == _BOX
        ]
        pairs = [pair for pair in pairs if sides[0][0] == sides[1][0] is not None and (sides[pair[1]][1] or 0) > 1]
        require_outputs(context, _NAME, "locations 1 x N x 4 and confidences 1 x N x (1 + classes)", fits=bool(pairs))
        fitting = [pair for pair in pairs if sides[pair[1]][1] == 1 + context.classes]
        self._locations, self._confidences = (fitting or pairs)[0]
        count, columns = sides[self._confidences]
        assert count is not None
        assert columns is not None
        preset = _preset(context, self._params.priors, count)
        self._priors = boxes_of(preset.levels)
        self._order = preset.order if self._params.order == "auto" else self._params.order
        where = f"{describe([context.outputs[self._confidences]])}: background and classes"
        require_classes(context, _NAME, columns - 1, where)

    def decode(self, outputs: Arrays, min_score: float) -> Candidates:
        """Two outputs, float, as checked. Boxes in pixels of the network input, in prior order, not clipped."""
        given = as_float32(outputs[self._confidences])
        planes = columns_of(given.reshape(len(self._priors), -1))
        best = planes[1:].max(axis=0)
        activation = self._params.activation
        if activation == "auto":
            activation = "none" if within_unit(planes, highest(planes)) else "softmax"
        floor = min(min_score, SEEN_SCORE)
        scores = (
            _softmax(planes, best, floor) if activation == "softmax" else sigmoid(best) if activation == "sigmoid" else best
        )
        seen, score_max = count_seen(scores), best_score(scores)
        kept = np.flatnonzero(scores >= min_score)
        if not kept.size:
            return no_candidates(seen, score_max)
        boxes = self._boxes(as_float32(outputs[self._locations]).reshape(-1, _BOX), kept)
        return Candidates(boxes, scores[kept], planes[1:, kept].argmax(axis=0), seen=seen, score_max=score_max)

    def _boxes(self, locations: FloatArray, kept: Cells) -> FloatArray:
        priors = self._priors[kept]
        with np.errstate(invalid="ignore", over="ignore"):
            offsets = locations[kept] / np.array(self._params.variances, np.float32)
            if self._order == "yxhw":
                offsets = offsets[:, [1, 0, 3, 2]]
            center = priors[:, :2] + offsets[:, :2] * priors[:, 2:]
            size = priors[:, 2:] * np.exp(offsets[:, 2:])
            found = np.concatenate([center, size], axis=1)
        return corners(found, np.array([self._width, self._height] * 2, np.float32))


def _softmax(planes: FloatArray, best: FloatArray, floor: float) -> FloatArray:
    """The softmax of `best`, (n,), where it may reach `floor`, or else where it may be the highest; NaN elsewhere."""
    with np.errstate(invalid="ignore", over="ignore"):
        most = np.nan_to_num(sigmoid(best - planes[0]), nan=-1.0)
    scores = np.full(best.shape, np.nan, np.float32)
    likely = np.flatnonzero(most >= floor)
    scores[likely] = _probability(planes, best, likely)
    if best_score(scores) < floor:
        top = np.array([most.argmax()])
        scores[top] = _probability(planes, best, top)
        rivals = np.flatnonzero(most > best_score(scores))
        scores[rivals] = _probability(planes, best, rivals)
    return scores


def _probability(planes: FloatArray, best: FloatArray, cells: Cells) -> FloatArray:
    with np.errstate(invalid="ignore", over="ignore"):
        odds: FloatArray = 1 / np.exp(planes[:, cells] - best[cells]).sum(axis=0)
    return odds


def _preset(context: HeadContext, priors: str | tuple[Level, ...], count: int) -> Preset:
    """Priors as many as there are rows. Raises HeadMismatch where there are none."""
    if isinstance(priors, str):
        made = {name: make(context.width, context.height) for name, make in PRESETS.items() if priors in ("auto", name)}
    else:
        made = {"head.params": Preset(priors, "yxhw")}
    counts = {name: sum(math.prod(level.grid) * len(level.sizes) for level in preset.levels) for name, preset in made.items()}
    found = next((name for name, number in counts.items() if number == count), None)
    if found is None:
        raise HeadMismatch(
            f"head {_NAME!r} has no priors for {count} rows",
            evidence={"model gives": describe(context.outputs),
                      "priors": "; ".join(f"{name}: {number}" for name, number in counts.items())},
            fix="give the training's as head.params.priors: per level grid [rows, columns] and sizes [[width, height], ..], "
            "in 0..1",
        )  # fmt: skip
    return made[found]
