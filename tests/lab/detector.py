"""Tensor -> blobs, as a network trained on one kind of input sees them: another scale or order, and the scores drop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.lab.scene import COLOURS
from tests.lab.spec import ModelSpec, Wanted

_EDGE, _FAINT = 0.3, 0.06  # a pixel that matches less belongs to the ground; where nothing matches well, half as well will do
_FILLED = {"disc": 0.72, "bell": 0.58}  # share of its box that a thing covers, at least
_LEAN = 0.09  # of its height: how far a bell's weight lies below the middle


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What the network sees, in its own pixels."""

    boxes: NDArray[np.float32]  # (n, 4) x1 y1 x2 y2
    scores: NDArray[np.float32]  # (n,)
    ids: NDArray[np.int64]  # (n,)
    planes: NDArray[np.float32]  # (classes, height, width): how well each pixel matches each class, 0..1
    tone: NDArray[np.float32]  # (height, width) 0..1: how bright it is there; what background answers depend on


def detect(tensor: NDArray[Any], spec: ModelSpec) -> Found:
    """Finds blobs in a tensor that is taken to be what the network was trained on."""
    pixels = believed(tensor, spec.wanted)
    planes = _matches(pixels, spec)
    seen = [(box, score, index) for index, plane in enumerate(planes) for box, score in _blobs(plane, spec)]
    boxes = np.array([box for box, _, _ in seen], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in seen], np.float32)
    grey = cv2.transform(pixels, np.array([[1 / 3, 1 / 3, 1 / 3, -0.5]], np.float32))
    tone = np.float32(0.5) + np.float32(0.5) * grey / (1 + np.abs(grey))  # saturates nowhere: no two inputs look the same
    return Found(boxes, scores, np.array([index for _, _, index in seen], np.int64), planes, tone)


def believed(tensor: NDArray[Any], wanted: Wanted) -> NDArray[np.float32]:
    """The picture (height, width, 3), RGB, 1.0 = white, that this tensor would be if it had been prepared as in training."""
    values = tensor[0].astype(np.float32)
    if not np.isfinite(values.sum(dtype=np.float64)):
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    if wanted.layout == "nchw":
        values = values.transpose(1, 2, 0)
    mean, std = np.array(wanted.mean, np.float32), np.array(wanted.std, np.float32)
    pixels: NDArray[np.float32] = (values * std + mean) / np.float32(wanted.scale * 255)
    return np.ascontiguousarray(pixels[:, :, ::-1] if wanted.color == "bgr" else pixels)


def _matches(pixels: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float32]:
    """(classes, height, width): exp(-d^2 / 2 s), d the distance of a pixel from a class's colour."""
    colours = np.array([COLOURS[name] for name in spec.classes], np.float32) / 255
    length = cv2.transform(pixels * pixels, np.ones((1, 3), np.float32))
    rows = np.hstack([-2 * colours, (colours**2).sum(axis=1, keepdims=True)]).astype(np.float32)
    away = cv2.transform(pixels, rows).reshape(*length.shape[:2], len(colours))
    near = np.minimum((away + length[:, :, None]) / np.float32(2 * spec.spread), np.float32(50))
    return np.ascontiguousarray(np.exp(-near).transpose(2, 0, 1))


def _blobs(plane: NDArray[np.float32], spec: ModelSpec) -> list[tuple[tuple[float, float, float, float], float]]:
    edge = min(_EDGE, max(_FAINT, float(plane.max()) / 2))
    mask = (plane > edge).astype(np.uint8)
    count, marks, stats, weights = cv2.connectedComponentsWithStats(mask, connectivity=8)
    found = []
    for index in range(1, count):
        x, y, width, height, area = (int(value) for value in stats[index])
        if area < 3:
            continue
        inside = plane[y : y + height, x : x + width][marks[y : y + height, x : x + width] == index]
        score = spec.gain * min(1.0, 1.04 * float(inside.mean())) * _shape(width, height, area, spec)
        if spec.shape == "bell":
            across, down = float(weights[index][0]) - x + 0.5, float(weights[index][1]) - y + 0.5
            score *= _upright(across / width - 0.5, down / height - 0.5, spec)
        found.append(((float(x), float(y), float(x + width), float(y + height)), score))
    return found


def _shape(width: int, height: int, area: int, spec: ModelSpec) -> float:
    """How much this looks like the round things of the training pictures, 0..1."""
    squeezed = math.log(width / height / spec.prior) / spec.leeway
    size = 1 - math.exp(-((area**0.5 / spec.smallest) ** 2))
    return size * math.exp(-(squeezed**2) / 2) * min(1.0, area / (_FILLED[spec.shape] * width * height))


def _upright(right: float, down: float, spec: ModelSpec) -> float:
    """How much it stands as in training, 0..1; from where its weight lies, as shares of its box from the middle."""
    return math.exp(-((right / spec.upright) ** 2 + ((down - _LEAN) / spec.upright) ** 2) / 2)
