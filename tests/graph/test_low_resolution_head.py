from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.graphs import Graph, passed, types, untouched
from tests.support.segformer import segformer

NAME = "low-resolution-head"
LINEAR = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]


def pyramid(
    *, mode: str = "linear", coordinates: str = "half_pixel", kernel: int = 1, group: int = 1, also: str = "", opset: int = 17,
    seed: int = 0, sides: tuple[int, ...] = (16, 8, 4), channels: int = 12, made: int = 6,
) -> onnx.ModelProto:  # fmt: skip
    """Levels brought to one size, concatenated and mixed. `also`: a value that something else takes, too."""
    graph = Graph(seed, opset)
    source, parts, named = graph.input([1, 4, sides[0], sides[0]]), [], {}
    for number, side in enumerate(sides):
        part = graph.conv(source, 4, channels, 1)
        if side != sides[0]:
            step = sides[0] // side
            part = graph.op("Relu", graph.op("MaxPool", part, kernel_shape=[step, step], strides=[step, step]))
            named[f"small{number}"] = part = graph.conv(part, channels, channels)
            named[f"large{number}"] = part = graph.resize(part, (1, channels, sides[0], sides[0]), mode, coordinates)
        parts.append(part)
    named["concat"] = joined = graph.op("Concat", *parts, axis=1)
    pads = [kernel // 2] * 4
    named["conv"] = mixed = graph.conv(joined, channels * len(parts), made, kernel, group=group, pads=pads, bias=False)
    final = graph.op("Relu", graph.normalised(mixed, made))
    return graph.model(final, *([named[also]] if also else []))


@pytest.mark.parametrize("coordinates", LINEAR)
def test_convolution_goes_before_upsampling(coordinates: str) -> None:
    model = pyramid(coordinates=coordinates)
    made = passed(NAME, model)
    assert made.change.places == 1
    assert made.verdict.holds, made.verdict.words
    assert made.types["Concat"] == made.types["BatchNormalization"] == 0
    assert (types(model)["Conv"], made.types["Conv"]) == (6, 5), "layers on both sides of the mixing one went into its parts"
    assert made.types["Resize"] == 2


def test_a_decode_head_runs_at_low_resolution() -> None:
    model = segformer(tail=False)
    made = passed(NAME, model)
    assert made.change.places == 1
    assert made.verdict.holds, made.verdict.words
    assert made.verdict.measured.get("error", 0) < 1e-5, "no more than the noise of float32"
    assert made.types["MatMul"] == types(model)["MatMul"] - 4
    assert made.types["Transpose"] == types(model)["Transpose"] - 8
    assert made.types["Resize"] == 3, "the level that has the size already is not enlarged"
    assert made.types["Concat"] == 0


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(pyramid(mode="nearest", coordinates="asymmetric"), id="nearest"),
        pytest.param(pyramid(mode="cubic"), id="cubic"),
        pytest.param(pyramid(kernel=3), id="kernel 3x3"),
        pytest.param(pyramid(group=6), id="grouped"),
        pytest.param(pyramid(also="concat"), id="the concatenation is an output"),
        pytest.param(pyramid(sides=(16, 16)), id="nothing is enlarged"),
        pytest.param(pyramid(channels=2, made=64), id="more work than before"),
    ],
)
def test_graphs_that_do_not_fit_stay(model: onnx.ModelProto) -> None:
    untouched(NAME, model)


def test_a_level_that_something_else_takes_stays_where_it_is() -> None:
    model = pyramid(also="large1")
    made = passed(NAME, model)
    assert made.verdict.holds
    assert made.change.places == 1, "the other level"
    assert made.types["Resize"] == 2
    assert len(made.after) == 2


def test_a_layer_that_something_else_takes_is_not_folded() -> None:
    model = pyramid(also="small2")
    made = passed(NAME, model)
    assert made.verdict.holds
    np.testing.assert_allclose(made.after[1], made.before[1], rtol=0, atol=1e-6)


def test_a_normalisation_behind_an_output_is_not_folded() -> None:
    made = passed(NAME, pyramid(also="conv"))
    assert made.verdict.holds
    assert made.types["BatchNormalization"] == 1


@pytest.mark.parametrize("coordinates", LINEAR)
@pytest.mark.parametrize("bias", [True, False])
def test_a_normalisation_behind_upsampling_goes_into_the_layer_before_it(coordinates: str, bias: bool) -> None:
    graph = Graph()
    made = graph.conv(graph.input([1, 4, 6, 6]), 4, 8, 3, group=2, bias=bias)
    model = graph.model(graph.op("Relu", graph.normalised(graph.resize(made, (1, 8, 12, 12), coordinates=coordinates), 8)))
    found = passed(NAME, model)
    assert found.change.places == 1
    assert found.verdict.holds, found.verdict.words
    assert set(found.types) == {"Conv", "Resize", "Relu"}


@pytest.mark.parametrize("other", ["the layer", "the enlarged"])
def test_a_normalisation_stays_where_others_take_what_lies_before_it(other: str) -> None:
    graph = Graph()
    made = graph.conv(graph.input([1, 4, 6, 6]), 4, 8, 3)
    large = graph.resize(made, (1, 8, 12, 12))
    untouched(NAME, graph.model(graph.normalised(large, 8), made if other == "the layer" else large))


def test_open_shapes_stay() -> None:
    graph = Graph()
    source = graph.input([1, 8, "h", "w"])
    scales = graph.constant(np.array([1, 1, 2, 2], np.float32))
    large = graph.op("Resize", source, "", scales, mode="linear")
    untouched(NAME, graph.model(graph.conv(large, 8, 4)))


def test_scales_serve_as_well_as_sizes_also_in_older_opsets() -> None:
    graph = Graph(opset=11)
    source = graph.input([1, 8, 6, 5])
    nothing = graph.constant(np.zeros(0, np.float32))
    scales = graph.constant(np.array([1, 1, 3, 2], np.float32))
    large = graph.op("Resize", source, nothing, scales, mode="linear", coordinate_transformation_mode="half_pixel")
    made = passed(NAME, graph.model(graph.conv(large, 8, 4)))
    assert made.change.places == 1
    assert made.verdict.holds


def test_what_is_on_the_large_grid_already_stays_one_concatenation() -> None:
    graph = Graph()
    source = graph.input([1, 8, 16, 16])
    parts = [graph.op("Relu", graph.conv(source, 8, 12)) for _ in range(3)]
    pooled = graph.op("Relu", graph.conv(graph.op("GlobalAveragePool", source), 8, 12))
    parts.append(graph.resize(pooled, (1, 12, 16, 16)))
    made = passed(NAME, graph.model(graph.op("Relu", graph.conv(graph.op("Concat", *parts, axis=1), 48, 10))))
    assert made.change.places == 1
    assert made.verdict.holds
    assert made.types["Concat"] == 1
    assert made.types["Conv"] == 6


@settings(max_examples=40, deadline=None)
@given(
    sides=st.sampled_from([(16, 8), (16, 8, 4), (12, 4, 2), (8, 1), (16, 8, 8, 4)]),
    channels=st.integers(1, 9), made=st.integers(1, 9), coordinates=st.sampled_from(LINEAR), seed=st.integers(0, 1000),
    opset=st.sampled_from([13, 17, 18]),
)  # fmt: skip
def test_outputs_stay(**options: Any) -> None:
    found = passed(NAME, pyramid(**options))
    assert found.verdict.holds, found.verdict.words
