from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from firmware_pkg.graph import fixed
from firmware_pkg.graph.network import Network
from tests.support.graphs import Graph, passed, run, types


def test_a_model_comes_back_as_it_was() -> None:
    graph = Graph()
    made = graph.normalised(graph.conv(graph.input([1, 3, 8, 8]), 3, 4, 3, pads=[1, 1, 1, 1]), 4)
    model = graph.model(graph.op("LeakyRelu", made, alpha=0.25))
    again = Network(model).model()
    assert [node.SerializeToString() for node in again.graph.node] == [node.SerializeToString() for node in model.graph.node]
    assert list(again.graph.output) == list(model.graph.output)
    assert list(again.graph.input) == list(model.graph.input)
    assert again.opset_import == model.opset_import


def test_constants_are_seen_through_identity_and_constant_nodes() -> None:
    graph = Graph()
    weights = graph.op("Identity", graph.weights(4, 3))
    value = graph.op("Constant", value_float=2.0)
    model = graph.model(graph.op("Mul", graph.op("MatMul", graph.input([1, 4]), weights), value))
    network = Network(model)
    found = network.constant(weights)
    assert found is not None
    assert found.shape == (4, 3)
    assert network.constant(value) == np.float32(2)
    assert network.constant("x") is None


def test_an_operator_of_another_domain_is_no_operator_of_ours() -> None:
    graph = Graph()
    planes = graph.op("Pad", graph.input([1, 3, 8, 8]), graph.ints(0, 0, 1, 1, 0, 0, 1, 1))
    model = graph.model(graph.conv(planes, 3, 4, 3))
    model.graph.node[0].domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    network = Network(model)
    assert network.counts() == {"com.microsoft.Pad": 1, "Conv": 1}
    assert network.model().graph.node[0].domain == "com.microsoft"
    assert network.model().graph.node[0].op_type == "Pad"


def with_branches(kind: str) -> onnx.ModelProto:
    """A value that both branches of an If read, and that is moved twice before."""
    graph = Graph()
    source = graph.input([2, 3])
    condition = graph.input([], TensorProto.BOOL, name="condition")
    turned = graph.transpose(graph.op("Relu", source), 1, 0)
    branches = {}
    for name, operator in (("then_branch", "Neg"), ("else_branch", kind)):
        node = helper.make_node(operator, [turned], [f"{name}_out"])
        output = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [3, 2])
        branches[name] = helper.make_graph([node], name, [], [output])
    chosen = graph.op("If", condition, **branches)
    back = graph.op("Exp", graph.transpose(turned, 1, 0))
    return graph.model(chosen, back)


def test_what_a_subgraph_reads_stays() -> None:
    model = with_branches("Abs")
    made = passed("cancel-transposes", model)
    assert made.verdict.holds
    assert made.types["Transpose"] == 1
    value = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    for condition in (True, False):
        for old, new in zip(run(model, value, np.array(condition)), run(made.model, value, np.array(condition)), strict=True):
            np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("pinned", [True, False])
def test_an_output_keeps_its_name_when_its_value_is_made_elsewhere(pinned: bool) -> None:
    graph = Graph()
    first = graph.op("Relu", graph.input([2, 3]))
    last = graph.op("Abs", first)
    model = graph.model(last, *([first] if pinned else []))
    network = Network(model)
    network.replace(last, first)
    made = network.model()
    assert [one.name for one in made.graph.output] == [one.name for one in model.graph.output]
    assert types(made) == ({"Relu": 1, "Identity": 1} if pinned else {"Relu": 1})
    value = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(run(made, value)[0], run(model, value)[0])


def test_open_sides_are_fixed_everywhere() -> None:
    graph = Graph()
    model = graph.model(graph.op("Relu", graph.conv(graph.input(["n", 3, "h", "w"]), 3, 4, 3)))
    assert fixed.open_sides(model) == ["x"]
    made = onnx.load_model_from_string(fixed.with_size(model.SerializeToString(), 20, 10))
    assert fixed.open_sides(made) == []
    assert [side.dim_value for side in made.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 10, 20]
    assert [side.dim_value for side in made.graph.output[0].type.tensor_type.shape.dim] == [1, 4, 8, 18]
