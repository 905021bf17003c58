"""Blobs -> output tensors, one head family each, with the values a real export has: noise, not zeros, where nothing is.

A renderer returns named arrays; PARTS tells where in them scores and boxes lie, for whatever an export or a quantiser does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tests.lab.detector import Found
from tests.lab.renderers import anchors, grids, maps, rows
from tests.lab.spec import ModelSpec

Named = tuple[str, NDArray[Any]]
Renderer = Callable[[Found, ModelSpec, Generator], Sequence[Named]]


@dataclass(frozen=True, slots=True)
class Part:
    """A slice of one output: `axis` from `start` to `stop`."""

    output: int
    axis: int
    start: int = 0
    stop: int | None = None

    def of(self, outputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """A view of it."""
        array = outputs[self.output]
        index: list[slice] = [slice(None)] * array.ndim
        index[self.axis] = slice(self.start, self.stop)
        return array[tuple(index)]


@dataclass(frozen=True, slots=True)
class Parts:
    """Where scores (objectness too) and boxes lie."""

    scores: tuple[Part, ...]
    boxes: tuple[Part, ...] = ()


_LEVELS = range(3)

RENDERERS: Mapping[str, tuple[Renderer, Parts]] = {
    "fastestdet": (grids.fastestdet, Parts((Part(0, 1, 0, 1), Part(0, 1, 5)), (Part(0, 1, 1, 5),))),
    "ultraface": (rows.ultraface, Parts((Part(0, 2),), (Part(1, 2),))),
    "yolov5": (anchors.yolov5, Parts((Part(0, 2, 4),), (Part(0, 2, 0, 4),))),
    "yolov8": (rows.yolov8, Parts((Part(0, 1, 4),), (Part(0, 1, 0, 4),))),
    "yolov6": (rows.yolov6, Parts((Part(0, 2, 5),), (Part(0, 2, 0, 4),))),
    "yolox": (rows.yolox, Parts((Part(0, 2, 4),), (Part(0, 2, 0, 4),))),
    "yolox-undecoded": (rows.yolox_undecoded, Parts((Part(0, 2, 4),), (Part(0, 2, 0, 4),))),
    "yolov10": (rows.end_to_end, Parts((Part(0, 2, 4, 5),), (Part(0, 2, 0, 4),))),
    "yolov8-rknn": (
        grids.yolov8_rknn,
        Parts(tuple(Part(3 * k + 1, 1) for k in _LEVELS), tuple(Part(3 * k, 1) for k in _LEVELS)),
    ),
    "semantic": (maps.semantic, Parts((Part(0, 1),))),
    "classify": (maps.classify, Parts((Part(0, 1),))),
}


def render(found: Found, spec: ModelSpec, rng: Generator) -> tuple[list[str], list[NDArray[Any]]]:
    """Names and arrays of the head that `spec` names."""
    named = RENDERERS[spec.head][0](found, spec, rng)
    return [name for name, _ in named], [np.ascontiguousarray(array, np.float32) for _, array in named]


def parts_of(head: str) -> Parts:
    return RENDERERS[head][1]
