"""Small ONNX graphs with random weights, the passes on them, and what they calculate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from firmware_pkg.graph.network import Network
from firmware_pkg.graph.optimize import pass_of
from firmware_pkg.graph.passes import Change
from firmware_pkg.graph.proof import Verdict, judge
from firmware_pkg.graph.registry import Wishes

Array = NDArray[Any]


@dataclass
class Graph:
    """Nodes and constants as they are added; weights come from one generator."""

    seed: int = 0
    opset: int = 17
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def input(self, shape: Sequence[int | str], kind: int = TensorProto.FLOAT, name: str = "x") -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weights(self, *shape: int) -> str:
        return self.constant((self.random.normal(size=shape) / max(1, shape[-1]) ** 0.5).astype(np.float32))

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"v{len(self.nodes)}" + (f"_{index}" if index else "") for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=f"{kind}_{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def reshape(self, value: str, *shape: int) -> str:
        return str(self.op("Reshape", value, self.ints(*shape)))

    def transpose(self, value: str, *perm: int) -> str:
        return str(self.op("Transpose", value, perm=list(perm)))

    def conv(self, value: str, taken: int, made: int, kernel: int = 1, *, bias: bool = True, **attributes: Any) -> str:
        group = attributes.get("group", 1)
        inputs = [value, self.weights(made, taken // group, kernel, kernel), *([self.weights(made)] if bias else [])]
        return str(self.op("Conv", *inputs, kernel_shape=[kernel, kernel], **attributes))

    def normalised(self, value: str, channels: int) -> str:
        scale, shift, mean = (self.weights(channels) for _ in range(3))
        variance = self.constant((self.random.random(channels) + 0.5).astype(np.float32))
        return str(self.op("BatchNormalization", value, scale, shift, mean, variance))

    def resize(self, value: str, shape: Sequence[int], mode: str = "linear", coordinates: str = "half_pixel") -> str:
        more: dict[str, Any] = {"nearest_mode": "round_prefer_floor"} if mode == "nearest" else {}
        return str(self.op("Resize", value, "", "", self.ints(*shape), mode=mode, coordinate_transformation_mode=coordinates,
                           **more))  # fmt: skip

    def model(self, *outputs: str, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
        declared = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "g", self.inputs, declared, self.constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        made = onnx.shape_inference.infer_shapes(made, data_prop=True)
        del made.graph.value_info[:]
        onnx.checker.check_model(made, full_check=True)
        return made


@dataclass(frozen=True)
class Passed:
    """A pass's work on a model, and the proof of it."""

    change: Change
    model: onnx.ModelProto
    verdict: Verdict
    before: list[Array]
    after: list[Array]

    @property
    def types(self) -> Counter[str]:
        return types(self.model)


def types(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def run(model: onnx.ModelProto, *inputs: Array) -> list[Array]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {one.name: value for one, value in zip(session.get_inputs(), inputs, strict=True)}
    return list(session.run(None, feeds))


def inputs_of(model: onnx.ModelProto, seed: int = 1) -> list[Array]:
    random = np.random.default_rng(seed)
    made = []
    for value in model.graph.input:
        kind = value.type.tensor_type
        shape = [side.dim_value or 2 for side in kind.shape.dim]
        made.append(random.normal(size=shape).astype(helper.tensor_dtype_to_np_dtype(kind.elem_type)))
    return made


def passed(name: str, model: onnx.ModelProto, wishes: Wishes | None = None) -> Passed:
    """Runs one pass and judges it as `model optimize` does; the model that went in is not touched."""
    original = model.SerializeToString()
    network = Network(model)
    change = pass_of(name)(network, wishes or Wishes())
    made = network.model()
    assert model.SerializeToString() == original
    onnx.checker.check_model(made, full_check=True)
    inputs = inputs_of(model)
    before, after = run(model, *inputs), run(made, *inputs)
    return Passed(change, made, judge(change, [before], [after]), before, after)


def untouched(name: str, model: onnx.ModelProto, wishes: Wishes | None = None) -> Passed:
    """A pass on a graph that it does not fit: nothing is claimed, and nothing is changed."""
    made = passed(name, model, wishes)
    assert made.change.places == 0
    assert made.types == types(model)
    assert made.verdict.kind == "bit-equal"
    return made
