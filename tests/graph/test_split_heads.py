from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.frame import Candidates, TensorSpec
from camagent.heads import HeadContext, build_head
from tests.support.graphs import Graph, passed, types, untouched

NAME = "split-heads"


def by_channel(
    *, classes: int = 5, swapped: bool = False, kind: str = "Sigmoid", scaled: bool = False, after: str = ""
) -> onnx.ModelProto:
    """1 x (4 + classes) x N, as YOLOv8 ends: boxes times their strides, then activated classes."""
    graph = Graph()
    source = graph.input([1, 8, 6, 6])
    raw = graph.reshape(graph.conv(source, 8, 4 + classes), 1, 4 + classes, 36)
    boxes, scores = graph.op("Split", raw, graph.ints(4, classes), outputs=2, axis=1)
    boxes = graph.op("Mul", boxes, graph.constant(np.float32(32)))
    scores = graph.op(kind, scores, **({"axis": 1} if kind == "Softmax" else {}))
    if scaled:
        scores = graph.op("Mul", scores, graph.constant(np.float32(2)))
    value = graph.op("Concat", *((scores, boxes) if swapped else (boxes, scores)), axis=1)
    if after == "Transpose":
        value = graph.transpose(value, 0, 2, 1)
    elif after:
        value = graph.op(after, value)
    return graph.model(value)


def by_level(*, classes: int = 3, sides: tuple[int, ...] = (6, 3), cells_first: bool = True) -> onnx.ModelProto:
    """1 x N x (5 + classes), as YOLOv5 ends: a Sigmoid of everything, cut, boxes decoded, joined per level, levels joined."""
    graph = Graph(2)
    source, levels = graph.input([1, 8, sides[0], sides[0]]), []
    for side in sides:
        step = sides[0] // side
        planes = graph.op("MaxPool", source, kernel_shape=[step, step], strides=[step, step])
        made = graph.reshape(graph.conv(planes, 8, 3 * (5 + classes)), 1, 3, 5 + classes, side, side)
        made = graph.op("Sigmoid", graph.transpose(made, 0, 1, 3, 4, 2))
        xy, wh, scores = graph.op("Split", made, graph.ints(2, 2, 1 + classes), outputs=3, axis=4)
        xy = graph.op("Mul", xy, graph.constant(np.float32(8)))
        wh = graph.op("Pow", wh, graph.constant(np.float32(2)))
        joined = graph.op("Concat", xy, wh, scores, axis=4)
        levels.append(graph.reshape(joined, 1, 3 * side * side, 5 + classes))
    return graph.model(graph.op("Concat", *levels, axis=1))


@pytest.mark.parametrize(
    ("model", "shapes"),
    [
        pytest.param(by_channel(), [(1, 4, 36), (1, 5, 36)], id="yolov8"),
        pytest.param(by_channel(kind="Softmax"), [(1, 4, 36), (1, 5, 36)], id="softmax"),
        pytest.param(by_channel(after="Transpose"), [(1, 36, 4), (1, 36, 5)], id="transposed"),
        pytest.param(by_level(), [(1, 135, 4), (1, 135, 4)], id="yolov5"),
        pytest.param(by_level(classes=1, sides=(8, 4, 2)), [(1, 252, 4), (1, 252, 2)], id="three levels"),
    ],
)  # fmt: skip
def test_boxes_and_scores_come_out_as_two(model: onnx.ModelProto, shapes: list[tuple[int, ...]]) -> None:
    made = passed(NAME, model)
    assert made.change.places == 1
    assert made.verdict.kind == "bit-equal"
    assert [output.shape for output in made.after] == shapes
    name = model.graph.output[0].name
    assert [one.name for one in made.model.graph.output] == [f"{name}_boxes", f"{name}_scores"]
    scores = made.after[1]
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert "two" in made.change.notes[0]


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(by_channel(swapped=True), id="scores before boxes"),
        pytest.param(by_channel(scaled=True), id="scores that are calculated with"),
        pytest.param(by_channel(kind="Relu"), id="no activation"),
        pytest.param(by_channel(after="Relu"), id="something behind the join"),
    ],
)
def test_graphs_that_do_not_fit_stay(model: onnx.ModelProto) -> None:
    untouched(NAME, model)


def test_maps_and_open_shapes_stay() -> None:
    graph = Graph()
    source = graph.input([1, 8, 6, 6])
    joined = graph.op("Concat", graph.conv(source, 8, 4), graph.op("Sigmoid", graph.conv(source, 8, 3)), axis=1)
    untouched(NAME, graph.model(joined))
    graph = Graph()
    source = graph.input([1, 4, "n"])
    untouched(NAME, graph.model(graph.op("Concat", source, graph.op("Sigmoid", source), axis=1)))


def test_other_outputs_stay_where_they_are() -> None:
    graph = Graph()
    source = graph.input([1, 4, 6])
    first, last = graph.op("Exp", source), graph.op("Neg", source)
    joined = graph.op("Concat", graph.op("Mul", source, source), graph.op("Sigmoid", source), axis=1)
    made = passed(NAME, graph.model(first, joined, last))
    assert made.verdict.kind == "bit-equal"
    assert [one.name for one in made.model.graph.output] == [first, f"{joined}_boxes", f"{joined}_scores", last]
    assert types(made.model)["Concat"] == 0


@settings(max_examples=40, deadline=None)
@given(
    classes=st.integers(1, 6), sides=st.sampled_from([(4,), (6, 3), (8, 4, 2)]), channel=st.booleans(),
    kind=st.sampled_from(["Sigmoid", "Softmax", "Tanh"]),
)  # fmt: skip
def test_joined_again_they_are_what_they_were(classes: int, sides: tuple[int, ...], channel: bool, kind: str) -> None:
    model = by_channel(classes=classes, kind=kind) if channel else by_level(classes=classes, sides=sides)
    made = passed(NAME, model)
    assert made.verdict.kind == "bit-equal"
    assert made.change.places == (0 if channel and kind == "Tanh" else 1)


def test_the_agent_reads_the_two_as_it_read_the_one() -> None:
    model = by_channel(classes=3)
    cells, side = 36, 48  # a pyramid of one level, stride 8
    made = passed(NAME, model)
    heads = []
    for outputs in (made.before, made.after):
        specs = [TensorSpec(f"o{index}", output.shape, "float32") for index, output in enumerate(outputs)]
        heads.append(build_head("yolov8", HeadContext(side, side, 3, specs, {})).decode(outputs, 0.4))
    old, new = heads
    assert isinstance(old, Candidates)
    assert isinstance(new, Candidates)
    assert 0 < len(old.scores) <= cells
    for name in ("boxes", "scores", "class_ids"):
        np.testing.assert_array_equal(getattr(old, name), getattr(new, name))
