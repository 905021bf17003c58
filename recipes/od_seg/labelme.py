"""Labelme files: one JSON beside each picture. Written with rectangles and masks, read with everything that has an inside."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from camagent.errors import InputError, printable
from recipes.od_seg.classes import BACKGROUND, Classes
from recipes.od_seg.scene import Sample

VERSION = "5.5.0"  # of Labelme, whose form this is: masks came with 5.2
_CORNERS = 24  # of a circle


class Shape(msgspec.Struct):
    """One thing that somebody drew; Labelme's other keys are left alone."""

    label: str
    points: list[tuple[float, float]]
    shape_type: str | None = "polygon"
    mask: str | None = None  # base64 of a PNG, 0 and 1, of the pixels from the first point to the second, both included


class Drawing(msgspec.Struct, rename={"picture": "imagePath", "width": "imageWidth", "height": "imageHeight"}):
    """A Labelme file."""

    shapes: list[Shape]
    picture: str
    width: Annotated[int, msgspec.Meta(ge=1)] | None = None
    height: Annotated[int, msgspec.Meta(ge=1)] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """What a Labelme file says, in the words of a sample."""

    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    areas: NDArray[np.uint8]


_DECODER = msgspec.json.Decoder(Drawing)


def document(sample: Sample, classes: Classes, picture: str) -> bytes:
    """A sample as the file that belongs beside `picture`: boxes as rectangles, areas as masks, to the pixel."""
    shapes = [_area(sample.areas == index, name) for index, name in enumerate(classes.areas, len(classes.boxes))]
    shapes += [_box(box, classes.labels[int(index)]) for box, index in zip(sample.boxes, sample.class_ids, strict=True)]
    width, height = sample.size
    whole: dict[str, Any] = {
        "version": VERSION, "flags": {}, "shapes": [shape for shape in shapes if shape], "imagePath": picture,
        "imageData": None, "imageHeight": height, "imageWidth": width,
    }  # fmt: skip
    return (json.dumps(whole, indent=1) + "\n").encode()


def read(path: Path) -> Drawing:
    """A Labelme file. Raises InputError where it is none."""
    try:
        return _DECODER.decode(path.read_bytes())
    except OSError as exc:
        raise InputError(f"{printable(path)} cannot be read: {exc.strerror}", fix="check the path and its rights") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InputError(f"{printable(path)} is no Labelme file: {printable(exc)}", fix="save it again with Labelme") from exc


def labels_of(drawing: Drawing, classes: Classes, size: tuple[int, int], name: str) -> Labels:
    """Boxes around the shapes of box classes, and the map of the areas, later shapes over earlier ones; `size` (width, height).

    Raises InputError for a label that is no class, or a shape that has no inside.
    """
    ids = {label: index for index, label in enumerate(classes.labels)}
    areas: NDArray[np.uint8] = np.full(size[::-1], BACKGROUND, np.uint8)
    boxes, class_ids = [], []
    for shape in drawing.shapes:
        if shape.label not in ids:
            raise InputError(
                f"{printable(name)} has the label {printable(shape.label)!r}, which is no class",
                evidence={"classes": ", ".join(classes.labels)}, fix="mend the label, or add it to dataset.toml",
            )  # fmt: skip
        if ids[shape.label] < len(classes.boxes):
            box = bounds(shape, size, name)
            if box[2] > box[0] and box[3] > box[1]:
                boxes.append(box)
                class_ids.append(ids[shape.label])
        else:
            _paint(areas, shape, ids[shape.label], name)
    return Labels(np.array(boxes, np.float32).reshape(-1, 4), np.array(class_ids, np.int64), areas)


def bounds(shape: Shape, size: tuple[int, int], name: str) -> tuple[float, float, float, float]:
    """The box around a shape, inside the picture. Raises InputError for a point or a line."""
    points = _outline(shape, name)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    if shape.shape_type == "mask":
        right, bottom = right + 1, bottom + 1
    return (float(np.clip(left, 0, size[0])), float(np.clip(top, 0, size[1])),
            float(np.clip(right, 0, size[0])), float(np.clip(bottom, 0, size[1])))  # fmt: skip


def _outline(shape: Shape, name: str) -> NDArray[np.float64]:
    points = np.array(shape.points, np.float64).reshape(-1, 2)
    least = _LEAST.get(shape.shape_type or "polygon")
    if least is None or len(points) < least or not np.isfinite(points).all():
        raise InputError(
            f"{printable(name)} has a {printable(shape.shape_type)} of {len(points)} points, which has no inside",
            evidence={"label": shape.label, "expected": ", ".join(_LEAST)}, fix="draw it again as a rectangle or polygon",
        )  # fmt: skip
    if shape.shape_type == "circle":
        (x, y), (rim_x, rim_y) = points
        angle = np.linspace(0, 2 * math.pi, _CORNERS, endpoint=False)
        radius = math.hypot(rim_x - x, rim_y - y)
        return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)
    if shape.shape_type == "rectangle":
        (x1, y1), (x2, y2) = points
        return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])
    return points


_LEAST: Mapping[str, int] = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 2}  # points


def _paint(areas: NDArray[np.uint8], shape: Shape, label: int, name: str) -> None:
    points = _outline(shape, name)
    if shape.shape_type != "mask":
        cv2.fillPoly(areas, [np.round(np.clip(points, -1e5, 1e5) * 16).astype(np.int32)], label, cv2.LINE_8, 4)
        return
    inside = _decoded(shape, name)
    left, top = np.round(points.min(axis=0)).astype(int)
    height, width = inside.shape
    y1, x1 = max(0, top), max(0, left)
    part = areas[y1 : max(y1, top + height), x1 : max(x1, left + width)]
    part[inside[y1 - top : y1 - top + part.shape[0], x1 - left : x1 - left + part.shape[1]]] = label


def _decoded(shape: Shape, name: str) -> NDArray[np.bool_]:
    try:
        data = np.frombuffer(base64.b64decode(shape.mask or "", validate=False), np.uint8)
        found = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if len(data) else None
    except (ValueError, cv2.error) as exc:
        raise _no_mask(shape, name) from exc
    if found is None:
        raise _no_mask(shape, name)
    made: NDArray[np.bool_] = np.asarray(found) > 0
    return made


def _no_mask(shape: Shape, name: str) -> InputError:
    return InputError(f"{printable(name)} has a mask that is no picture", evidence={"label": shape.label},
                      fix="draw it again with Labelme")  # fmt: skip


def _box(box: NDArray[np.float32], label: str) -> dict[str, Any]:
    x1, y1, x2, y2 = (round(float(value), 2) for value in box)
    return _shape(label, [[x1, y1], [x2, y2]], "rectangle")


def _area(inside: NDArray[np.bool_], label: str) -> dict[str, Any] | None:
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return None
    top, bottom, left, right = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    _, data = cv2.imencode(".png", inside[top : bottom + 1, left : right + 1].astype(np.uint8))
    return _shape(label, [[left, top], [right, bottom]], "mask") | {"mask": base64.b64encode(data.tobytes()).decode()}


def _shape(label: str, points: list[list[float]] | list[list[int]], kind: str) -> dict[str, Any]:
    return {
        "label": label,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": None,
    }
