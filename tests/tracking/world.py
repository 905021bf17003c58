"""Boxes that move, each with an identity, and nearer ones that hide them: what a tracker is to find out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Place = tuple[float, float]

WIDTH, HEIGHT = 1280.0, 720.0
SHOWS = 0.25  # of an object: with less in sight, or in the picture, it is not there
_GRID = 12  # samples per side of a box


@dataclass(frozen=True, slots=True)
class Actor:
    """Something that moves. `path` gives the middle of its foot, pixels, at a time in seconds."""

    path: Callable[[float], Place]
    size: Place  # width and height, pixels
    class_id: int = 0
    begins: float = 0.0
    ends: float = float("inf")
    score: float = 0.75  # what a detector makes of it in full view
    scenery: bool = False  # hides others and is nothing itself


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What is there at one moment."""

    ids: NDArray[np.int64]  # (n,)
    boxes: Array  # (n, 4) x1 y1 x2 y2, pixels, inside the picture
    class_ids: NDArray[np.int64]
    visible: Array  # (n,) share of the box that nobody hides, SHOWS to 1
    scores: Array  # (n,) see Actor.score


def straight(start: Place, speed: Place, begins: float = 0.0) -> Callable[[float], Place]:
    """Walks on and on."""
    return lambda at: (start[0] + speed[0] * (at - begins), start[1] + speed[1] * (at - begins))


def along(points: Sequence[tuple[float, float, float]]) -> Callable[[float], Place]:
    """Through (time, x, y), straight in between, still before and after."""
    times, xs, ys = (np.array(column) for column in zip(*points, strict=True))
    return lambda at: (float(np.interp(at, times, xs)), float(np.interp(at, times, ys)))


def truth_at(actors: Sequence[Actor], at: float) -> Truth:
    """Who can be seen. Of two that overlap, the one whose foot is lower in the picture is nearer."""
    present = [(index, actor) for index, actor in enumerate(actors, 1) if actor.begins <= at < actor.ends]
    whole = {index: _box(actor, at) for index, actor in present}
    kept: list[tuple[int, Actor, Array, float]] = []
    for index, actor in present:
        inside = np.clip(whole[index], 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
        share = _area(inside) / _area(whole[index])
        nearer = [whole[other] for other, _ in present if other != index and whole[other][3] > whole[index][3]]
        visible = _visible(inside, nearer) if share >= SHOWS else 0.0
        if not actor.scenery and visible >= SHOWS:
            kept.append((index, actor, inside, visible))
    return Truth(
        np.array([index for index, *_ in kept], np.int64),
        np.array([box for *_, box, _ in kept], np.float64).reshape(-1, 4),
        np.array([actor.class_id for _, actor, *_ in kept], np.int64),
        np.array([visible for *_, visible in kept], np.float64),
        np.array([actor.score for _, actor, *_ in kept], np.float64),
    )


def _box(actor: Actor, at: float) -> Array:
    x, y = actor.path(at)
    width, height = actor.size
    return np.array([x - width / 2, y - height, x + width / 2, y])


def _area(box: Array) -> float:
    return float(max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]))


def _visible(box: Array, nearer: Sequence[Array]) -> float:
    if not nearer or not _area(box):
        return float(_area(box) > 0)
    x = box[0] + (np.arange(_GRID) + 0.5) / _GRID * (box[2] - box[0])
    y = box[1] + (np.arange(_GRID) + 0.5) / _GRID * (box[3] - box[1])
    hidden = np.zeros((_GRID, _GRID), bool)
    for other in nearer:
        hidden |= ((x > other[0]) & (x < other[2]))[None, :] & ((y > other[1]) & (y < other[3]))[:, None]
    return float(1 - hidden.mean())
