"""The analytic model as a file: JSON that says what the network was trained for and how it was exported and run."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

Triple = tuple[float, float, float]
Shape = Literal["disc", "bell"]


class Wanted(Struct, frozen=True, kw_only=True):
    """The input that the network was trained on: (pixel * scale - mean) / std."""

    width: int
    height: int
    layout: Literal["nchw", "nhwc"] = "nchw"
    dtype: str = "float32"
    color: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)


class Op(Struct, frozen=True):
    """One thing that is done to inputs or outputs; names in tail.py."""

    name: str
    args: dict[str, float] = {}


class ModelSpec(Struct, frozen=True, kw_only=True):
    """The whole model. `engine` "onnx" runs the network at `path` instead of the blob detector."""

    wanted: Wanted
    head: str  # the renderer, and where in its outputs scores and boxes lie
    classes: tuple[str, ...] = ()  # colours, in class-id order
    engine: Literal["blobs", "onnx"] = "blobs"
    path: str = ""
    seed: int = 0
    gain: float = 0.97  # score of a perfect blob
    prior: float = 1.0  # width : height, in network pixels, of a round thing in the training pictures
    leeway: float = 0.8  # how far, as a logarithm, a blob may be squeezed before its score falls by 40 %
    smallest: float = 4.0  # network pixels: below it a blob is hard to see
    shape: Shape = "disc"  # of the things in the training pictures; a bell stands on its wide side, a disc has no up and down
    upright: float = 0.05  # how far a bell's weight may lie from where it should, in heights, before its score falls by 40 %
    spread: float = 0.04  # of the colour match: sigma squared, on a scale where white is 1 1 1
    options: dict[str, str] = {}  # of the renderer: boxes = normalized | xyxy, scores = logits ..
    fixed: bool = True  # input dimensions are declared
    open_outputs: bool = False  # output dimensions are not declared
    casts: bool = False  # the runtime casts any input type, as NPU runtimes do
    extra_inputs: int = 0
    intake: tuple[Op, ...] = ()  # what happens to the bytes on their way in
    tail: tuple[Op, ...] = ()  # what happens to the outputs: the same shapes every time
    trouble: tuple[Op, ...] = ()  # what goes wrong while it runs


_DECODER = msgspec.json.Decoder(ModelSpec)


def dump(spec: ModelSpec) -> bytes:
    return msgspec.json.encode(spec)


def load(data: bytes) -> ModelSpec:
    """Raises msgspec.DecodeError for a damaged file."""
    return _DECODER.decode(data)
