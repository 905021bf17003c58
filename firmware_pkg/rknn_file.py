"""What a Rockchip model says of itself: the JSON at the file's end, without any runtime.

Layout: `RKNN`, u64 format version at byte 8, u64 length L at 16 of what begins at byte 64; at 64 + L a u64 with the length of
the JSON that follows, all little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from firmware_pkg.errors import ManifestInvalid
from firmware_pkg.graph_facts import Tensor
from firmware_pkg.model_file import RKNN_MAGIC

_VERSION_AT, _LENGTH_AT, _BODY_AT, _LENGTH = 8, 16, 64, 8
_Numbers: TypeAlias = float | list[float] | None  # per tensor, or per channel


class _Dtype(msgspec.Struct, frozen=True):
    """`vx_type` is what the NPU calculates with; the quantisation's numbers are written by some converters only."""

    vx_type: str = ""
    qnt_type: str = ""
    scale: _Numbers = None
    zero_point: _Numbers = None


class _NormTensor(msgspec.Struct, frozen=True):
    tensor_id: int
    size: list[int]
    dtype: _Dtype
    url: str = ""


class _Row(msgspec.Struct, frozen=True):
    """Of `graph`: the input or output number `left_tensor_id` is the tensor `right_tensor_id`."""

    left: str
    left_tensor_id: int
    right: str
    right_tensor_id: int


class _Said(msgspec.Struct, frozen=True):
    target_platform: list[str]
    version: str
    norm_tensor: list[_NormTensor]
    graph: list[_Row]


_DECODER = msgspec.json.Decoder(_Said)  # built at import, as every decoder here: see manifest.py


@dataclass(frozen=True, slots=True)
class RknnFacts:
    """`targets`: SoC names as the file has them; `toolkit`: the converter's version, as the file has it.

    Shapes of pictures are 1 x C x H x W, whatever layout the runtime takes. `format_version`: 6 since toolkit 1.5.2.
    """

    targets: tuple[str, ...]
    toolkit: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    format_version: int = 0


def read_rknn(data: bytes) -> RknnFacts:
    """The facts of an `.rknn` file. Raises ManifestInvalid for one that is cut off or damaged."""
    try:
        said = _DECODER.decode(_json(data))
        (version,) = struct.unpack_from("<Q", data, _VERSION_AT)
        return RknnFacts(tuple(said.target_platform), said.version, _tensors(said, "input"), _tensors(said, "output"), version)
    except (ValueError, KeyError, RecursionError, struct.error) as exc:  # msgspec's are ValueErrors
        raise ManifestInvalid(
            f"the Rockchip model is damaged: {exc}",
            evidence={"bytes": len(data), "begins with": data[:4].hex(" ") or "nothing", "expected": "JSON at the file's end"},
            fix="copy the .rknn file again, or convert the model again",
        ) from exc


def _json(data: bytes) -> bytes:
    if data[:4] != RKNN_MAGIC:
        raise ValueError("it does not begin with RKNN")
    (body,) = struct.unpack_from("<Q", data, _LENGTH_AT)
    at = _BODY_AT + body
    if at + _LENGTH > len(data):
        raise ValueError("it ends before its description")
    (length,) = struct.unpack_from("<Q", data, at)
    if at + _LENGTH + length > len(data):
        raise ValueError("its description is cut off")
    return data[at + _LENGTH : at + _LENGTH + length]


def _tensors(said: _Said, side: str) -> tuple[Tensor, ...]:
    known = {one.tensor_id: one for one in said.norm_tensor}
    rows = sorted(
        (row for row in said.graph if row.left == side and row.right == "norm_tensor"), key=lambda row: row.left_tensor_id
    )
    return tuple(_tensor(known[row.right_tensor_id]) for row in rows)


def _tensor(one: _NormTensor) -> Tensor:
    if any(side < 0 for side in one.size):
        raise ValueError("a tensor with a negative side")
    scale, zero = _single(one.dtype.scale), _single(one.dtype.zero_point)
    return Tensor(one.url, tuple(one.size), one.dtype.vx_type or "unknown", scale, None if zero is None else int(zero))


def _single(numbers: _Numbers) -> float | None:
    """The one number of a tensor that is quantised as a whole; None where there is none, or one per channel."""
    if isinstance(numbers, Sequence):
        return numbers[0] if len(numbers) == 1 else None
    return numbers
