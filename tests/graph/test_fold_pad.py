from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.graphs import Graph, passed, types, untouched

NAME = "fold-pad"
SIDES = (0, 0, 1, 2, 0, 0, 1, 0)  # before and behind: one row on both sides, two columns before


def padded(
    layer: str, *, pads: tuple[int, ...] = SIDES, value: float | None = None, mode: str = "constant", before: str = "",
    also: bool = False, opset: int = 17, **attributes: Any,
) -> onnx.ModelProto:  # fmt: skip
    graph = Graph(1, opset)
    source = graph.input([1, 4, 9, 8])
    if before:
        source = graph.op(before, source)
    if opset >= 11:
        inputs = [source, graph.ints(*pads), *([graph.constant(np.float32(value))] if value is not None else [])]
        made = graph.op("Pad", *inputs, mode=mode)
    else:
        made = graph.op("Pad", source, pads=list(pads), mode=mode, value=value or 0.0)
    if layer == "Conv":
        final = graph.conv(made, attributes.pop("taken", 4), 6, 3, **attributes)
    else:
        final = graph.op(layer, made, kernel_shape=[3, 3], **attributes)
    return graph.model(final, *([made] if also else []))


@pytest.mark.parametrize(
    ("layer", "options"),
    [
        ("Conv", {}), ("Conv", {"value": 0.0}), ("Conv", {"pads_own": [1, 1, 1, 1]}), ("Conv", {"strides": [2, 2], "group": 2}),
        ("Conv", {"auto_pad": "VALID"}), ("Conv", {"opset": 9}), ("AveragePool", {}), ("AveragePool", {"strides": [2, 2]}),
        ("AveragePool", {"pads_own": [0, 0, 1, 1], "count_include_pad": 1}), ("MaxPool", {"value": -math.inf}),
        ("MaxPool", {"before": "Relu"}), ("MaxPool", {"before": "Sigmoid", "strides": [2, 2]}),
    ],
)  # fmt: skip
def test_the_layer_pads_by_itself(layer: str, options: dict[str, Any]) -> None:
    options = dict(options)
    if own := options.pop("pads_own", None):
        options["pads"] = own
        made = passed(NAME, _own_pads(layer, **options))
    else:
        made = passed(NAME, padded(layer, **options))
    assert made.change.places == 1
    assert made.types["Pad"] == 0
    assert made.verdict.holds, made.verdict.words


def _own_pads(layer: str, *, pads: list[int], **attributes: Any) -> onnx.ModelProto:
    """A layer with padding of its own behind the Pad."""
    graph = Graph(1)
    made = graph.op("Pad", graph.input([1, 4, 9, 8]), graph.ints(*SIDES))
    if layer == "Conv":
        return graph.model(graph.conv(made, 4, 6, 3, pads=pads, **attributes))
    return graph.model(graph.op(layer, made, kernel_shape=[3, 3], pads=pads, **attributes))


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(padded("Conv", value=1.0), id="ones"),
        pytest.param(padded("Conv", mode="reflect"), id="reflected"),
        pytest.param(padded("Conv", mode="edge"), id="edges"),
        pytest.param(padded("Conv", pads=(0, 0, -1, 0, 0, 0, 0, 0)), id="cut"),
        pytest.param(padded("Conv", pads=(0, 1, 0, 0, 0, 1, 0, 0), taken=6), id="channels"),
        pytest.param(padded("Conv", auto_pad="SAME_UPPER"), id="the layer pads as it likes"),
        pytest.param(padded("Conv", also=True), id="an output"),
        pytest.param(padded("MaxPool"), id="zeros above what is negative"),
        pytest.param(padded("MaxPool", before="Tanh"), id="zeros above what may be negative"),
        pytest.param(padded("MaxPool", before="Relu", ceil_mode=1), id="sizes rounded up"),
        pytest.param(padded("MaxPool", pads=(0, 0, 3, 0, 0, 0, 0, 0), value=-math.inf), id="a window of padding alone"),
        pytest.param(_own_pads("AveragePool", pads=[1, 1, 1, 1], count_include_pad=0), id="padding that does not count"),
        pytest.param(padded("LpPool"), id="another pool"),
    ],
)  # fmt: skip
def test_padding_that_a_layer_cannot_do_stays(model: onnx.ModelProto) -> None:
    untouched(NAME, model)


def test_pads_that_are_calculated_stay() -> None:
    graph = Graph()
    source, pads = graph.input([1, 4, 9, 8]), graph.input([8], onnx.TensorProto.INT64, name="pads")
    model = graph.model(graph.conv(graph.op("Pad", source, pads), 4, 6, 3))
    from firmware_pkg.graph.fold_pad import apply
    from firmware_pkg.graph.network import Network
    from firmware_pkg.graph.registry import Wishes

    network = Network(model)
    assert apply(network, Wishes()).places == 0
    assert network.counts() == types(model)


def test_named_axes_are_read() -> None:
    graph = Graph(opset=18)
    source = graph.input([1, 4, 9, 8])
    made = graph.op("Pad", source, graph.ints(1, 2, 3, 4), "", graph.ints(-1, 2))
    found = passed(NAME, graph.model(graph.conv(made, 4, 6, 3)))
    assert found.change.places == 1
    assert found.verdict.holds
    assert found.after[0].shape == found.before[0].shape


@settings(max_examples=60, deadline=None)
@given(
    layer=st.sampled_from(["Conv", "AveragePool", "MaxPool"]), sides=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    stride=st.integers(1, 3), before=st.sampled_from(["", "Relu", "Tanh"]), value=st.sampled_from([None, 0.0, -math.inf, 0.5]),
    opset=st.sampled_from([11, 13, 18]),
)  # fmt: skip
def test_outputs_stay(layer: str, sides: list[int], stride: int, value: float | None, **options: Any) -> None:
    if layer != "MaxPool" and value == -math.inf:
        value = 0.25  # infinities are nothing to convolve
    pads = (0, 0, *sides[:2], 0, 0, *sides[2:])
    made = passed(NAME, padded(layer, pads=pads, strides=[stride, stride], value=value, **options))
    assert made.verdict.holds, made.verdict.words
