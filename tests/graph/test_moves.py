"""Chains of movers against NumPy, which moves the numbers themselves."""

from __future__ import annotations

import math

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_pkg.graph import moves
from firmware_pkg.graph.network import Network
from tests.support.graphs import Graph, run, types


@st.composite
def chains(draw: st.DrawFn) -> onnx.ModelProto:
    """Up to six movers in a row, between two layers; sides of 1 included."""
    graph = Graph()
    shape = draw(st.lists(st.sampled_from([1, 1, 2, 3, 4, 6]), min_size=1, max_size=4))
    value = graph.op("Relu", graph.input(shape))
    for _ in range(draw(st.integers(1, 6))):
        if draw(st.booleans()):
            perm = draw(st.permutations(range(len(shape))))
            value, shape = graph.transpose(value, *perm), [shape[axis] for axis in perm]
        else:
            shape = draw(shapes(math.prod(shape)))
            value = graph.reshape(value, *shape)
    return graph.model(graph.op("Neg", value))


@st.composite
def shapes(draw: st.DrawFn, size: int) -> list[int]:
    made = list[int]()
    while size > 1:
        side = draw(st.sampled_from([factor for factor in range(2, size + 1) if size % factor == 0]))
        made.append(side)
        size //= side
    for _ in range(draw(st.integers(0, 2))):
        made.insert(draw(st.integers(0, len(made))), 1)
    return made or [1]


@settings(max_examples=300, deadline=None)
@given(chains())
def test_the_shortest_way_moves_numbers_to_the_same_places(model: onnx.ModelProto) -> None:
    network = Network(model)
    moves.tidy(network)
    made = network.model()
    shape = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    value = np.arange(1, math.prod(shape) + 1, dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(run(made, value)[0], run(model, value)[0])
    before, after = types(model), types(made)
    assert (after["Transpose"], after["Reshape"]) <= (before["Transpose"], before["Reshape"])


def tidied(graph: Graph, *outputs: str) -> tuple[int, onnx.ModelProto]:
    network = Network(graph.model(*outputs))
    return moves.tidy(network), network.model()


def test_a_way_there_and_back_vanishes() -> None:
    graph = Graph()
    tokens = graph.op("Relu", graph.input([1, 12, 5]))
    planes = graph.reshape(graph.transpose(tokens, 0, 2, 1), 1, 5, 3, 4)
    back = graph.transpose(graph.reshape(planes, 1, 5, 12), 0, 2, 1)
    count, made = tidied(graph, graph.op("Neg", back))
    assert count
    assert set(types(made)) == {"Relu", "Neg"}


def test_a_move_of_sides_of_one_is_a_reshape_and_two_moves_are_one() -> None:
    graph = Graph()
    heads = graph.transpose(graph.reshape(graph.op("Relu", graph.input([1, 6, 8])), 1, 6, 1, 8), 0, 2, 1, 3)
    assert types(tidied(graph, graph.op("Neg", heads))[1])["Transpose"] == 0
    graph = Graph()
    heads = graph.transpose(graph.reshape(graph.op("Relu", graph.input([1, 6, 8])), 1, 6, 2, 4), 0, 2, 1, 3)
    rows = graph.transpose(graph.reshape(heads, 2, 6, 4), 0, 2, 1)
    made = tidied(graph, graph.op("Neg", graph.reshape(rows, 1, 2, 4, 6)))[1]
    assert types(made) == {"Relu": 1, "Reshape": 1, "Transpose": 1, "Neg": 1}


def test_a_value_that_others_take_stays_for_them() -> None:
    graph = Graph()
    planes = graph.transpose(graph.op("Relu", graph.input([1, 12, 5])), 0, 2, 1)
    back = graph.op("Neg", graph.transpose(planes, 0, 2, 1))
    made = tidied(graph, back, graph.op("Exp", planes))[1]
    assert types(made) == {"Relu": 1, "Transpose": 1, "Neg": 1, "Exp": 1}


def test_an_output_keeps_its_name_and_shape() -> None:
    graph = Graph()
    final = graph.transpose(graph.transpose(graph.input([2, 3]), 1, 0), 1, 0)
    made = tidied(graph, final)[1]
    assert [value.name for value in made.graph.output] == [final]
    assert types(made) == {"Identity": 1}


def test_numbers_that_have_to_be_copied_in_between_stay_two_moves() -> None:
    graph = Graph()
    once = graph.transpose(graph.op("Relu", graph.input([4, 6])), 1, 0)
    twice = graph.transpose(graph.reshape(once, 8, 3), 1, 0)
    count, made = tidied(graph, graph.op("Neg", twice))
    assert count == 0
    assert types(made)["Transpose"] == 2


def test_open_shapes_stay() -> None:
    graph = Graph()
    moved = graph.transpose(graph.transpose(graph.op("Relu", graph.input(["n", 3])), 1, 0), 1, 0)
    assert tidied(graph, graph.op("Neg", moved))[0] == 0
