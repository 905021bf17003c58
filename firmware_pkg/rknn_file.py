"""What a Rockchip model says of itself: the JSON at the file's end, without any runtime.

Layout: `RKNN`, u64 format version at byte 8, u64 length L at 16 of what begins at byte 64; at 64 + L a u64 with the length of
the JSON that follows, all little-endian.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from firmware_pkg.errors import ManifestInvalid
from firmware_pkg.graph_facts import Tensor
from firmware_pkg.model_file import RKNN_MAGIC

_LENGTH_AT, _BODY_AT, _LENGTH = 16, 64, 8


@dataclass(frozen=True, slots=True)
class RknnFacts:
    """`targets`: SoC names as the file has them; `toolkit`: the converter's version, as the file has it."""

    targets: tuple[str, ...]
    toolkit: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def read_rknn(data: bytes) -> RknnFacts:
    """The facts of an `.rknn` file. Raises ManifestInvalid for one that is cut off or damaged."""
    try:
        said = json.loads(_json(data))
        return RknnFacts(
            tuple(str(one) for one in said["target_platform"]), str(said["version"]),
            _tensors(said, "input"), _tensors(said, "output"),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as exc:
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


def _tensors(said: Mapping[str, Any], side: str) -> tuple[Tensor, ...]:
    known = {one["tensor_id"]: one for one in said["norm_tensor"]}
    rows = [row for row in said["graph"] if row["left"] == side and row["right"] == "norm_tensor"]
    rows.sort(key=lambda row: int(row["left_tensor_id"]))
    return tuple(_tensor(known[row["right_tensor_id"]]) for row in rows)


def _tensor(one: Mapping[str, Any]) -> Tensor:
    sides: Sequence[Any] = one["size"]
    return Tensor(str(one["url"]), tuple(int(side) for side in sides), str(one["dtype"]["vx_type"]) or "unknown")
