"""What the network should say to a sample: the head's arithmetic (camagent/heads/od_seg.py), backwards."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from recipes.od_seg import shape
from recipes.od_seg.classes import BACKGROUND, Classes
from recipes.od_seg.scene import Sample


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Cells that should see an object, and the areas."""

    cells: NDArray[np.int64]  # (n, 3) slot, row, column
    boxes: NDArray[np.float32]  # (n, 4) x1 y1 x2 y2, pixels of the input
    class_ids: NDArray[np.int64]  # (n,)
    areas: NDArray[np.uint8]  # MAP, places in the list of labels, BACKGROUND elsewhere


def fitted(sample: Sample) -> Sample:
    """The picture as the network gets it, letterboxed; boxes in its pixels, areas on the map's grid."""
    width, height = sample.size
    scale = min(shape.WIDTH / width, shape.HEIGHT / height)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (shape.WIDTH - wide) // 2, (shape.HEIGHT - high) // 2
    picture: NDArray[np.uint8] = np.full((shape.HEIGHT, shape.WIDTH, 3), shape.PAD, np.uint8)
    picture[top : top + high, left : left + wide] = cv2.resize(sample.picture, (wide, high), interpolation=cv2.INTER_AREA)
    boxes = sample.boxes * np.array([wide / width, high / height] * 2, np.float32) + np.array([left, top] * 2, np.float32)
    return Sample(picture, boxes.astype(np.float32), sample.class_ids, _areas(sample.areas, (left, top, wide, high)))


def encode(sample: Sample) -> Targets:
    """A fitted sample -> its targets. The cell of an object's centre sees it, and the nearest beside and above or below."""
    taken: dict[tuple[int, int, int], int] = {}
    order = np.argsort(-_size(sample.boxes), kind="stable")  # a smaller object takes a place from a larger one
    for index in order:
        for cell in _neighbours(sample.boxes[index]):
            taken[cell] = int(index)
    for index in order:  # an object's own cell is nobody else's, while there is a slot
        slot, row, column = _own(sample.boxes[index])
        other = (1 - slot, row, column)
        claimed = taken.get((slot, row, column))
        if claimed is not None and claimed != index and _own(sample.boxes[claimed])[1:] == (row, column):
            taken[other] = claimed
        taken[slot, row, column] = int(index)
    cells = np.array(list(taken), np.int64).reshape(-1, 3)
    owners = np.array(list(taken.values()), np.int64)
    return Targets(cells, sample.boxes[owners].reshape(-1, 4), sample.class_ids[owners], sample.areas)


def as_outputs(targets: Targets, classes: Classes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The outputs of a network that has learned everything: boxes (1, A (5 + D), H, W) and masks (1, S, h, w), 0..1."""
    rows, columns = shape.GRID
    values = np.zeros((shape.SLOTS, shape.BOX + len(classes.boxes), rows, columns), np.float32)
    middle = (targets.boxes[:, :2] + targets.boxes[:, 2:]) / 2 / shape.STRIDE
    side = (targets.boxes[:, 2:] - targets.boxes[:, :2]) / np.array([shape.WIDTH, shape.HEIGHT])
    slot, row, column = targets.cells.T
    values[slot, 0, row, column] = (middle[:, 0] - column + 0.5) / 2
    values[slot, 1, row, column] = (middle[:, 1] - row + 0.5) / 2
    values[slot, 2:4, row, column] = np.sqrt(np.clip(side, 0, 1))
    values[slot, 4, row, column] = 1.0
    values[slot, shape.BOX + targets.class_ids, row, column] = 1.0
    ids = len(classes.boxes) + np.arange(len(classes.areas))
    masks = (targets.areas[None] == ids[:, None, None]).astype(np.float32)
    return values.reshape(1, -1, rows, columns), masks[None]


def _areas(areas: NDArray[np.uint8], place: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Each cell of the map takes what lies under its middle."""
    left, top, wide, high = place
    made: NDArray[np.uint8] = np.full(shape.MAP, BACKGROUND, np.uint8)
    rows, columns = ((np.arange(count) + 0.5) * shape.MASK_STRIDE for count in shape.MAP)
    y, x = (rows - top) * areas.shape[0] / high, (columns - left) * areas.shape[1] / wide
    inside_y, inside_x = (y >= 0) & (y < areas.shape[0]), (x >= 0) & (x < areas.shape[1])
    made[np.ix_(inside_y, inside_x)] = areas[np.ix_(y[inside_y].astype(np.int64), x[inside_x].astype(np.int64))]
    return made


def _own(box: NDArray[np.float32]) -> tuple[int, int, int]:
    """Slot, row and column of the cell that holds its centre."""
    x, y = (float(value) / shape.STRIDE for value in (box[:2] + box[2:]) / 2)
    rows, columns = shape.GRID
    slot = int(float(_size(box[None])[0]) >= shape.LARGE)
    return slot, min(rows - 1, max(0, int(y))), min(columns - 1, max(0, int(x)))


def _neighbours(box: NDArray[np.float32]) -> list[tuple[int, int, int]]:
    slot, row, column = _own(box)
    x, y = (float(value) / shape.STRIDE for value in (box[:2] + box[2:]) / 2)
    beside = column + (1 if x - column > 0.5 else -1)
    above = row + (1 if y - row > 0.5 else -1)
    made = [(slot, row, beside), (slot, above, column)]
    return [(slot, r, c) for slot, r, c in made if 0 <= r < shape.GRID[0] and 0 <= c < shape.GRID[1]]


def _size(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    made: NDArray[np.float32] = np.sqrt(sides[:, 0] * sides[:, 1])
    return made
