"""What an export may do differently at its end, head by head: the param, the cause, and what the numbers must show.

A reading is only tried where the outputs' own numbers allow it: a sigmoid too many leaves scores in 0.5..0.731, a missing one
leaves values that are no probabilities. Otherwise the stronger amplifier would always win.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.selftest.anatomy import Parts

Gate = Callable[[Parts], bool]
_TWICE_LOW, _TWICE_HIGH = 0.49, 0.74  # sigmoid(0) and sigmoid(1), and some rounding
_SLACK = 0.02
_LIKELY, _MOST_CELLS = 0.5, 0.3  # a score, and the share of cells that may have it
_NORMALIZED = 2.0  # boxes in 0..1 may reach a little beyond the picture


@dataclass(frozen=True, slots=True)
class Param:
    """One param of a head: its default, and per other value the cause and the gate."""

    default: Any
    values: Mapping[Any, tuple[str, Gate]] = field(default_factory=dict)


def _always(parts: Parts) -> bool:
    del parts
    return True


def _range(values: NDArray[Any]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def _open(part: int | None) -> Gate:
    """Values that are no probabilities."""

    def gate(parts: Parts) -> bool:
        low, high = _range(_scores(parts, part))
        return low < -_SLACK or high > 1 + _SLACK

    return gate


def _closed(part: int | None) -> Gate:
    """Values that may be probabilities."""
    is_open = _open(part)
    return lambda parts: not is_open(parts)


def _squashed(part: int | None) -> Gate:
    """Values that all lie where a sigmoid puts probabilities."""

    def gate(parts: Parts) -> bool:
        low, high = _range(_scores(parts, part))
        return low >= _TWICE_LOW and high <= _TWICE_HIGH

    return gate


def _small_boxes(parts: Parts) -> bool:
    low, high = _range(parts.flat_boxes())
    return high <= _NORMALIZED and low >= -_NORMALIZED


def _large_boxes(parts: Parts) -> bool:
    return not _small_boxes(parts)


def _decoded_boxes(parts: Parts) -> bool:
    low, high = _range(parts.flat_boxes())
    return low >= -_SLACK and high <= 1 + _SLACK


def _constant_classes(parts: Parts) -> bool:
    """The columns behind the first one hold one value."""
    classes = parts.scores[0][..., 1:]
    return bool(classes.size) and float(np.ptp(np.nan_to_num(classes))) < _SLACK


def _rare(column: int) -> Gate:
    """Few cells see something, whichever column says so."""

    def gate(parts: Parts) -> bool:
        first = parts.scores[0]
        values = first[..., column] if first.shape[-1] == 2 else first[..., column, :]
        return float((values > _LIKELY).mean()) <= _MOST_CELLS

    return gate


def _scores(parts: Parts, part: int | None) -> NDArray[Any]:
    return parts.flat_scores() if part is None or part >= len(parts.scores) else parts.scores[part].reshape(-1)


def _kinds(part: int | None = None) -> Param:
    return Param("probabilities", {
        "logits": ("sigmoid-missing", _open(part)),
        "twice": ("sigmoid-twice", _squashed(part)),
        "probabilities": ("sigmoid-twice", _closed(part)),
    })  # fmt: skip


def _softmax(part: int | None = None, default: str = "probabilities") -> Param:
    done = "none" if default == "auto" else "probabilities"
    raw = "softmax" if default == "auto" else "logits"
    return Param(default, {raw: ("sigmoid-missing", _open(part)), done: ("sigmoid-twice", _closed(part))})


_ORDER = {"xyxy": ("box-format-wrong", _always), "xywh": ("box-format-wrong", _always)}
_UNITS = {"normalized": ("box-scale-wrong", _small_boxes), "pixels": ("box-scale-wrong", _large_boxes)}
_LAYOUT = {"nhwc": ("output-transposed", _always), "nchw": ("output-transposed", _always)}

PARAMS: Mapping[str, Mapping[str, Param]] = MappingProxyType({
    "fastestdet": {
        "objectness": _kinds(0),
        "classes": _softmax(1),
        "boxes": Param("raw", {"decoded": ("decode-done-twice", _decoded_boxes), "raw": ("decode-done-twice", _always)}),
        "layout": Param("nchw", _LAYOUT),
    },
    "ultraface": {
        "scores": _softmax(),
        "order": Param("xyxy", _ORDER),
        "boxes": Param("normalized", _UNITS),
        "background": Param(0, {1: ("label-offset", _rare(0)), 0: ("label-offset", _rare(1))}),
    },
    "yolov5": {
        "scores": _kinds(),
        "order": Param("xywh", _ORDER),
        "boxes": Param("auto", _UNITS),
        "score": Param("product", {"objectness": ("single-class-halved", _constant_classes),
                                   "product": ("single-class-halved", _always)}),
    },
    "yolov8": {"scores": _kinds(), "order": Param("xywh", _ORDER), "boxes": Param("auto", _UNITS)},
    "semantic": {
        "activation": Param("auto", {"softmax": ("sigmoid-missing", _open(None)), "none": ("sigmoid-twice", _closed(None)),
                                     "sigmoid": ("sigmoid-missing", _open(None)), "argmax": ("seg-all-background", _always)}),
        "layout": Param("auto", _LAYOUT),
    },
    "classify": {"activation": _softmax(default="auto")},
    "ssd": {"first_class": Param(0, {1: ("label-offset", _always), 0: ("label-offset", _always)})},
})  # fmt: skip
