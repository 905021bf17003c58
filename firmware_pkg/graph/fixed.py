"""An input whose size the exporter left open gets one: passes, and converters for NPUs, need to know it."""

from __future__ import annotations

import onnx
from onnx import ModelProto


def open_sides(model: ModelProto) -> list[str]:
    """The inputs that leave a side of theirs open."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [
        value.name
        for value in model.graph.input
        if value.name not in weights and not all(side.HasField("dim_value") for side in value.type.tensor_type.shape.dim)
    ]


def with_size(data: bytes, width: int, height: int) -> bytes:
    """The model with its open sides fixed: a batch of one, and the picture's size where that is open."""
    model = onnx.load_model_from_string(data)
    names = set(open_sides(model))
    for value in model.graph.input:
        sides = value.type.tensor_type.shape.dim
        if value.name not in names:
            continue
        by_pixel = len(sides) == 4 and sides[3].dim_value == 3 and sides[1].dim_value != 3
        usual = (1, height, width, 3) if by_pixel else (1, 3, height, width)
        for index, side in enumerate(sides):
            if not side.HasField("dim_value"):
                side.dim_value = usual[index] if len(sides) == 4 else 1
    del model.graph.value_info[:]  # they speak of the open sides
    for value in model.graph.output:
        for side in value.type.tensor_type.shape.dim:
            if side.HasField("dim_param"):
                side.ClearField("dim_param")
    made: bytes = onnx.shape_inference.infer_shapes(model, data_prop=True).SerializeToString()
    return made
