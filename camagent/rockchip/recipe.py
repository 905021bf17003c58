"""What Rockchip's simulator needs to run a model, in one file: `.rknn` files can only be run by an NPU.

Layout: 8 bytes of magic, then one MessagePack map. It holds the network and the numbers of its quantisation, and no code: where
the toolkit itself keeps a Python pickle, this has JSON, so that a file of a stranger can do no more than any model can.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from camagent.errors import BackendError
from firmware_pkg.model_file import RKNN_SIM_MAGIC

MAGIC = RKNN_SIM_MAGIC + b"\x00\x01\n"
Algorithm: TypeAlias = Literal["none", "normal", "mmse", "kl_divergence"]
Triple: TypeAlias = tuple[float, float, float]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Port(_Strict, frozen=True, kw_only=True):
    """An input or output as the simulator takes or gives it."""

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32", "uint8"] = "float32"


class Recipe(_Strict, frozen=True, kw_only=True):
    """`mean`, `std`: what the converted file itself does to 0..255; None where it takes the manifest's tensor as it is."""

    toolkit: Annotated[str, Meta(max_length=64)]
    target: Annotated[str, Meta(pattern=r"^[a-z0-9]{1,16}$")]
    algorithm: Algorithm
    mean: Triple | None = None
    std: Triple | None = None
    input: Port
    outputs: Annotated[tuple[Port, ...], Meta(min_length=1, max_length=64)]
    open_sides: bool = False  # the exporter left sides of the input open: the toolkit is told the size
    graph: bytes  # the ONNX model; quantised: the toolkit's own graph
    parts: bytes = b""  # quantised: JSON of the toolkit's tables
    calibration: tuple[bytes, ...] = ()  # .npy files: `mmse` calculates weights anew whenever a model is opened

    @property
    def quantised(self) -> bool:
        """Whether weights and activations have 8 bits."""
        return self.algorithm != "none"

    def config(self) -> dict[str, Any]:
        """As RKNN.config takes it."""
        return settings(self.target, self.algorithm, self.mean, self.std)


# built at import: msgspec builds a type's decoder at its first use, and two threads that do so at once crash
_DECODER = msgspec.msgpack.Decoder(Recipe)


def settings(target: str, algorithm: Algorithm, mean: Triple | None, std: Triple | None) -> dict[str, Any]:
    """The arguments of RKNN.config. `mean` and `std` are those of its formula, (x - mean) / std over 0..255."""
    made: dict[str, Any] = {"target_platform": target}
    if algorithm != "none":
        made["quantized_algorithm"] = algorithm
    if mean is not None and std is not None:
        made |= {"mean_values": [list(mean)], "std_values": [list(std)]}
    return made


def dump(recipe: Recipe) -> bytes:
    """Recipe -> a file's bytes."""
    return MAGIC + msgspec.msgpack.encode(recipe)


def parse(data: bytes) -> Recipe:
    """A file's bytes -> Recipe. Raises BackendError."""
    if data[: len(MAGIC)] != MAGIC:
        raise BackendError(
            "this is no model for Rockchip's simulator",
            evidence={"begins with": data[:8].hex(" ") or "nothing", "expected": MAGIC.hex(" ")},
            fix="make one: camagent model convert MODEL.onnx --target rk3568 .. --simulator OUT.rknnsim",
        )
    try:
        return _DECODER.decode(memoryview(data)[len(MAGIC) :])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:  # ValidationError is a DecodeError
        raise BackendError(
            f"the simulator's model is damaged: {exc}",
            evidence={"bytes": len(data), "expected": "a file as 'camagent model convert --simulator' writes it"},
            fix="copy the file again, or convert the model again",
        ) from exc
