from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.graphs import Graph, passed, types, untouched
from tests.support.segformer import segformer

NAME = "cancel-transposes"


def block(
    *, channels: int = 4, inner: int = 12, side: int = 6, between: str = "gelu", also: str = "", opset: int = 17, seed: int = 0,
    bias: bool = True,
) -> onnx.ModelProto:  # fmt: skip
    """tokens -> layer -> planes -> depthwise convolution -> tokens -> `between` -> layer, as exporters write Mix-FFN."""
    graph = Graph(seed, opset)
    cells = side * side
    tokens = graph.op("Relu", graph.input([1, cells, channels]))
    named = {"layer": graph.op("MatMul", tokens, graph.weights(channels, inner))}
    value = named["layer"]
    if bias:
        value = graph.op("Add", value, graph.weights(inner))
    named["planes"] = planes = graph.reshape(graph.transpose(value, 0, 2, 1), 1, inner, side, side)
    planes = graph.conv(planes, inner, inner, 3, group=inner, pads=[1, 1, 1, 1])
    named["tokens"] = value = graph.transpose(graph.reshape(planes, 1, inner, cells), 0, 2, 1)
    named["between"] = value = _between(graph, value, between, inner, cells)
    value = graph.op("MatMul", value, graph.weights(inner, channels))
    if bias:
        value = graph.op("Add", graph.weights(channels), value)
    return graph.model(graph.op("Add", value, tokens), *([named[also]] if also else []))


def _between(graph: Graph, value: str, kind: str, inner: int, cells: int) -> str:
    match kind:
        case "gelu":
            erf = graph.op("Erf", graph.op("Div", value, graph.constant(np.float32(1.4142135))))
            return str(
                graph.op(
                    "Mul",
                    value,
                    graph.op("Mul", graph.op("Add", erf, graph.constant(np.float32(1))), graph.constant(np.float32(0.5))),
                )
            )
        case "relu":
            return str(graph.op("Relu", value))
        case "per channel":
            return str(graph.op("Mul", graph.weights(1, 1, inner), graph.op("Sigmoid", value)))
        case "per row":
            return str(graph.op("Mul", value, graph.weights(1, cells, 1)))
        case "softmax":
            return str(graph.op("Softmax", value, axis=-1))
        case _:
            return value


@pytest.mark.parametrize("between", ["gelu", "relu", "per channel", "nothing"])
def test_layers_between_layouts_become_convolutions(between: str) -> None:
    model = block(between=between)
    made = passed(NAME, model)
    assert made.verdict.holds, made.verdict.words
    assert made.types["MatMul"] == 0
    assert made.types["Conv"] == 3
    assert made.types["Transpose"] == 2, "the residual wants tokens"
    moved = [value.type.tensor_type.shape.dim for value in onnx.shape_inference.infer_shapes(made.model).graph.value_info]
    transposed = {node.output[0] for node in made.model.graph.node if node.op_type == "Transpose"}
    assert transposed
    assert moved


def test_the_smaller_side_is_moved() -> None:
    made = onnx.shape_inference.infer_shapes(passed(NAME, block()).model)
    shapes = {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in made.graph.value_info}
    sizes = {int(np.prod(shapes[node.input[0]])) for node in made.graph.node if node.op_type == "Transpose"}
    assert sizes == {36 * 4}, "not the inner layer's 36 x 12"


@pytest.mark.parametrize("between", ["per row", "softmax"])
def test_what_looks_at_rows_keeps_its_layout(between: str) -> None:
    made = passed(NAME, block(between=between))
    assert made.verdict.holds, made.verdict.words
    assert made.types["MatMul"] == 1


@pytest.mark.parametrize("also", ["layer", "tokens", "between"])
def test_a_value_that_leaves_keeps_its_layout(also: str) -> None:
    made = passed(NAME, block(also=also))
    assert made.verdict.holds, made.verdict.words
    assert made.types["MatMul"] >= 1
    assert made.after[1].shape == made.before[1].shape


@pytest.mark.parametrize(
    ("channels", "inner"), [(12, 4)],
)  # fmt: skip
def test_layers_that_would_move_more_stay(channels: int, inner: int) -> None:
    untouched(NAME, block(channels=channels, inner=inner))


def test_a_product_of_two_values_is_no_layer() -> None:
    graph = Graph()
    left, right = graph.input([1, 16, 4]), graph.input([4, 8], name="y")
    product = graph.op("MatMul", graph.op("Relu", left), graph.op("Relu", right))
    untouched(NAME, graph.model(graph.op("Neg", graph.reshape(graph.transpose(product, 0, 2, 1), 1, 8, 4, 4))))


def test_a_batch_stays() -> None:
    graph = Graph()
    made = graph.op("MatMul", graph.op("Relu", graph.input([2, 16, 4])), graph.weights(4, 8))
    untouched(NAME, graph.model(graph.op("Neg", graph.reshape(graph.transpose(made, 0, 2, 1), 2, 8, 4, 4))))


def test_a_small_segformer_has_fewer_and_smaller_moves() -> None:
    model = segformer()
    made = passed(NAME, model)
    assert made.verdict.holds, made.verdict.words
    assert made.types["Transpose"] < types(model)["Transpose"]


@settings(max_examples=60, deadline=None)
@given(
    channels=st.integers(1, 6), inner=st.integers(1, 9), side=st.integers(1, 5), bias=st.booleans(), seed=st.integers(0, 999),
    between=st.sampled_from(["gelu", "relu", "per channel", "per row", "softmax", "nothing"]),
    opset=st.sampled_from([13, 17, 18]), also=st.sampled_from(["", "", "layer", "planes", "tokens", "between"]),
)  # fmt: skip
def test_outputs_stay(**options: Any) -> None:
    model = block(**options)
    made = passed(NAME, model)
    assert made.verdict.holds, made.verdict.words
    assert made.types["Transpose"] <= types(model)["Transpose"]
