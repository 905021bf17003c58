from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.graphs import Graph, passed, types, untouched

NAME = "rank-2-matmul"


def attention(
    *, heads: int = 1, batch: int = 1, cells: int = 6, width: int = 8, opset: int = 17, seed: int = 0,
    places: tuple[int, ...] = (),
) -> onnx.ModelProto:  # fmt: skip
    """Self-attention with its residual and normalisation, as exporters write it. `places`: shape of what is added for them."""
    graph = Graph(seed, opset)
    tokens = graph.op("Relu", graph.input([batch, cells, width]))
    if places:
        tokens = graph.op("Add", tokens, graph.weights(*places))
    normal = tokens
    if opset >= 17:
        normal = graph.op("LayerNormalization", tokens, graph.weights(width), graph.weights(width), axis=-1)
    size = width // heads
    parts = []
    for _ in range(3):
        made = graph.op("Add", graph.op("MatMul", normal, graph.weights(width, width)), graph.weights(width))
        parts.append(graph.transpose(graph.reshape(made, batch, cells, heads, size), 0, 2, 1, 3))
    query, key, value = parts
    scores = graph.op("Mul", graph.op("MatMul", query, graph.transpose(key, 0, 1, 3, 2)), graph.constant(np.float32(0.3)))
    mixed = graph.transpose(graph.op("MatMul", graph.op("Softmax", scores, axis=-1), value), 0, 2, 1, 3)
    mixed = graph.reshape(mixed, batch, cells, width)
    mixed = graph.op("Add", graph.op("MatMul", mixed, graph.weights(width, width)), graph.weights(1, 1, width))
    return graph.model(graph.op("Add", mixed, tokens))


def ranks(model: onnx.ModelProto, kind: str) -> list[int]:
    """Of the first operands of all operators of a type."""
    found = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = {one.name: len(one.type.tensor_type.shape.dim) for one in (*found.value_info, *found.input, *found.output)}
    return [known[node.input[0]] for node in found.node if node.op_type == kind]


def test_layers_become_rank_2_and_heads_stay_a_batch() -> None:
    model = attention(heads=2)
    made = passed(NAME, model)
    assert made.change.places == 4
    assert made.verdict.holds, made.verdict.words
    assert sorted(ranks(made.model, "MatMul")) == [2, 2, 2, 2, 4, 4]
    assert ranks(made.model, "LayerNormalization") == [2]
    assert made.types["Reshape"] == types(model)["Reshape"] + 2, "one where the region begins and one where it ends"


def test_one_head_is_no_batch_either() -> None:
    made = passed(NAME, attention(heads=1))
    assert made.change.places == 6
    assert made.verdict.holds, made.verdict.words
    assert set(ranks(made.model, "MatMul")) == set(ranks(made.model, "Softmax")) == {2}
    assert made.types["Transpose"] == 1, "the key's"


@pytest.mark.parametrize("places", [(1, 6, 8), (6, 8), (1, 1, 8), (1, 6, 1), (1, 1, 1), (1, 1, 1, 1)])
def test_constants_of_any_shape_are_added_as_they_were(places: tuple[int, ...]) -> None:
    made = passed(NAME, attention(places=places))
    assert made.verdict.holds, made.verdict.words
    assert made.change.places >= (4 if len(places) < 4 else 1)


def test_a_real_batch_stays() -> None:
    untouched(NAME, attention(batch=2))


def test_open_shapes_stay() -> None:
    graph = Graph()
    untouched(NAME, graph.model(graph.op("MatMul", graph.input([1, "n", 4]), graph.weights(4, 3))))


def test_old_softmax_stays_and_is_told() -> None:
    graph = Graph(opset=11)
    made = untouched(NAME, graph.model(graph.op("MatMul", graph.input([1, 5, 4]), graph.weights(4, 3))))
    assert "opset 13" in made.change.notes[0]


def test_row_wise_operators_without_a_product_stay() -> None:
    graph = Graph()
    untouched(NAME, graph.model(graph.op("Softmax", graph.op("Relu", graph.input([1, 5, 4])), axis=-1)))


@pytest.mark.parametrize("axis", [1, -2])
def test_a_softmax_over_rows_ends_the_region(axis: int) -> None:
    graph = Graph()
    made = graph.op("MatMul", graph.op("Softmax", graph.input([1, 5, 4]), axis=axis), graph.weights(4, 3))
    found = passed(NAME, graph.model(made))
    assert found.verdict.holds
    assert ranks(found.model, "Softmax") == [3]
    assert ranks(found.model, "MatMul") == [2]


def test_a_sum_that_makes_a_batch_ends_the_region() -> None:
    graph = Graph()
    made = graph.op("MatMul", graph.input([1, 5, 4]), graph.weights(4, 3))
    found = passed(NAME, graph.model(graph.op("Add", made, graph.weights(2, 5, 3))))
    assert found.verdict.holds
    assert found.after[0].shape == (2, 5, 3)


def test_an_output_within_a_region_keeps_its_name_and_shape() -> None:
    graph = Graph()
    first = graph.op("MatMul", graph.input([1, 5, 4]), graph.weights(4, 3))
    last = graph.op("MatMul", graph.op("Relu", first), graph.weights(3, 2))
    found = passed(NAME, graph.model(last, first))
    assert found.verdict.holds
    assert [output.shape for output in found.after] == [(1, 5, 2), (1, 5, 3)]
    assert [one.name for one in found.model.graph.output] == [last, first]


@settings(max_examples=40, deadline=None)
@given(
    heads=st.sampled_from([1, 2, 4]), cells=st.integers(1, 9), opset=st.sampled_from([13, 17, 18]), seed=st.integers(0, 999),
    batch=st.sampled_from([1, 1, 1, 2]), kind=st.sampled_from(["none", "all", "matrix", "channels", "rows", "one"]),
)  # fmt: skip
def test_outputs_stay(cells: int, kind: str, **options: Any) -> None:
    shapes = {"all": (1, cells, 8), "matrix": (cells, 8), "channels": (1, 1, 8), "rows": (1, cells, 1), "one": (1, 1)}
    made = passed(NAME, attention(cells=cells, places=shapes.get(kind, ()), **options))
    assert made.verdict.holds, made.verdict.words
