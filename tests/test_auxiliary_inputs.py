"""Models with a second input: what asks for the picture's size is fed by the backend, everything else is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from camagent import cli
from camagent.backends import BackendOptions, open_backend
from camagent.errors import BackendError

Capture = pytest.CaptureFixture[str]
Extra = tuple[str, int, Sequence[int | None]]
SCALE: Extra = ("scale_factor", TensorProto.FLOAT, [1, 2])
SHAPE: Extra = ("im_shape", TensorProto.FLOAT, [None, 2])
SIZES: Extra = ("orig_target_sizes", TensorProto.INT64, [1, 2])
STRANGE: Extra = ("temperature", TensorProto.FLOAT, [1, 2])


def model(extra: Sequence[Extra], *, nhwc: bool = False, first: bool = False) -> bytes:
    """Gives what its other inputs got: 1 x 2 each."""
    shape = [1, 96, 160, 3] if nhwc else [1, 3, 96, 160]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)]
    others = [helper.make_tensor_value_info(name, kind, list(sides)) for name, kind, sides in extra]
    nodes = [helper.make_node("Cast", [name], [f"{name} out"], to=TensorProto.FLOAT) for name, _, _ in extra]
    nodes.append(helper.make_node("ReduceMean", ["image"], ["mean"]))
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in [*(f"{n} out" for n, _, _ in extra), "mean"]
    ]
    made = helper.make_graph(nodes, "g", others + inputs if first else inputs + others, outputs)
    data: bytes = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    return data


@pytest.mark.parametrize("nhwc", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_sizes_are_fed_and_the_picture_is_the_only_input_left(nhwc: bool, first: bool) -> None:
    backend = open_backend("onnx", model([SCALE, SHAPE, SIZES], nhwc=nhwc, first=first), BackendOptions())
    (spec,) = backend.inputs
    assert spec.name == "image"
    *sizes, _ = backend.infer(np.zeros(tuple(side or 1 for side in spec.shape), np.float32))
    assert [size.tolist() for size in sizes] == [[[1, 1]], [[96, 160]], [[160, 96]]]
    backend.close()


def test_an_input_that_nothing_is_known_of_stays_one() -> None:
    backend = open_backend("onnx", model([STRANGE]), BackendOptions())
    assert [spec.name for spec in backend.inputs] == ["image", "temperature"]
    with pytest.raises(BackendError, match="failed on a frame"):
        backend.infer(np.zeros((1, 3, 96, 160), np.float32))


def test_a_sole_input_is_the_picture_whatever_its_name() -> None:
    shape = [1, 3, 8, 8]
    node = helper.make_node("ReduceMean", ["scale_factor"], ["mean"])
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("scale_factor", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("mean", TensorProto.FLOAT, None)],
    )  # fmt: skip
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    assert [spec.name for spec in open_backend("onnx", data, BackendOptions()).inputs] == ["scale_factor"]


def test_inspect_says_what_is_fed_and_what_is_not(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model([SCALE, STRANGE], first=True))
    assert onnx.load(str(path)).graph.input[0].name == "scale_factor"
    assert cli.run(["model", "inspect", str(path)]) == 0
    said = capsys.readouterr().out
    assert "scale_factor 1x2 float32; the picture's size, fed by the agent" in said
    assert "temperature 1x2 float32\n" in said
    assert "the model has 2 inputs that nothing is known of" in said
