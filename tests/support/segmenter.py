"""A small segmentation transformer as ONNX: attention in the encoder, a head that enlarges and joins, softmax, argmax."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, DEEP, CLASSES = 64, 8, 5


class Graph:
    """Nodes one behind the other, with constants made on the way."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._noise = np.random.default_rng(0)

    def add(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        output = f"{name}_output_0"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=name, **attributes))
        return output

    def weights(self, *shape: int) -> str:
        return self.constant(self._noise.standard_normal(shape).astype(np.float32) / 10)

    def constant(self, value: Any) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def model(self, inputs: Mapping[str, list[Any]], outputs: Mapping[str, tuple[int, list[Any]]]) -> Any:
        graph = helper.make_graph(
            self.nodes, "g", [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
            initializer=self.constants,
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="tests")


def segmenter() -> Any:
    """1x3x64x64 -> classes 1x64x64, with node names as PyTorch's first exporter gives them."""
    made = Graph()
    x = made.add("Conv", "/encoder/patch/Conv", "image", made.weights(DEEP, 3, 3, 3), pads=[1] * 4, strides=[2, 2])
    maps = [x]
    for number in range(2):
        block = f"/encoder/block.{number}"
        side = SIDE // 2
        rows = made.add("Reshape", f"{block}/Reshape", x, made.constant(np.array([1, DEEP, side * side])))
        tokens = made.add("Transpose", f"{block}/Transpose", rows, perm=[0, 2, 1])
        scores = made.add("MatMul", f"{block}/attn/MatMul", tokens, rows)
        soft = made.add("Softmax", f"{block}/attn/Softmax", scores, axis=-1)
        mixed = made.add("MatMul", f"{block}/attn/MatMul_1", soft, tokens)
        back = made.add("Transpose", f"{block}/Transpose_1", mixed, perm=[0, 2, 1])
        x = made.add("Reshape", f"{block}/Reshape_1", back, made.constant(np.array([1, DEEP, side, side])))
        maps.append(x)
    sizes = made.constant(np.array([1, DEEP, SIDE, SIDE]))
    large = [made.add("Resize", f"/head/Resize_{index}", one, "", "", sizes, mode="linear") for index, one in enumerate(maps)]
    joined = made.add("Concat", "/head/Concat", *large, axis=1)
    logits = made.add("Conv", "/head/classify/Conv", joined, made.weights(CLASSES, DEEP * len(maps), 1, 1))
    soft = made.add("Softmax", "/Softmax", logits, axis=1)
    made.add("ArgMax", "/ArgMax", soft, axis=1, keepdims=0)
    return made.model({"image": [1, 3, SIDE, SIDE]}, {"/ArgMax_output_0": (TensorProto.INT64, [1, SIDE, SIDE])})


def saved(model: Any, path: Path) -> Path:
    onnx.save(model, str(path))
    return path
