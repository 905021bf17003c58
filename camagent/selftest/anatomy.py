"""Where in a head's outputs scores and boxes lie, for numbers about them before anything is decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Sequence[NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Views of the outputs; `boxes` is empty for maps and classifications."""

    scores: tuple[NDArray[Any], ...]
    boxes: tuple[NDArray[Any], ...] = ()

    def flat_scores(self) -> NDArray[np.float64]:
        """All score values, objectness too."""
        return _flat(self.scores)

    def flat_boxes(self) -> NDArray[np.float64]:
        """All box values."""
        return _flat(self.boxes)


def is_known(head: str) -> bool:
    """Whether the family's parts can be told apart here."""
    return head in _FAMILIES


def _flat(parts: Arrays) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(part, np.float64).reshape(-1) for part in parts] or [np.zeros(0)])


def parts_of(head: str, outputs: Arrays) -> Parts:
    """The parts under the family's usual shapes; everything counts as scores where the shapes are others."""
    find = _FAMILIES.get(head)
    found = find(outputs) if find else None
    return found if found is not None else Parts(tuple(outputs))


def _channels_first(outputs: Arrays) -> Parts | None:
    if not outputs or outputs[0].ndim != 4:
        return None
    grid = outputs[0]
    return Parts((grid[:, :1], grid[:, 5:]), (grid[:, 1:5],))


def _rows(outputs: Arrays, box: int) -> Parts | None:
    flat = [output for output in outputs if output.ndim == 3]
    if not flat:
        return None
    if len(flat) == len(outputs) == 2 and flat[0].shape[1] == 4 and flat[0].shape[2] == flat[1].shape[2]:
        return Parts((flat[1].transpose(0, 2, 1),), (flat[0].transpose(0, 2, 1),))  # apart, as split-heads leaves them
    rows = flat[0] if flat[0].shape[2] <= flat[0].shape[1] else flat[0].transpose(0, 2, 1)
    return Parts((rows[..., box:],), (rows[..., :4],))


def _ssd(outputs: Arrays) -> Parts | None:
    scores = tuple(output for output in outputs if 2 in output.shape[1:])
    boxes = tuple(output for output in outputs if 4 in output.shape[1:] and 2 not in output.shape[1:])
    return Parts(scores, boxes) if scores else None


_FAMILIES: Mapping[str, Callable[[Arrays], Parts | None]] = MappingProxyType({
    "fastestdet": _channels_first,
    "yolov5": lambda outputs: _rows(outputs, 4),
    "yolov8": lambda outputs: _rows(outputs, 4),
    "ultraface": _ssd,
})  # fmt: skip
