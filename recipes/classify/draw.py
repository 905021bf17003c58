"""One picture from one seed: a thing on a belt, some rubbish beside it, and then light, blur and noise over everything."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from recipes.classify.pen import Pen
from recipes.classify.things import THINGS

SIDE = 128  # pixels of a picture
SPLITS = ("train", "val", "demo")  # a seed's first part: splits never share a picture
_FINER = 2
_ORDER = tuple(sorted(THINGS))


def picture(label: str, split: str, number: int, seed: int = 0) -> NDArray[np.uint8]:
    """(128, 128, 3), red first; the same for ever for the same arguments."""
    random = np.random.default_rng([SPLITS.index(split), seed, _ORDER.index(label), number])
    paper = _belt(random)
    solid = np.zeros(paper.shape[:2], np.uint8)
    for _ in range(int(random.integers(0, 4))):
        _scrap(paper, random)
    thing = np.zeros_like(paper)
    THINGS[label](Pen(thing, _place(random, len(paper)), random, solid))
    _cast(paper, solid, random)
    share = (solid / 255.0)[..., None]
    mixed = paper * (1 - share) + thing * share
    if random.random() < 0.4:
        _over(mixed, random)
    small = cv2.resize(mixed.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return _seen(small.astype(np.float32, copy=False), random)


def _belt(random: np.random.Generator) -> NDArray[np.uint8]:
    side = SIDE * _FINER
    base = random.uniform(40, 190) + random.normal(0, 14, 3)
    slope = np.linspace(-1, 1, side)[:, None, None] * random.normal(0, 20)
    coarse = cv2.resize(random.normal(0, 12, (8, 8, 1)), (side, side), interpolation=cv2.INTER_CUBIC)[..., None]
    return np.clip(base + slope + coarse + random.normal(0, 5, (side, side, 1)), 0, 255).astype(np.uint8)


def _place(random: np.random.Generator, side: int) -> NDArray[np.float64]:
    turn, size = random.uniform(0, 2 * np.pi), random.uniform(0.26, 0.42) * side
    squeeze = random.uniform(0.75, 1.0)  # seen from the side
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.diag([size, size * squeeze])
    return np.column_stack([axes, random.uniform(0.42, 0.58, 2) * side])


def _scrap(paper: NDArray[np.uint8], random: np.random.Generator) -> None:
    corners = random.uniform(0, len(paper), 2) + random.normal(0, 16, (int(random.integers(3, 6)), 2))
    cv2.fillPoly(paper, [corners.astype(np.int32)], random.uniform(30, 220, 3).tolist(), cv2.LINE_AA)


def _cast(paper: NDArray[np.uint8], solid: NDArray[np.uint8], random: np.random.Generator) -> None:
    """The shadow of the thing."""
    across, down = random.uniform(-8, 8, 2)
    moved = cv2.warpAffine(solid, np.array([[1, 0, across], [0, 1, down]]), solid.shape[::-1])
    dark = 1 - random.uniform(0.2, 0.6) * cv2.GaussianBlur(moved, (0, 0), 4)[..., None] / 255.0
    paper[:] = (paper * dark).astype(np.uint8)


def _over(mixed: NDArray[np.float64], random: np.random.Generator) -> None:
    """Something covers a corner of it."""
    side = len(mixed)
    start = random.uniform(0.15, 0.85, 2) * side
    end = start + random.normal(0, 0.3, 2) * side
    cv2.line(mixed, start.astype(int).tolist(), end.astype(int).tolist(), random.uniform(20, 230, 3).tolist(),
             int(random.integers(4, 18)), cv2.LINE_AA)  # fmt: skip


def _seen(small: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.uint8]:
    light = small * random.uniform(0.45, 1.25) * random.normal(1, 0.08, 3)
    if random.random() < 0.15:  # infrared light: no colours
        light = np.repeat(light.mean(axis=2, keepdims=True), 3, axis=2)
    blurred = cv2.GaussianBlur(light, (0, 0), random.uniform(0.3, 1.8))
    made: NDArray[np.uint8] = np.clip(blurred + random.normal(0, random.uniform(1, 12), blurred.shape), 0, 255).astype(np.uint8)
    return made
