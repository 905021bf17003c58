from __future__ import annotations

from typing import get_args

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from firmware_pkg.graph.registry import MapEnding, Wishes
from tests.support.graphs import Graph, inputs_of, passed, run, untouched
from tests.support.segformer import segformer

NAME = "argmax-first"
WISHES: list[MapEnding] = list(get_args(MapEnding))
INT64, BOOL = TensorProto.INT64, TensorProto.BOOL


def smooth(graph: Graph, channels: int, side: int = 16) -> str:
    """Planes with areas: made of few pixels, so that a map of them is not all boundary."""
    small = graph.resize(graph.input([1, 3, side // 4, side // 4]), (1, 3, side, side))
    return graph.conv(small, 3, channels)


def ending(
    *steps: str, channels: int = 5, scale: int = 4, coordinates: str = "half_pixel", last: bool = False,
    also: int | None = None, opset: int = 17, threshold: float = 0.3,
) -> onnx.ModelProto:  # fmt: skip
    """Smooth logits, then the steps. `last`: channels are the last axis then. `also`: a step's result leaves, too."""
    graph = Graph(3, opset)
    value, axis, made, kind = smooth(graph, channels), 3 if last else 1, list[str](), TensorProto.FLOAT
    for step in steps:
        match step:
            case "Resize" | "nearest":
                mode = "linear" if step == "Resize" else "nearest"
                value = graph.resize(value, (1, channels, 16 * scale, 16 * scale), mode, coordinates)
            case "Transpose":
                value = graph.transpose(value, 0, 2, 3, 1)
            case "Softmax" | "LogSoftmax":
                value = graph.op(step, value, axis=axis)
            case "Softmax of rows":
                value = graph.op("Softmax", value, axis=2)
            case "ArgMax" | "last ArgMax":
                value, kind = graph.op("ArgMax", value, axis=axis, keepdims=0, select_last_index=int(step != "ArgMax")), INT64
            case "kept ArgMax":
                value, kind = graph.op("ArgMax", value, axis=axis, keepdims=1), INT64
            case "Greater" | "GreaterOrEqual":
                value, kind = graph.op(step, value, graph.constant(np.float32(threshold))), BOOL
            case "Cast":
                value, kind = graph.op("Cast", value, to=TensorProto.FLOAT), TensorProto.FLOAT
            case _:
                value = graph.op(step, value)
        made.append(value)
    if also is not None:
        assert kind == TensorProto.FLOAT or also < len(made) - 1
        return _with(graph.model(value, kind=kind), made[also])
    return graph.model(value, kind=kind)


def _with(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    made = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(made, full_check=True)
    return made


FULL = [
    ("Resize", "Softmax", "ArgMax"), ("Resize", "ArgMax"), ("Resize", "LogSoftmax", "ArgMax", "Cast"),
    ("Resize", "Softmax", "kept ArgMax"), ("Resize", "Sigmoid", "ArgMax"),
]  # fmt: skip


@pytest.mark.parametrize("steps", FULL)
@pytest.mark.parametrize("wish", WISHES)
def test_nothing_is_left_at_full_resolution(steps: tuple[str, ...], wish: MapEnding) -> None:
    made = passed(NAME, ending(*steps), Wishes(wish))
    assert made.change.places == 1
    assert made.verdict.holds, made.verdict.words
    assert made.verdict.kind == "class map"
    assert not {"Softmax", "LogSoftmax", "Sigmoid"} & set(made.types)
    shapes = {"logits": (1, 5, 16, 16), "auto": (1, 5, 16, 16), "labels": (1, 16, 16)}
    assert made.after[0].shape == shapes.get(wish, made.before[0].shape)
    assert made.types["ArgMax"] == (wish in {"labels", "full"})
    if wish == "full":
        assert made.after[0].dtype == made.before[0].dtype
        assert [one.name for one in made.model.graph.output] == [one.name for one in ending(*steps).graph.output]


@pytest.mark.parametrize("wish", WISHES)
def test_channels_may_be_the_last_axis(wish: MapEnding) -> None:
    made = passed(NAME, ending("Resize", "Transpose", "Softmax", "ArgMax", last=True), Wishes(wish))
    assert made.change.places == 1
    assert made.verdict.holds, made.verdict.words
    assert made.types["Transpose"] == 0


def test_what_differs_lies_at_boundaries_and_is_counted() -> None:
    made = passed(NAME, ending("Resize", "Softmax", "ArgMax"))
    measured = made.verdict.measured
    assert measured["differ_off_boundary"] == 0, "a mean of four pixels of one class is of that class"
    assert 0 < measured["boundary"] < measured["pixels"]
    assert measured["pixels"] == 64 * 64
    large, small = made.before[0][0], made.after[0][0].argmax(axis=0)
    differ = int((large != np.kron(small, np.ones((4, 4), np.int64))).sum())
    assert measured["differ_at_boundary"] == differ


def test_a_wrong_small_map_is_found() -> None:
    made = passed(NAME, ending("Resize", "ArgMax"), Wishes("labels"))
    assert made.change.maps is not None
    from firmware_pkg.graph.proof import judge

    shifted = [np.roll(made.after[0], 3, axis=2)]
    assert not judge(made.change, [made.before], [shifted]).holds
    other = [np.where(made.after[0] == made.after[0].max(), 0, made.after[0])]
    assert not judge(made.change, [made.before], [other]).holds


def test_logits_on_the_grid_of_the_classes_are_the_very_classes() -> None:
    made = passed(NAME, ending("Softmax", "ArgMax"))
    assert made.after[0].shape == (1, 5, 16, 16)
    assert made.verdict.measured["differ_off_boundary"] == made.verdict.measured["differ_at_boundary"] == 0
    np.testing.assert_array_equal(made.after[0].argmax(axis=1), made.before[0])


@pytest.mark.parametrize("step", ["Softmax", "LogSoftmax"])
def test_probabilities_become_logits(step: str) -> None:
    made = passed(NAME, ending(step))
    assert made.verdict.kind == "tolerance"
    assert made.verdict.holds, made.verdict.words
    assert made.change.settings["head.params.activation"] == "softmax"
    assert set(made.types) == {"Conv", "Resize"}


def test_a_threshold_moves_into_the_manifest() -> None:
    made = passed(NAME, ending("Resize", "Sigmoid", "Greater", "Cast", channels=1))
    assert made.verdict.holds, made.verdict.words
    assert made.change.settings == {
        "head.name": "semantic", "head.params.activation": "sigmoid", "thresholds.min_score": "0.3",
    }  # fmt: skip
    assert made.after[0].shape == (1, 1, 16, 16)


def test_a_threshold_of_logits_is_told_as_a_probability() -> None:
    made = passed(NAME, ending("GreaterOrEqual", "Cast", channels=1, threshold=0.0))
    assert made.change.settings["thresholds.min_score"] == "0.5"
    assert made.verdict.measured["differ_at_boundary"] == 0
    assert made.verdict.holds


@pytest.mark.parametrize("wish", ["labels", "full"])
def test_a_threshold_may_stay_in_the_graph(wish: MapEnding) -> None:
    made = passed(NAME, ending("Resize", "Sigmoid", "Greater", channels=1), Wishes(wish))
    assert made.verdict.holds, made.verdict.words
    assert made.types["Sigmoid"] == 0
    assert made.types["Greater"] == 1


def test_a_map_of_another_geometry_keeps_its_size() -> None:
    made = passed(NAME, ending("Resize", "Softmax", "ArgMax", coordinates="align_corners"))
    assert made.verdict.holds, made.verdict.words
    assert made.after[0].shape == made.before[0].shape
    assert "align_corners" in made.change.notes[0]


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(ending("Resize", "Softmax", "last ArgMax"), id="the last of equals wins"),
        pytest.param(ending("Resize", "Softmax of rows"), id="softmax of rows leaves"),
        pytest.param(ending("Resize"), id="a map of anything"),
        pytest.param(ending("nearest"), id="enlarged by the nearest"),
        pytest.param(ending("Sigmoid", channels=12), id="a Sigmoid of many channels: a detector's cells"),
        pytest.param(ending("Resize", "Softmax", "ArgMax", also=1), id="probabilities leave, too"),
    ],
)
def test_graphs_that_do_not_fit_stay(model: onnx.ModelProto) -> None:
    untouched(NAME, model)


@pytest.mark.parametrize("wish", WISHES)
def test_a_softmax_over_another_axis_does_change_the_winner_and_stays(wish: MapEnding) -> None:
    made = passed(NAME, ending("Softmax of rows", "ArgMax"), Wishes(wish))
    assert made.types["Softmax"] == 1
    assert made.verdict.holds
    assert made.verdict.measured.get("differ_at_boundary", 0) == 0


def test_logits_leave_when_they_are_wished_for() -> None:
    made = passed(NAME, ending("Resize"), Wishes("logits"))
    assert made.verdict.kind == "class map"
    assert made.verdict.holds, made.verdict.words
    assert made.after[0].shape == (1, 5, 16, 16)


@pytest.mark.parametrize("opset", [11, 12])
def test_softmax_of_old_opsets_is_no_softmax_of_one_axis(opset: int) -> None:
    graph = Graph(3, opset)
    untouched(NAME, graph.model(graph.op("Softmax", graph.conv(graph.input([1, 3, 4, 4]), 3, 5), axis=1)))


@pytest.mark.parametrize("steps", [("Softmax",), ("Softmax", "ArgMax"), ("Resize", "Softmax", "ArgMax")])
def test_a_softmax_between_two_transposes_is_one_of_the_channels(steps: tuple[str, ...]) -> None:
    """As exporters wrote it for opset 12."""
    graph = Graph(3, 12)
    value = graph.conv(graph.op("Identity", graph.input([1, 3, 8, 8])), 3, 5)
    if "Resize" in steps:
        nothing = graph.constant(np.zeros(0, np.float32))
        value = graph.op("Resize", value, nothing, graph.constant(np.array([1, 1, 2, 2], np.float32)), mode="linear")
    value = graph.transpose(graph.op("Softmax", graph.transpose(value, 0, 3, 2, 1), axis=3), 0, 3, 2, 1)
    if "ArgMax" in steps:
        value = graph.op("ArgMax", value, axis=1, keepdims=0)
    made = passed(NAME, graph.model(value, kind=INT64 if "ArgMax" in steps else TensorProto.FLOAT))
    assert made.change.places == 1
    assert made.verdict.measured.get("differ_off_boundary", 0) == 0
    assert made.verdict.holds or "Resize" in steps, "white noise is all boundary"
    assert set(made.types) <= {"Conv", "Identity"}


def test_choices_inside_a_graph_need_no_activation() -> None:
    graph = Graph(5)
    logits = graph.conv(graph.input([1, 3, 8, 8]), 3, 4)
    chosen = graph.op("ArgMax", graph.op("Softmax", logits, axis=1), axis=1, keepdims=0)
    sure = graph.op("Greater", graph.op("Sigmoid", graph.conv("x", 3, 1)), graph.constant(np.float32(0.7)))
    both = graph.op("Mul", graph.op("Cast", chosen, to=1), graph.op("Cast", sure, to=1))
    made = passed(NAME, graph.model(both))
    assert made.change.places == 2
    assert not {"Softmax", "Sigmoid"} & set(made.types)
    assert made.verdict.kind == "bit-equal"


def test_an_activation_that_something_else_takes_stays() -> None:
    graph = Graph(5)
    soft = graph.op("Softmax", graph.conv(graph.input([1, 3, 8, 8]), 3, 4), axis=1)
    chosen = graph.op("Cast", graph.op("ArgMax", soft, axis=1, keepdims=1), to=1)
    untouched(NAME, graph.model(graph.op("Mul", soft, chosen)))


def test_several_outputs_stay_what_they_are() -> None:
    model = ending("Resize", "Softmax", "ArgMax", also=0)
    made = passed(NAME, model)
    assert [output.shape for output in made.after] == [output.shape for output in made.before]
    assert made.verdict.kind == "bit-equal"


def test_the_whole_of_a_small_segformer() -> None:
    model = segformer()
    made = passed(NAME, model)
    assert made.after[0].shape == (1, 5, 16, 16)
    assert made.verdict.measured["differ_off_boundary"] == 0
    assert made.types["Softmax"] == made.types["ArgMax"] == 0


@settings(max_examples=40, deadline=None)
@given(
    steps=st.sampled_from([*FULL, ("Softmax", "ArgMax"), ("Resize", "Softmax"), ("Softmax",)]), wish=st.sampled_from(WISHES),
    channels=st.integers(2, 6), scale=st.integers(2, 5), coordinates=st.sampled_from(["half_pixel", "pytorch_half_pixel"]),
)  # fmt: skip
def test_off_boundaries_no_pixel_ever_differs(
    steps: tuple[str, ...], wish: MapEnding, channels: int, scale: int, coordinates: str
) -> None:
    made = passed(NAME, ending(*steps, channels=channels, scale=scale, coordinates=coordinates), Wishes(wish))
    assert made.verdict.measured.get("differ_off_boundary", 0) == 0
    assert made.verdict.kind != "shape"


def test_the_helper_really_runs_models() -> None:
    model = ending("Resize")
    assert run(model, *inputs_of(model))[0].std() > 0
