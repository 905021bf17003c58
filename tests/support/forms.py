"""The forms of shared reference/empty_detection_faults.md section 4, NanoDet per stride and UltraFace: 36 small networks.

Every network gives a background as its family has it, and, where its picture shows the planted things, those too. What it
gives for them is written down here from the families' own definitions, with nothing of the agent's decoders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tests.support.exports import Ending

Array = NDArray[Any]
Outputs = dict[str, Array]
Size = tuple[int, int]  # width, height

COCO_LIKE = ("person", "bicycle", "car", "motorcycle", "airplane", "bus", *(f"thing {i}" for i in range(6, 80)))
PERSON, BUS = 0, 5
# centre and size of what is planted, in shares of the picture
PLANTED = ((0.25, 0.55, 0.12, 0.30, PERSON), (0.60, 0.60, 0.10, 0.34, PERSON), (0.55, 0.25, 0.40, 0.22, BUS))
V5 = ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326))
V7 = ((12, 16, 19, 36, 40, 28), (36, 75, 76, 55, 72, 146), (142, 110, 192, 243, 459, 401))
STRIDES = (8, 16, 32)
LIKELY = 0.9


@dataclass(frozen=True)
class Thing:
    """One planted object: centre and size in pixels of the network input."""

    x: float
    y: float
    width: float
    height: float
    label: int

    @property
    def corners(self) -> tuple[float, float, float, float]:
        half_x, half_y = self.width / 2, self.height / 2
        return self.x - half_x, self.y - half_y, self.x + half_x, self.y + half_y


@dataclass
class Stage:
    """What a form is drawn on. `things` is empty for the background alone."""

    size: Size
    classes: int
    things: Sequence[Thing]
    rng: np.random.Generator


@dataclass(frozen=True)
class Form:
    name: str
    head: str
    make: Callable[[Stage], Outputs]
    size: Size = (320, 320)
    labels: Sequence[str] = COCO_LIKE
    declared: str = "person:2,bus"
    inputs: Mapping[str, int] = field(default_factory=dict)  # beside the picture: name -> type
    decided: bool = True  # False: by its outputs and the labels alone, nobody can tell


# -- networks -----------------------------------------------------------------------------------------------------------------


def things_of(form: Form) -> list[Thing]:
    width, height = form.size
    known = [thing for thing in PLANTED if thing[4] < max(1, len(form.labels))]
    return [Thing(x * width, y * height, w * width, h * height, label) for x, y, w, h, label in known]


def picture(form: Form, *, empty: bool = False) -> NDArray[np.uint8]:
    """RGB, of the network's size: red where something is planted."""
    pixels = np.full((form.size[1], form.size[0], 3), 90, np.uint8)
    for thing in [] if empty else things_of(form):
        x1, y1, x2, y2 = (round(value) for value in thing.corners)
        cv2.rectangle(pixels, (x1, y1), (x2, y2), (220, 30, 30), cv2.FILLED)
    return pixels


def outputs(form: Form, seed: int, *, planted: int | None = None) -> Outputs:
    """What the form gives for the first `planted` things, all of them unless said."""
    stage = Stage(form.size, len(form.labels), things_of(form)[:planted], np.random.default_rng(seed))
    return form.make(stage)


def noise(form: Form, seed: int) -> Outputs:
    """Outputs of the form's shapes that say nothing."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.random(array.shape).astype(np.float32) if array.dtype.kind == "f" else rng.integers(0, 9, array.shape)
        for name, array in outputs(form, seed).items()
    }


def write(form: Form, path: Path, seed: int) -> Path:
    """A network that gives the background, and each planted thing where its picture is red enough there."""
    things = things_of(form)
    return network(form, path, [outputs(form, seed, planted=count) for count in range(len(things) + 1)])


def network(form: Form, path: Path, steps: Sequence[Outputs]) -> Path:
    """Gives the first step for a grey picture, and the difference to each further one where its thing's place is red."""
    graph = Ending()
    weight = graph.constant("redness", np.array([1, -0.5, -0.5], np.float32).reshape(1, 3, 1, 1))
    graph.add("Conv", ["images", weight], "red")
    gates = [_gate(graph, index, thing) for index, thing in enumerate(things_of(form)[: len(steps) - 1])]
    for name, array in steps[0].items():
        whole = array.dtype.kind != "f"
        total = graph.constant(f"{name} quiet", array.astype(np.float32))
        for index, gate in enumerate(gates):
            change = steps[index + 1][name].astype(np.float32) - steps[index][name].astype(np.float32)
            moved = graph.add("Mul", [gate, graph.constant(f"{name} change {index}", change)], f"{name} moved {index}")
            total = graph.add("Add", [total, moved], f"{name} sum {index}")
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        graph.add("Cast" if whole else "Identity", [total], name, **({"to": kind} if whole else {}))
        graph.outputs[name] = array.shape
    width, height = form.size
    types = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in steps[0].items()}
    made = helper.make_graph(
        graph.nodes, form.name,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, height, width]),
         *(helper.make_tensor_value_info(name, kind, [1, 2]) for name, kind in form.inputs.items())],
        [helper.make_tensor_value_info(name, types[name], list(shape)) for name, shape in graph.outputs.items()],
        graph.constants,
    )  # fmt: skip
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def _gate(graph: Ending, index: int, thing: Thing) -> str:
    """1 where the middle of a thing's place is red, 0 where it is grey."""
    (x1, y1), (x2, y2) = (np.round([thing.x + sign * thing.width / 4, thing.y + sign * thing.height / 4]) for sign in (-1, 1))
    bounds = [graph.constant(f"{name} {index}", np.array(values, np.int64))
              for name, values in (("starts", [y1, x1]), ("ends", [y2, x2]), ("axes", [2, 3]))]  # fmt: skip
    place = graph.add("Slice", ["red", *bounds], f"place {index}")
    mean = graph.add("ReduceMean", [place], f"mean {index}", keepdims=0)
    more = graph.add("Mul", [mean, graph.constant(f"gain {index}", np.float32(4))], f"more {index}")
    low, high = graph.constant(f"low {index}", np.float32(0)), graph.constant(f"high {index}", np.float32(1))
    return graph.add("Clip", [more, low, high], f"gate {index}")


# -- pieces -------------------------------------------------------------------------------------------------------------------


def grid(size: Size, stride: int) -> tuple[int, int]:
    return -(-size[1] // stride), -(-size[0] // stride)


def cells(size: Size, strides: Sequence[int] = STRIDES, anchors: int = 1, offset: float = 0.5) -> Array:
    """(cells, 3): x and y of its point, and its stride; level by level, anchor by anchor, row by row."""
    levels = []
    for stride in strides:
        rows, columns = np.mgrid[0 : grid(size, stride)[0], 0 : grid(size, stride)[1]]
        level = np.stack([(columns.ravel() + offset) * stride, (rows.ravel() + offset) * stride, np.full(rows.size, stride)], 1)
        levels.append(np.tile(level, (anchors, 1)))
    return np.concatenate(levels).astype(np.float64)


def nearest(places: Array, thing: Thing) -> int:
    return int(np.abs(places[:, :2] - (thing.x, thing.y)).sum(axis=1).argmin())


def scores(stage: Stage, count: int, classes: int) -> Array:
    return stage.rng.uniform(0, 0.01, (count, classes)).astype(np.float32)


def rows(stage: Stage, anchors: int, *, objectness: bool) -> Array:
    """(cells, 4 or 5 + classes): x y w h in pixels near the cells, (objectness,) classes; things in the nearest cell."""
    places = cells(stage.size, anchors=anchors)
    first = 5 if objectness else 4
    made = np.concatenate([np.zeros((len(places), first), np.float32), scores(stage, len(places), stage.classes)], axis=1)
    made[:, :2] = places[:, :2] + stage.rng.uniform(-0.5, 0.5, (len(places), 2)) * places[:, 2:]
    made[:, 2:4] = stage.rng.uniform(0.5, 3, (len(places), 2)) * places[:, 2:]
    if objectness:
        made[:, 4] = stage.rng.uniform(0, 0.02, len(places))
    for thing in stage.things:
        cell = nearest(places, thing)
        made[cell, :4] = thing.x, thing.y, thing.width, thing.height
        made[cell, first + thing.label] = LIKELY + 0.05
        if objectness:
            made[cell, 4] = LIKELY + 0.05
    return made


def logit(values: Array) -> Array:
    inner = values.clip(1e-5, 1 - 1e-5).astype(np.float64)
    return np.asarray(np.log(inner / (1 - inner)), np.float32)


def maps(values: Array, size: Size, strides: Sequence[int] = STRIDES) -> list[Array]:
    """(cells, channels) -> 1 x channels x H x W per level."""
    made, start = [], 0
    for stride in strides:
        height, width = grid(size, stride)
        level = values[start : start + height * width]
        made.append(np.ascontiguousarray(level.T).reshape(1, -1, height, width))
        start += height * width
    return made


def distances(stage: Stage, places: Array) -> Array:
    """(cells, 4): from the cell's point to left, top, right, bottom, in cells."""
    made = stage.rng.uniform(0.3, 2, (len(places), 4)).astype(np.float32)
    for thing in stage.things:
        cell = nearest(places, thing)
        x, y, stride = places[cell]
        x1, y1, x2, y2 = thing.corners
        made[cell] = np.array([x - x1, y - y1, x2 - x, y2 - y]) / stride
    return made


def binned(sides: Array, bins: int) -> Array:
    """(cells, 4) -> (cells, 4 x bins) logits whose expectation they are."""
    kept = sides.clip(0, bins - 1.001)
    low = np.floor(kept).astype(int)
    made = np.full((*sides.shape, bins), -12.0, np.float32)
    part = (kept - low).clip(1e-6, 1 - 1e-6)
    np.put_along_axis(made, low[..., None], np.log(1 - part)[..., None], axis=2)
    np.put_along_axis(made, low[..., None] + 1, np.log(part)[..., None], axis=2)
    return made.reshape(len(sides), -1)


def classified(stage: Stage, places: Array) -> Array:
    """(cells, classes) 0..1."""
    made = scores(stage, len(places), stage.classes)
    for thing in stage.things:
        made[nearest(places, thing), thing.label] = LIKELY
    return made


def split(stage: Stage, bins: int, *, with_sum: bool = False) -> list[Array]:
    """Per level boxes, classes (and clipped sums). Large things lie on the coarse grid, as 16 bins reach no further."""
    places = cells(stage.size)
    coarse = places.copy()
    coarse[places[:, 2] < STRIDES[-1], :2] += 1e6  # nothing is planted there
    sides, scored = distances(stage, coarse), classified(stage, coarse)
    boxes = maps(sides if bins == 1 else binned(sides, bins), stage.size)
    levels = list(zip(boxes, maps(scored, stage.size), strict=True))
    made: list[Array] = []
    for box, score in levels:
        made += [box, score, score.sum(axis=1, keepdims=True).clip(0, 1)] if with_sum else [box, score]
    return made


def anchored(stage: Stage, anchors: Sequence[Sequence[int]]) -> list[Array]:
    """Per level (3, H, W, 5 + classes), all 0..1; a thing lies in the cell and the anchor that come nearest to it."""
    made = []
    for stride in STRIDES:
        level = stage.rng.uniform(0.3, 0.7, (3, *grid(stage.size, stride), 5 + stage.classes)).astype(np.float32)
        level[..., 4] = stage.rng.uniform(0, 0.02, level.shape[:-1])
        level[..., 5:] = stage.rng.uniform(0, 0.02, level[..., 5:].shape)
        made.append(level)
    for thing in stage.things:
        fits = [
            (max(abs(np.log(thing.width / w)), abs(np.log(thing.height / h))), index, anchor)
            for index, sizes in enumerate(anchors)
            for anchor, (w, h) in enumerate(zip(sizes[::2], sizes[1::2], strict=True))
        ]
        _, index, anchor = min(fits)
        stride, (w, h) = STRIDES[index], anchors[index][2 * anchor : 2 * anchor + 2]
        row, column = int(thing.y / stride), int(thing.x / stride)
        made[index][anchor, row, column, :4] = (
            (thing.x / stride - column + 0.5) / 2, (thing.y / stride - row + 0.5) / 2,
            np.sqrt(thing.width / w) / 2, np.sqrt(thing.height / h) / 2,
        )  # fmt: skip
        made[index][anchor, row, column, 4] = made[index][anchor, row, column, 5 + thing.label] = LIKELY + 0.05
    return made


def prototypes(stage: Stage, count: int = 32) -> Array:
    return stage.rng.normal(0, 1, (1, count, *grid(stage.size, 4))).astype(np.float32)


def ground(stage: Stage, shape: Size, classes: int, *, area: int) -> Array:
    """(classes, height, width) logits: background, and one area in the lower left where something is planted."""
    width, height = shape
    made = stage.rng.normal(0, 0.3, (classes, height, width)).astype(np.float32)
    made[0] += 6
    if stage.things:
        made[area, height // 2 :, : width // 2] += 12
    return made


def named(arrays: Sequence[Array], prefix: str = "out") -> Outputs:
    return {f"{prefix}{index}": np.ascontiguousarray(array) for index, array in enumerate(arrays)}
