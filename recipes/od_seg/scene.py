"""Labelled pictures from seeds: one street per seed, or a street over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recipes.od_seg.classes import ROADS
from recipes.od_seg.paint import Painted, paint
from recipes.od_seg.weather import expose
from recipes.od_seg.world import Light, World, random_world

SIZE = (1280, 720)
_LEAST = 0.01  # of the picture's width: of what shows less in width or height there is no box
_VISIBLE = 0.3  # of an object's pixels that must show


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A picture and what is on it. Nothing is hidden in `boxes`: they hold what can be seen of an object, exactly."""

    picture: NDArray[np.uint8]  # (height, width, 3) red, green, blue
    boxes: NDArray[np.float32]  # (n, 4) x1 y1 x2 y2, pixels
    class_ids: NDArray[np.int64]  # (n,) places in the list of labels
    areas: NDArray[np.uint8]  # (height, width) places in the list of labels, BACKGROUND elsewhere
    who: NDArray[np.int64] | None = None  # (n,) numbers that last over a street's frames; None where nobody has them

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.picture.shape[1], self.picture.shape[0]


def scene(seed: int, size: tuple[int, int] = SIZE, *, light: Light | None = None) -> Sample:
    """The street of a seed, always the same picture; `size` is (width, height)."""
    return _taken(random_world(seed, light=light), size, 0.0, 0)


def moving_scene(
    seed: int, frames: int, fps: float, size: tuple[int, int] = SIZE, *, light: Light | None = None
) -> Iterator[Sample]:
    """The same street as time goes by: a clip's frames."""
    world = random_world(seed, light=light, moving=True)
    for index in range(frames):
        yield _taken(world, size, index / fps, index)


def _taken(world: World, size: tuple[int, int], seconds: float, index: int) -> Sample:
    painted = paint(world, size, seconds)
    boxes, class_ids, who = _boxes(painted)
    picture = expose(painted, world, np.random.default_rng([23, world.seed, index]))
    return Sample(picture, boxes, class_ids, painted.areas, who)


def _boxes(painted: Painted) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """The smallest box around every owner's pixels, its class and who it is; right and bottom edges are exclusive."""
    made, ids, who = [], [], []
    least = painted.owner.shape[1] * _LEAST
    for owner, (label, whole) in enumerate(zip(painted.labels, painted.whole, strict=True), 1):
        if label is None:
            continue
        mine = painted.owner == owner
        if np.count_nonzero(mine) < _VISIBLE * whole:
            continue
        rows, columns = np.flatnonzero(mine.any(axis=1)), np.flatnonzero(mine.any(axis=0))
        if len(rows) < least or len(columns) < least:
            continue
        made.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
        ids.append(ROADS.boxes.index(label))
        who.append(painted.who[owner - 1])
    return np.array(made, np.float32).reshape(-1, 4), np.array(ids, np.int64), np.array(who, np.int64)
