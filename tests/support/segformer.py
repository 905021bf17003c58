"""A SegFormer in small: a pyramid of features, the decode head as exporters write it, and the tail at full resolution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto

from tests.support.graphs import Graph


def segformer(
    *, size: int = 64, levels: Sequence[int] = (8, 16, 24, 32), width: int = 32, classes: int = 5, opset: int = 17,
    seed: int = 0, mode: str = "linear", coordinates: str = "half_pixel", tail: bool = True,
) -> onnx.ModelProto:  # fmt: skip
    """Input 1 x 3 x size x size; output 1 x size x size class ids, or with `tail` false logits of a quarter of that size."""
    graph = Graph(seed, opset)
    value, taken, side, features = graph.input([1, 3, size, size]), 3, size, []
    for number, channels in enumerate(levels):
        stride = 4 if number == 0 else 2
        side //= stride
        value = graph.op("Relu", graph.conv(value, taken, channels, 3, strides=[stride, stride], pads=[1, 1, 1, 1]))
        value = _mix(graph, value, channels, side)
        features.append((value, channels, side))
        taken = channels
    large = size // 4
    parts = []
    for planes, channels, own in features:
        part = _layer_of_tokens(graph, planes, channels, own, width)
        parts.append(graph.resize(part, (1, width, large, large), mode, coordinates))
    fused = graph.op("Concat", *reversed(parts), axis=1)
    fused = graph.conv(fused, width * len(parts), width, bias=False)
    fused = graph.op("Relu", graph.normalised(fused, width))
    logits = graph.conv(fused, width, classes)
    if not tail:
        return graph.model(logits)
    enlarged = graph.resize(logits, (1, classes, size, size))
    ids = graph.op("ArgMax", graph.op("Softmax", enlarged, axis=1), axis=1, keepdims=0)
    return graph.model(ids, kind=TensorProto.INT64)


def _mix(graph: Graph, planes: str, channels: int, side: int) -> str:
    """Mix-FFN: tokens, a layer over channels, a depthwise convolution, GELU, a layer back, and the residual."""
    cells, inner = side * side, channels * 2
    tokens = graph.transpose(graph.reshape(planes, 1, channels, cells), 0, 2, 1)
    normal = graph.op("LayerNormalization", tokens, graph.weights(channels), graph.weights(channels), axis=-1)
    made = graph.op("Add", graph.op("MatMul", normal, graph.weights(channels, inner)), graph.weights(inner))
    made = graph.reshape(graph.transpose(made, 0, 2, 1), 1, inner, side, side)
    made = graph.conv(made, inner, inner, 3, group=inner, pads=[1, 1, 1, 1])
    made = graph.transpose(graph.reshape(made, 1, inner, cells), 0, 2, 1)
    erf = graph.op("Erf", graph.op("Div", made, graph.constant(np.float32(2**0.5))))
    made = graph.op(
        "Mul", graph.op("Mul", made, graph.op("Add", erf, graph.constant(np.float32(1)))), graph.constant(np.float32(0.5))
    )
    made = graph.op("Add", graph.op("MatMul", made, graph.weights(inner, channels)), graph.weights(channels))
    tokens = graph.op("Add", made, tokens)
    return graph.transpose(graph.reshape(tokens, 1, side, side, channels), 0, 3, 1, 2)


def _layer_of_tokens(graph: Graph, planes: str, channels: int, side: int, width: int) -> str:
    tokens = graph.transpose(graph.reshape(planes, 1, channels, side * side), 0, 2, 1)
    made = graph.op("Add", graph.weights(width), graph.op("MatMul", tokens, graph.weights(channels, width)))
    return graph.reshape(graph.transpose(made, 0, 2, 1), 1, width, side, side)
