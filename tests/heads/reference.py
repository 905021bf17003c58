"""Every head once more, in plain loops and double precision: what the fast decoders must agree with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.frame import Candidates, Letterbox, TensorSpec
from camagent.heads.base import SEEN_SCORE, Arrays, Head, HeadContext, Sighting

Box = tuple[float, float, float, float]
ROUNDING = 1e-5  # scores this close to a threshold may fall on either side of it in float32


@dataclass(frozen=True)
class Cell:
    """One cell, decoded; a NaN score is background."""

    score: float
    class_id: int
    box: Box


def context(
    *shapes: Sequence[int | None],
    classes: int,
    size: tuple[int, int] = (64, 64),
    params: Mapping[str, Any] = MappingProxyType({}),
    dtype: str = "float32",
) -> HeadContext:
    """What a head is built from: outputs `a`, `b` .. of these shapes, a network input of `size` (width, height)."""
    specs = [TensorSpec(name, tuple(shape), dtype) for name, shape in zip(ascii_lowercase, shapes, strict=False)]
    return HeadContext(width=size[0], height=size[1], classes=classes, outputs=specs, params=params)


def check(
    head: Head, outputs: Arrays, cells: list[Cell], min_score: float, coefficients: Sequence[Sequence[float]] | None = None
) -> Candidates:
    """Asserts that a detection head finds what the loops found: the same cells in the same order.

    `coefficients`: per cell, of its mask; None for a family that has none.
    """
    scores = [cell.score for cell in cells if not math.isnan(cell.score)]
    while min_score and any(0 < abs(score - min_score) < ROUNDING for score in scores):
        min_score += 2 * ROUNDING
    decoded = head.decode(outputs, min_score)
    found = decoded.candidates if isinstance(decoded, Sighting) else decoded
    assert isinstance(found, Candidates)
    assert [array.dtype.name for array in (found.boxes, found.scores, found.class_ids)] == ["float32", "float32", "int64"]
    wanted = [cell for cell in cells if cell.score >= min_score]
    assert found.class_ids.tolist() == [cell.class_id for cell in wanted]
    np.testing.assert_allclose(found.scores, [cell.score for cell in wanted], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.boxes, np.reshape([cell.box for cell in wanted], (-1, 4)), rtol=1e-4, atol=1e-3)
    assert (found.masks is not None) == (coefficients is not None and bool(wanted))
    if coefficients is not None and found.masks is not None:
        own = [row for cell, row in zip(cells, coefficients, strict=True) if cell.score >= min_score]
        np.testing.assert_array_equal(found.masks.coefficients, np.array(own, np.float32))
    fewest, most = (sum(score >= SEEN_SCORE + margin for score in scores) for margin in (ROUNDING, -ROUNDING))
    assert fewest <= found.seen <= most
    assert math.isclose(found.score_max, max(scores, default=0.0), rel_tol=1e-5, abs_tol=1e-6)
    return found


def fastestdet(output: NDArray[Any], width: int, height: int) -> list[Cell]:
    """1 x (5 + classes) x rows x columns."""
    _, _, rows, columns = output.shape
    cells = []
    for row in range(rows):
        for column in range(columns):
            values = [float(value) for value in output[0, :, row, column]]
            best, class_id = first_best(values[5:])
            center_x, center_y = (math.tanh(values[1]) + column) / columns, (math.tanh(values[2]) + row) / rows
            box = from_center(center_x * width, center_y * height, sigmoid(values[3]) * width, sigmoid(values[4]) * height)
            cells.append(Cell(values[0] ** 0.6 * best**0.4, class_id, box))
    return cells


def yolov8(output: NDArray[Any], scale_x: float = 1.0, scale_y: float = 1.0) -> list[Cell]:
    """1 x (4 + classes) x N."""
    cells = []
    for cell in output[0].T:
        x, y, width, height, *classes = (float(value) for value in cell)
        best, class_id = first_best(classes)
        box = from_center(x * scale_x, y * scale_y, width * scale_x, height * scale_y)
        cells.append(Cell(best, class_id, box))
    return cells


def yolov5(output: NDArray[Any], scale_x: float = 1.0, scale_y: float = 1.0) -> list[Cell]:
    """1 x N x (5 + classes)."""
    cells = []
    for row in output[0]:
        x, y, width, height, objectness, *classes = (float(value) for value in row)
        best, class_id = first_best(classes)
        box = from_center(x * scale_x, y * scale_y, width * scale_x, height * scale_y)
        cells.append(Cell(objectness * best, class_id, box))
    return cells


def ultraface(scores: NDArray[Any], boxes: NDArray[Any], face: int, width: int, height: int) -> list[Cell]:
    """Scores 1 x N x 2, boxes 1 x N x 4."""
    cells = []
    for row, corners in zip(scores[0], boxes[0], strict=True):
        x1, y1, x2, y2 = (float(value) for value in corners)
        cells.append(Cell(float(row[face]), 0, (x1 * width, y1 * height, x2 * width, y2 * height)))
    return cells


def semantic(planes: NDArray[Any], probability: Callable[[list[float]], list[float]]) -> tuple[NDArray[np.uint8], float]:
    """(C, H, W) to ids and the highest probability of a class other than 0. NaN never wins."""
    _, height, width = planes.shape
    ids = np.zeros((height, width), np.uint8)
    top = 0.0
    for row in range(height):
        for column in range(width):
            values = [float(value) for value in planes[:, row, column]]
            for index, value in enumerate(values):
                if value > values[ids[row, column]] or (math.isnan(values[ids[row, column]]) and not math.isnan(value)):
                    ids[row, column] = index
            top = max([top, *(share for share in probability(values)[1:] if not math.isnan(share))])
    return ids, top


def softmax(values: list[float]) -> list[float]:
    known = [value for value in values if not math.isnan(value)]
    total = sum(math.exp(value - max(known)) for value in known)
    return [math.exp(value - max(known)) / total for value in values] if known else values


def nms(boxes: Sequence[Box], scores: Sequence[float], class_ids: Sequence[int], threshold: float) -> list[int]:
    """Greedy, one box at a time."""
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda i: -scores[i]):
        rivals = (other for other in kept if class_ids[other] == class_ids[index])
        if all(iou(boxes[index], boxes[other]) <= threshold for other in rivals):
            kept.append(index)
    return kept


def iou(a: Box, b: Box) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union else 1.0


def first_best(classes: Iterable[float]) -> tuple[float, int]:
    """The highest score and its index, the first of equals; NaN where one of them is."""
    best, class_id = -math.inf, 0
    for index, score in enumerate(classes):
        if math.isnan(score):
            return math.nan, 0
        if score > best:
            best, class_id = score, index
    return best, class_id


def from_center(x: float, y: float, width: float, height: float) -> Box:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def instance_probability(
    prototypes: NDArray[Any], coefficients: Sequence[float] | NDArray[Any], column: int, row: int, letterbox: Letterbox
) -> float:
    """How probably a source pixel belongs to an object: sigmoid on the grid, then bilinear between cells, clamped there."""
    count, rows, columns = prototypes.shape
    x = ((column + 0.5) * letterbox.scale_x + letterbox.offset_x) * columns / letterbox.network_width - 0.5
    y = ((row + 0.5) * letterbox.scale_y + letterbox.offset_y) * rows / letterbox.network_height - 0.5
    total = 0.0
    for below, share_y in ((0, 1 - (y - math.floor(y))), (1, y - math.floor(y))):
        for beside, share_x in ((0, 1 - (x - math.floor(x))), (1, x - math.floor(x))):
            at_y = min(max(math.floor(y) + below, 0), rows - 1)
            at_x = min(max(math.floor(x) + beside, 0), columns - 1)
            value = sum(float(coefficients[i]) * float(prototypes[i, at_y, at_x]) for i in range(count))
            total += share_y * share_x * sigmoid(value)
    return total
