"""Rockchip model files: the container that rknn_file.py describes, with an ONNX model where the compiled network is.

The fake RKNNLite runs that ONNX model; to the reader the file is as good as a real one.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import onnx


def rknn_file(
    network: bytes, *, targets: Sequence[str] = ("rk3588",), toolkit: str = "2.3.2", version: int = 6, dtype: str = "int8",
    quantised: Mapping[str, Any] | None = None,
) -> bytes:  # fmt: skip
    """`quantised`: what the outputs' dtype says besides, such as scale and zero_point."""
    graph = onnx.load_from_string(network).graph
    tensors: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for side, values in (("input", graph.input), ("output", graph.output)):
        for number, value in enumerate(values):
            sides = [one.dim_value for one in value.type.tensor_type.shape.dim]
            kind = {"qnt_method": "layer", "qnt_type": dtype, "vx_type": dtype}
            kind |= dict(quantised or {}) if side == "output" else {}
            tensors.append({"dim_num": len(sides), "dtype": kind, "size": sides, "tensor_id": len(tensors), "url": value.name})
            rows.append({"left": side, "left_tensor_id": number, "right": "norm_tensor", "right_tensor_id": len(tensors) - 1})
    said = {"target_platform": list(targets), "version": toolkit, "norm_tensor": tensors, "graph": rows, "name": "rknn model"}
    return container(json.dumps(said).encode(), network, version)


def container(description: bytes, body: bytes = bytes(16), version: int = 6) -> bytes:
    head = b"RKNN" + bytes(4) + struct.pack("<QQ", version, len(body)) + bytes(40)
    return head + body + struct.pack("<Q", len(description)) + description
