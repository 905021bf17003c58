"""What is read off ONNX and Rockchip files without any runtime: real models, models made here, and damaged ones."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from firmware_pkg.errors import ManifestInvalid
from firmware_pkg.graph_facts import GraphFacts, read_graph
from firmware_pkg.rknn_file import read_rknn
from tests.support.data import shared
from tests.support.exports import prepended

Op = tuple[str, list[Any]]


def made(*operators: Op, dtype: int = TensorProto.FLOAT, shape: tuple[Any, ...] = (1, 3, 8, 8)) -> bytes:
    """A chain of operators from `in` to `out`; further operands are constants."""
    nodes, constants, name = [], [], "in"
    for index, (kind, operands) in enumerate(operators):
        names = [f"c{index}{n}" for n in range(len(operands))]
        constants += [numpy_helper.from_array(np.asarray(v), n) for v, n in zip(operands, names, strict=True)]
        result = "out" if index == len(operators) - 1 else f"t{index}"
        nodes.append(helper.make_node(kind, [name, *names], [result]))
        name = result
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("in", dtype, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="me", producer_version="2")
    data: bytes = model.SerializeToString()
    return data


def begins(*operators: Op) -> GraphFacts:
    return read_graph(made(*operators))


@pytest.mark.parametrize("name", ["FastestDet", "SINet", "SINet_Softmax", "ultraface-RFB-320"])
def test_structure_is_what_the_onnx_package_reads(name: str) -> None:
    path = shared(f"models/{name}.onnx")
    model, facts = onnx.load(str(path)), read_graph(path.read_bytes())
    kinds = [node.op_type for node in model.graph.node]
    assert dict(facts.operators) == {kind: kinds.count(kind) for kind in kinds}
    assert facts.opset == model.opset_import[0].version
    assert facts.producer == f"{model.producer_name} {model.producer_version}"
    weights = {tensor.name for tensor in model.graph.initializer}  # older exporters list them as inputs too
    pictures = [value for value in model.graph.input if value.name not in weights]
    for found, value in zip((*facts.inputs, *facts.outputs), (*pictures, *model.graph.output), strict=True):
        assert found.name == value.name
        assert found.shape == tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
        assert found.dtype == "float32"
    assert (facts.gain, facts.normalisation, facts.suppression) == (1.0, (), "")


def test_activations_at_the_end_are_told_apart_from_those_within() -> None:
    def endings(name: str) -> dict[str, tuple[str, ...]]:
        return dict(read_graph(shared(f"models/{name}.onnx").read_bytes()).endings)

    assert endings("FastestDet") == {"758": ("Sigmoid", "Softmax")}
    assert endings("SINet") == {"classifier/1": ()}, "it has a softmax in its middle"
    assert endings("SINet_Softmax") == {"Softmax/1": ("Softmax",)}
    assert endings("ultraface-RFB-320") == {"scores": ("Softmax",), "boxes": ()}


@pytest.mark.parametrize(
    ("operators", "words", "gain"),
    [
        ([("Div", [np.float32(255)])], ["Div 255"], 1 / 255),
        ([("Mul", [np.float32(1 / 255)])], ["Mul 0.00392157"], 1 / 255),
        ([("Sub", [np.array([127] * 3, np.float32)]), ("Div", [np.float32(128)])], ["Sub 127", "Div 128"], 1 / 128),
        ([("Div", [np.float64(255)]), ("Sub", [np.float64(0.5)])], ["Div 255", "Sub 0.5"], 1 / 255),
        ([("Sub", [np.array([[[0.5]], [[0.25]], [[0.125]]], np.float16)])], ["Sub 0.5/0.25/0.125"], 1.0),
    ],
)  # fmt: skip
def test_arithmetic_behind_the_input_is_found_with_its_numbers(operators: list[Op], words: list[str], gain: float) -> None:
    facts = begins(*operators, ("Relu", []))
    assert [str(step) for step in facts.normalisation] == words
    assert facts.gain == pytest.approx(gain, rel=1e-4)


def test_what_only_moves_numbers_is_passed_and_a_layer_ends_the_beginning() -> None:
    facts = begins(("Identity", []), ("Div", [np.float32(255)]), ("Relu", []), ("Mul", [np.float32(2)]), ("Relu", []))
    assert [str(step) for step in facts.begins] == ["Identity", "Div 255", "Relu"]
    assert [str(step) for step in facts.normalisation] == ["Div 255"]


def test_a_batch_norm_at_the_beginning_divides_by_its_deviation() -> None:
    parts = [np.array(v, np.float32) for v in ([1] * 3, [0] * 3, [127] * 3, [64**2] * 3)]
    facts = begins(("BatchNormalization", parts), ("Relu", []))
    assert facts.gain == pytest.approx(1 / 64, rel=1e-3)


def test_eight_bit_outputs_have_scale_and_zero_point() -> None:
    facts = read_graph(made(("Relu", []), ("QuantizeLinear", [np.float32(0.5), np.uint8(3)])))
    assert (facts.outputs[0].scale, facts.outputs[0].zero_point) == (0.5, 3)
    assert facts.endings == {"out": ("QuantizeLinear",)}
    assert facts.inputs[0].scale is None


def test_open_sizes_are_none() -> None:
    assert read_graph(made(("Relu", []), shape=("batch", 3, "h", None))).inputs[0].shape == (None, 3, None, None)


def test_a_prepended_scale_is_seen_on_a_real_network(tmp_path: Path) -> None:
    path = prepended(shared("models/FastestDet.onnx"), [("Mul", np.float32(1 / 255))], tmp_path / "m.onnx")
    facts = read_graph(path.read_bytes())
    assert [str(step) for step in facts.begins] == ["Mul 0.00392157", "Conv"]


@pytest.mark.parametrize("data", [b"", b"RKNN", b"\x08\x07", b"not a model at all"])
def test_what_is_no_onnx_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        read_graph(data)


@given(st.data())
def test_damage_is_refused_or_read_and_never_ends_otherwise(data: st.DataObject) -> None:
    good = bytearray(made(("Sub", [np.array([1, 2, 3], np.float32)]), ("Div", [np.float32(255)]), ("Relu", [])))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ManifestInvalid):
        read_graph(bytes(good[: data.draw(st.integers(0, len(good)))]))


# -- Rockchip ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "target", "toolkit"),
    [
        ("multiple_input_RK3562", "rk3562", "1.6.2"), ("multiple_input_RK3566_RK3568", "rk3566", "1.6.2"),
        ("multiple_input_RK3576", "rk3576", "1.6.2"), ("multiple_input_RK3588", "rk3588", "1.6.2"),
        ("multiple_input_RV1126B", "rv1126b", "2.3.2"), ("pp_human_segv2_RK3562", "rk3562", "2.3.1"),
        ("pp_human_segv2_RK3566_RK3568", "rk3566", "2.3.1"), ("pp_human_segv2_RK3576", "rk3576", "2.3.1"),
        ("pp_human_segv2_RK3588", "rk3588", "2.3.1"),
    ],
)  # fmt: skip
def test_rockchip_models_name_their_targets_and_tensors(name: str, target: str, toolkit: str) -> None:
    facts = read_rknn(shared(f"rknn/{name}.rknn").read_bytes())
    assert facts.targets == (target,)
    assert facts.toolkit == f"{toolkit}-source_code"
    shapes = [one.shape for one in (*facts.inputs, *facts.outputs)]
    assert shapes == ([(1, 1, 128, 128), (1, 3, 128, 128), (1, 8, 128, 128)] if "multiple" in name
                      else [(1, 3, 192, 192), (1, 192, 192)])  # fmt: skip


@given(st.data())
def test_a_damaged_rockchip_model_is_refused(data: st.DataObject) -> None:
    body = b'{"target_platform": ["rk3588"], "version": "1", "norm_tensor": [], "graph": []}'
    whole = b"RKNN" + bytes(4) + struct.pack("<QQ", 6, 16) + bytes(40) + bytes(16) + struct.pack("<Q", len(body)) + body
    assert read_rknn(whole).targets == ("rk3588",)
    with pytest.raises(ManifestInvalid):
        read_rknn(whole[: data.draw(st.integers(0, len(whole) - 1))])
