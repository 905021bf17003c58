"""What a report shows besides words: pictures with boxes, the input as the model takes it, score histograms, tensor numbers.

Pure: values in, values out. Pictures are JPEGs of at most 640 pixels, so that a page with a dozen of them can be mailed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.frame import Frame, Outcome
from camagent.selftest.report import Exhibit, Histogram, Mark
from camagent.selftest.statistics import tensor_facts
from camagent.sinks import annotate, outline, to_jpeg
from firmware_pkg.manifest import Expectation, InputSpec

LONGEST = 640  # pixels of a picture's longer side
BINS = 40
_QUALITY = 80


def picture(
    title: str, frame: Frame, outcome: Outcome, labels: Sequence[str], *, expect: Sequence[Expectation] = (), caption: str = ""
) -> Exhibit:
    """A frame with what was found, in colour, and, by white corners, what should have been found."""
    drawn = annotate(frame, outcome, labels, longest=LONGEST)
    outline(drawn, [item.box_norm for item in expect if item.box_norm is not None])
    return Exhibit(title, to_jpeg(drawn, _QUALITY), caption)


def as_seen(title: str, tensor: NDArray[Any], spec: InputSpec, *, caption: str = "") -> Exhibit:
    """A network's input turned back into a picture: what the model sees if it was trained on what `spec` says.

    With the specification that made the tensor this is the picture that went in, always. With the one that the model wants
    (a verified fix), it shows what the fault does to the picture: too dark, blue faces, stripes.
    The numbers that left 0..255 are clipped; the caption says how many, and the tensor's own range.
    """
    facts = tensor_facts(title, tensor)
    numbers = f"{_x(facts.shape)} {facts.dtype}, values {_short(facts.min)} to {_short(facts.max)}, mean {_short(facts.mean)}"
    levels = _levels(tensor, spec)
    if levels is None:
        return Exhibit(title, b"", _sentences(caption, numbers, "of this shape no picture can be made"))
    outside = float(((levels < -0.5) | (levels > 255.5) | ~np.isfinite(levels)).mean())
    pixels = np.clip(np.nan_to_num(levels, nan=0.0), 0, 255).round().astype(np.uint8)
    bgr = pixels[:, :, ::-1] if spec.color == "rgb" else pixels
    clipped = f"{outside:.0%} of them are outside what a picture has" if outside >= 0.005 else ""
    return Exhibit(title, to_jpeg(np.ascontiguousarray(bgr), _QUALITY), _sentences(caption, numbers, clipped))


def histogram(title: str, values: NDArray[Any], marks: Sequence[Mark] = (), *, bins: int = BINS) -> Histogram:
    """How scores are spread: over 0..1, or over their own range where some of them leave it. Finite ones only are counted."""
    flat = values.astype(np.float64, copy=False).ravel()
    finite = flat[np.isfinite(flat)]
    low, high = float(finite.min(initial=0.0)), float(finite.max(initial=1.0))
    counts, edges = np.histogram(finite, bins, (low, high))
    return Histogram(title, tuple(float(edge) for edge in edges), tuple(int(count) for count in counts), tuple(marks))


def _levels(tensor: NDArray[Any], spec: InputSpec) -> NDArray[np.float64] | None:
    """(height, width, 3) in the levels that pixels have, 0..255 for a picture, in the specification's colour order.

    Where the specification has another layout than the tensor, the tensor's memory is read as a model of that layout would
    read it. None where it is no picture in any layout.
    """
    if tensor.ndim < 3 or not tensor.size:
        return None
    shape = (3, spec.height, spec.width) if spec.layout == "nchw" else (spec.height, spec.width, 3)
    values: NDArray[Any] = np.ascontiguousarray(tensor).reshape(-1, *tensor.shape[-3:])[0]
    if values.size == np.prod(shape):
        values = values.reshape(shape)
    pixels: NDArray[Any] = values.transpose(1, 2, 0) if spec.layout == "nchw" else values
    if pixels.shape[-1] != 3:
        return None
    levels = (pixels.astype(np.float64) * spec.std + spec.mean) / (spec.scale or 1.0)
    return np.asarray(levels, np.float64)


def _sentences(*parts: str) -> str:
    return ". ".join(part for part in parts if part)


def _x(shape: Sequence[int]) -> str:
    return "x".join(str(side) for side in shape)


def _short(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
