"""Networks made by hand that do see something: red and blue things, where they are, how large, and which pixels are theirs.

    model = save(tmp_path / "m.onnx", seg_network)

Input 1 x 3 x 128 x 192, RGB in 0..1. A thing's box is exact to a pixel of the input; its mask lies on the grid of stride 4.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.support.exports import Ending

WIDTH, HEIGHT = 192, 128
CELLS = {8: 16 * 24, 16: 8 * 12, 32: 4 * 6}
LABELS = ("ball", "box", "road")
RED, BLUE, GREEN, GREY = (220, 20, 20), (20, 20, 220), (20, 200, 20), (90, 90, 90)
COEFFICIENTS = 4
_PURE = 0.6  # of a colour: what it has more than the others
Build = Callable[[Ending], None]


def save(path: Path, build: Build, name: str = "hand made") -> Path:
    """Writes the network that `build` ends; `name` is the graph's."""
    graph = Ending()
    build(graph)
    made = helper.make_graph(
        graph.nodes, name,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in graph.outputs.items()],
        graph.constants,
    )  # fmt: skip
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def seg_network(graph: Ending, coefficients: float = 1.0) -> None:
    """YOLOv8-seg's two outputs for ball (red) and box (blue). `coefficients` 0: its masks say nothing."""
    levels, places = [], []
    for index, (color, stride) in enumerate((("red", 8), ("blue", 16))):
        _color(graph, color)
        score = _flat(graph, _sure(graph, _pool(graph, color, stride)), 1, CELLS[stride])
        nothing = graph.constant(f"{color} no other", np.zeros((1, 1, CELLS[stride]), np.float32))
        own = np.zeros((1, COEFFICIENTS, CELLS[stride]), np.float32)
        own[0, index] = coefficients
        box = _box(graph, color)
        places.append(
            graph.add("Expand", [box, graph.constant(f"{color} cells", np.array([1, 4, CELLS[stride]]))], f"{color} boxes")
        )
        scores = [score, nothing] if index == 0 else [nothing, score]
        levels.append(graph.add("Concat", [places[-1], *scores, graph.constant(f"{color} own", own)], f"{color} level", axis=1))
    quiet = graph.constant("quiet", np.zeros((1, 4 + 2 + COEFFICIENTS, CELLS[32]), np.float32))
    graph.outputs[graph.add("Concat", [*levels, quiet], "cells", axis=2)] = (1, 4 + 2 + COEFFICIENTS, sum(CELLS.values()))
    weight = np.zeros((COEFFICIENTS, 2, 1, 1), np.float32)
    weight[0, 0], weight[1, 1] = 20, 20
    bias = np.array([-10 * _PURE, -10 * _PURE, 3, -3], np.float32)
    fine = graph.add("Concat", [_pool(graph, "red", 4), _pool(graph, "blue", 4)], "fine", axis=1)
    graph.add("Conv", [fine, graph.constant("proto w", weight), graph.constant("proto b", bias)], "prototypes")
    graph.outputs["prototypes"] = (1, COEFFICIENTS, HEIGHT // 4, WIDTH // 4)


def detect_network(graph: Ending, *, split: bool = False) -> None:
    """YOLOv8's one output for ball (red) and box (blue), or boxes and classes apart."""
    boxes, classes = [], []
    for index, (color, stride) in enumerate((("red", 8), ("blue", 16))):
        _color(graph, color)
        score = _flat(graph, _sure(graph, _pool(graph, color, stride)), 1, CELLS[stride])
        nothing = graph.constant(f"{color} no other", np.zeros((1, 1, CELLS[stride]), np.float32))
        cells = graph.constant(f"{color} cells", np.array([1, 4, CELLS[stride]]))
        boxes.append(graph.add("Expand", [_box(graph, color), cells], f"{color} boxes"))
        own = [score, nothing] if index == 0 else [nothing, score]
        classes.append(graph.add("Concat", own, f"{color} classes", axis=1))
    boxes.append(graph.constant("quiet boxes", np.zeros((1, 4, CELLS[32]), np.float32)))
    classes.append(graph.constant("quiet classes", np.zeros((1, 2, CELLS[32]), np.float32)))
    cells_in_all = sum(CELLS.values())
    parts = [graph.add("Concat", one, name, axis=2) for one, name in ((boxes, "boxes"), (classes, "classes"))]
    if split:
        graph.outputs |= {"boxes": (1, 4, cells_in_all), "classes": (1, 2, cells_in_all)}
    else:
        graph.outputs[graph.add("Concat", parts, "cells", axis=1)] = (1, 6, cells_in_all)


def scene_network(graph: Ending) -> None:
    """od-seg's two outputs: ball and box on the grid of stride 16, and the road, which is green."""
    grid = (HEIGHT // 16, WIDTH // 16)
    rows, columns = np.mgrid[0 : grid[0], 0 : grid[1]].astype(np.float32)
    slots = []
    for index, color in enumerate(("red", "blue")):
        _color(graph, color)
        score = _sure(graph, _pool(graph, color, 16))
        box = graph.add("Reshape", [_box(graph, color), graph.constant(f"{color} shape", np.array([4, 1, 1]))], f"{color} one")
        x, y, w, h = (
            graph.add("Gather", [box, graph.constant(f"{color} {i}", np.array([i]))], f"{color} v{i}") for i in range(4)
        )
        center = [_offset(graph, f"{color} {axis}", value, place) for axis, value, place in (("x", x, columns), ("y", y, rows))]
        size = [_size(graph, f"{color} {axis}", value, side, grid) for axis, value, side in (("w", w, WIDTH), ("h", h, HEIGHT))]
        one = graph.constant(f"{color} one class", np.full((1, 1, *grid), 1 - index, np.float32))
        other = graph.constant(f"{color} other class", np.full((1, 1, *grid), index, np.float32))
        slots.append(graph.add("Concat", [*center, *size, score, one, other], f"{color} slot", axis=1))
    graph.outputs[graph.add("Concat", slots, "boxes", axis=1)] = (1, 2 * 7, *grid)
    _color(graph, "green")
    graph.outputs[_sure(graph, _pool(graph, "green", 2), name="masks")] = (1, 1, HEIGHT // 2, WIDTH // 2)


def _color(graph: Ending, color: str) -> str:
    """How much more of this colour than of the others every pixel has, 0..1."""
    weight = np.full((1, 3, 1, 1), -0.5, np.float32)
    weight[0, ("red", "green", "blue").index(color)] = 1
    raw = graph.add("Conv", ["images", graph.constant(f"{color} w", weight)], f"{color} raw")
    return graph.add("Relu", [raw], color)


def _pool(graph: Ending, color: str, stride: int) -> str:
    name = f"{color} / {stride}"
    return graph.add("AveragePool", [color], name, kernel_shape=[stride, stride], strides=[stride, stride])


def _sure(graph: Ending, value: str, name: str = "") -> str:
    """A pure colour is as good as certain."""
    low, high = graph.constant(f"{value} low", np.float32(0)), graph.constant(f"{value} high", np.float32(0.95))
    more = graph.add("Mul", [value, graph.constant(f"{value} gain", np.float32(1 / _PURE))], f"{value} more")
    return graph.add("Clip", [more, low, high], name or f"{value} sure")


def _flat(graph: Ending, value: str, channels: int, cells: int) -> str:
    return graph.add("Reshape", [value, graph.constant(f"{value} flat", np.array([1, channels, cells]))], f"{value} row")


def _box(graph: Ending, color: str) -> str:
    """Centre x, y, width and height of everything that has the colour, in pixels, 1 x 4 x 1."""
    sides = []
    for axis, across in (("x", 2), ("y", 3)):
        profile = graph.add("ReduceMax", [color], f"{color} {axis} profile", axes=[across], keepdims=0)
        seen = graph.add(
            "Greater", [profile, graph.constant(f"{color} {axis} mark", np.float32(_PURE / 2))], f"{color} {axis} seen"
        )
        ones = graph.add("Cast", [seen], f"{color} {axis} ones", to=TensorProto.FLOAT)
        first = _index(graph, ones, f"{color} {axis} first", last=0)
        last = _index(graph, ones, f"{color} {axis} last", last=1)
        end = graph.add("Add", [last, graph.constant(f"{color} {axis} one", np.float32(1))], f"{color} {axis} end")
        total = graph.add("Add", [first, end], f"{color} {axis} total")
        sides.append((
            graph.add("Mul", [total, graph.constant(f"{color} {axis} half", np.float32(0.5))], f"{color} {axis} center"),
            graph.add("Sub", [end, first], f"{color} {axis} size"),
        ))  # fmt: skip
    (x, width), (y, height) = sides
    joined = graph.add("Concat", [x, y, width, height], f"{color} sides", axis=1)
    return graph.add("Reshape", [joined, graph.constant(f"{color} box shape", np.array([1, 4, 1]))], f"{color} box")


def _index(graph: Ending, ones: str, name: str, *, last: int) -> str:
    found = graph.add("ArgMax", [ones], f"{name} index", axis=2, keepdims=0, select_last_index=last)
    return graph.add("Cast", [found], name, to=TensorProto.FLOAT)


def _offset(graph: Ending, name: str, center: str, place: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> str:
    """v with centre = (2 v - 0.5 + cell) * 16, kept within 0..1."""
    base = graph.constant(f"{name} cell", (0.25 - place / 2)[None, None].astype(np.float32))
    part = graph.add("Mul", [center, graph.constant(f"{name} gain", np.float32(1 / 32))], f"{name} part")
    moved = graph.add("Add", [part, base], f"{name} moved")
    low, high = graph.constant(f"{name} low", np.float32(0)), graph.constant(f"{name} high", np.float32(1))
    return graph.add("Clip", [moved, low, high], f"{name} offset")


def _size(graph: Ending, name: str, value: str, side: int, grid: tuple[int, int]) -> str:
    """v with size = v^2 * side, for every cell."""
    share = graph.add("Mul", [value, graph.constant(f"{name} gain", np.float32(1 / side))], f"{name} share")
    root = graph.add("Sqrt", [share], f"{name} root")
    return graph.add("Expand", [root, graph.constant(f"{name} grid", np.array([1, 1, *grid]))], f"{name} size")
