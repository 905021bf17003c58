"""What commands that try models on pictures read: `--golden`, files, and the input that a model declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from camagent.errors import InputError, UsageError, printable
from camagent.frame import TensorSpec
from firmware_pkg.graph_facts import Tensor


@dataclass(frozen=True, slots=True)
class GoldenRequest:
    """`IMAGE[=label[:count],..]` from the command line."""

    image: Path
    declared: Mapping[str, int]


def golden_request(text: str, labels: tuple[str, ...]) -> GoldenRequest:
    """`IMAGE[=label[:count],..]` as typed. Raises UsageError for a label that is not listed."""
    image, _, wanted = text.partition("=")
    declared: dict[str, int] = {}
    for part in filter(None, wanted.split(",")):
        label, colon, count = part.rpartition(":")
        label, number = (label, count) if colon and count.isdigit() else (part, "1")
        if label not in labels:
            raise UsageError(
                f"--golden names the label {printable(label)!r}, which the model does not have",
                evidence={"labels": ", ".join(labels[:10]) + (" .." if len(labels) > 10 else "")},
                fix="name labels from the label list: IMAGE=person:2,bus",
            )
        declared[label] = int(number)
    return GoldenRequest(Path(image), declared)


def read_file(path: Path, what: str) -> bytes:
    """A file's bytes; `what` it is, for the refusal. Raises InputError."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise InputError(
            f"the {what} {path} cannot be read: {exc.strerror}", evidence={"file": path}, fix="check the path"
        ) from exc


def input_of(spec: TensorSpec, size: tuple[int, int] | None) -> dict[str, object]:
    """Width, height, layout and dtype of a manifest's input, as the model declares it. Raises UsageError for an open size."""
    shape = spec.shape
    nhwc = len(shape) == 4 and shape[3] == 3 and shape[1] != 3
    sides = (shape[1], shape[2]) if nhwc else shape[2:4]
    height, width = (sides[0], sides[1]) if len(shape) == 4 else (None, None)
    if size is not None:
        width, height = size
    if width is None or height is None:
        raise UsageError(
            "the model's input has no fixed size",
            evidence={"input": f"{spec.name} {'x'.join('?' if s is None else str(s) for s in shape)}"},
            fix="give --size WxH",
        )
    dtype = "uint8" if spec.dtype == "uint8" else "float32"
    return {"width": width, "height": height, "layout": "nhwc" if nhwc else "nchw", "dtype": dtype}


def picture_size(inputs: Sequence[Tensor]) -> tuple[int, int] | None:
    """Width and height of the picture among a model's inputs; None where none has fixed ones."""
    for tensor in sorted(inputs, key=lambda tensor: 3 not in tensor.shape):  # the picture, where there are several
        if len(tensor.shape) == 4:
            by_pixel = tensor.shape[3] == 3 and tensor.shape[1] != 3
            height, width = tensor.shape[1:3] if by_pixel else tensor.shape[2:4]
            if height is not None and width is not None:
                return width, height
    return None
