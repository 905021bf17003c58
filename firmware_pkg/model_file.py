"""What a model file says of itself, read without any runtime: magic, and for ONNX the things that must never be loaded.

ONNX Runtime follows external tensors to files below the working directory even when the model is given as bytes, so a small
walk over the protobuf fields (onnx.proto3 numbers) refuses them, in subgraphs and functions too, and foreign operator domains.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from firmware_pkg.errors import ManifestInvalid

ModelFormat: TypeAlias = Literal["onnx", "rknn", "rknn-sim", "unknown"]
Value: TypeAlias = memoryview | int  # views: a model of hundreds of megabytes is not copied
ALLOWED_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
RKNN_MAGIC = b"RKNN"
RKNN_SIM_MAGIC = b"RKSIM"  # what `model convert --simulator` writes

_MAX_DEPTH = 32
# message -> field number -> message of that field; absent fields are skipped
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_NODE_OP, _NODE_DOMAIN, _FUNCTION_DOMAIN, _EXTERNAL_DATA, _DATA_LOCATION, _EXTERNAL = 4, 7, 10, 13, 14, 1


def model_format(data: bytes) -> ModelFormat:
    """By content: a magic, or an ONNX ModelProto that has a graph."""
    if data[:4] == RKNN_MAGIC:
        return "rknn"
    if data[:5] == RKNN_SIM_MAGIC:
        return "rknn-sim"
    try:
        fields = {number for number, _ in walk(data)}
    except ValueError:
        return "unknown"
    return "onnx" if 7 in fields else "unknown"


def require_self_contained(data: bytes) -> None:
    """Raises ManifestInvalid for an ONNX model with external tensors or operators from foreign domains, or that is no ONNX."""
    try:
        own = {text(value) for kind, value in walk(data) if kind == 25 for value in values(value, _FUNCTION_DOMAIN)}
        _check(data, "model", ALLOWED_DOMAINS | own, 0)
    except ValueError as exc:
        raise ManifestInvalid(
            f"the model is not ONNX: {exc}",
            evidence={"begins with": data[:8].hex(" ") or "nothing", "expected": "an ONNX model that has a graph"},
            fix="give an .onnx file as the exporter wrote it",
        ) from exc


def _check(data: bytes | Value, kind: str, domains: frozenset[str] | set[str], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError("graphs nested too deeply")
    children = _FIELDS[kind]
    for number, value in walk(data):
        if isinstance(value, memoryview) and number in children:
            _check(value, children[number], domains, depth + 1)
        elif kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value == _EXTERNAL)):
            raise ManifestInvalid(
                "the model keeps tensors in a file beside it",
                evidence={"found": "a tensor with external data", "expected": "all weights inside the model file"},
                fix="save it as one file: onnx.save(model, path, save_as_external_data=False)",
            )
        elif kind == "node" and number == _NODE_DOMAIN and text(value) not in domains:
            operator = next((text(v) for v in values(data, _NODE_OP)), "?")
            raise ManifestInvalid(
                f"the model uses an operator that is not standard: {operator}",
                evidence={"domain": text(value), "allowed": ", ".join(sorted(d or "ai.onnx" for d in ALLOWED_DOMAINS))},
                fix="export the model without custom operators",
            )


def walk(data: bytes | Value) -> Iterator[tuple[int, Value]]:
    """Fields of one protobuf message: (number, bytes of a length-delimited one or a varint's value). Raises ValueError."""
    if isinstance(data, int):
        raise ValueError("a number where a message is expected")  # noqa: TRY004  one kind of error for one kind of damage
    view, position = memoryview(data), 0
    while position < len(view):
        key, position = _varint(view, position)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise ValueError("field number 0")
        if wire == 0:
            value, position = _varint(view, position)
            yield number, value
        elif wire == 2:
            length, position = _varint(view, position)
            if position + length > len(view):
                raise ValueError("a field ends behind the file's end")
            yield number, view[position : position + length]
            position += length
        elif wire in (1, 5):
            position += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(view):
            raise ValueError("a number ends behind the file's end")
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number of more than 64 bits")


def values(data: bytes | Value, number: int) -> Iterator[Value]:
    """The values of one field, in the message's order. Raises ValueError."""
    return (value for found, value in walk(data) if found == number)


def text(value: Value) -> str:
    """A string field; bytes that are no UTF-8 are replaced."""
    return str(value) if isinstance(value, int) else bytes(value).decode("utf-8", "replace")
