from __future__ import annotations

import numpy as np
import onnx

from tests.support.graphs import Graph, passed, types, untouched

NAME = "fold-constants"


def exported() -> onnx.ModelProto:
    """Shapes that are calculated, constants as nodes, Identity around weights, BatchNormalization: as torch.onnx traces."""
    graph = Graph()
    source = graph.input([1, 3, 8, 8])
    made = graph.normalised(graph.op("Conv", source, graph.op("Identity", graph.weights(6, 3, 3, 3)), kernel_shape=[3, 3]), 6)
    shape = graph.op("Slice", graph.op("Shape", made), graph.ints(0), graph.ints(2))
    target = graph.op("Concat", shape, graph.ints(-1), axis=0)
    tokens = graph.op("Reshape", graph.op("Relu", made), target)
    factor = graph.op("Constant", value=onnx.numpy_helper.from_array(np.array(2, np.float32)))
    return graph.model(graph.op("Mul", graph.op("Identity", tokens), factor))


def test_what_can_be_known_before_is() -> None:
    made = passed(NAME, exported())
    assert made.change.places == len(exported().graph.node) - len(made.model.graph.node)
    assert made.verdict.holds, made.verdict.words
    assert made.types == {"Conv": 1, "Relu": 1, "Reshape": 1, "Mul": 1}
    assert [one.name for one in made.model.graph.output] == [one.name for one in exported().graph.output]


def test_products_of_sequences_are_left_to_another_pass() -> None:
    graph = Graph()
    made = graph.op("Add", graph.op("MatMul", graph.input([1, 5, 4]), graph.weights(4, 3)), graph.weights(3))
    assert set(types(untouched(NAME, graph.model(made)).model)) == {"MatMul", "Add"}


def test_a_graph_with_nothing_to_fold_stays() -> None:
    graph = Graph()
    untouched(NAME, graph.model(graph.op("Relu", graph.conv(graph.input([1, 3, 8, 8]), 3, 4, 3))))
