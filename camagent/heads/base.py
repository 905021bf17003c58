"""What a head is: a pure function from a model's outputs to candidates, a class map, both, or classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.frame import Candidates, Classes, FloatArray, TensorSpec

SEEN_SCORE = 0.01  # a cell with less is background: it does not count as a candidate

Arrays = Sequence[NDArray[Any]]
P = TypeVar("P", bound=msgspec.Struct)

_first_use = Lock()  # msgspec builds a type's reader when it is first used, and two threads at once crash it (tried, 0.22)


@dataclass(frozen=True, slots=True, eq=False)
class SemanticMap:
    """A semantic head's answer on its own grid, which covers the whole network input."""

    ids: NDArray[np.uint8]  # (grid height, grid width)
    score_max: float  # highest probability of a class other than the background anywhere
    background: int = 0  # its id: the first label's, or NO_LABEL


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """The answer of a head that gives both; ids of either are places in one list of labels, the boxes' labels first."""

    candidates: Candidates
    areas: SemanticMap


Decoded = Candidates | SemanticMap | Classes | Sighting


@dataclass(frozen=True, slots=True)
class HeadContext:
    """What a head may know besides the outputs, all of it from the manifest and the model."""

    width: int  # pixels of the network input
    height: int
    classes: int  # number of labels
    outputs: Sequence[TensorSpec]
    params: Mapping[str, Any]  # the manifest's head.params


class Head(Protocol):
    """A decoder for one family of outputs. Built once per model by its factory, which checks that the family fits."""

    def decode(self, outputs: Arrays, min_score: float) -> Decoded:
        """Outputs in the model's order -> what is in them; nothing below `min_score` is turned into a box.

        Shapes are those that the factory checked. NaN scores count as background.
        """
        ...


HeadFactory = Callable[[HeadContext], Head]


def read_params(context: HeadContext, kind: type[P], head: str) -> P:
    """The manifest's head.params as the head's own struct. Raises HeadMismatch for an unknown key or a wrong value."""
    try:
        with _first_use:
            return msgspec.convert(dict(context.params), kind)
    except msgspec.ValidationError as exc:
        raise HeadMismatch(
            f"head {head!r} cannot use its params: {exc}",
            evidence={"params": dict(context.params), "allowed": ", ".join(kind.__struct_fields__) or "none"},
            fix="mend head.params in the manifest",
        ) from exc


def require_outputs(context: HeadContext, head: str, wanted: str, *, fits: bool) -> None:
    """Raises HeadMismatch with both sides when `fits` is false; `wanted` words the family's shapes."""
    if fits:
        return
    raise HeadMismatch(
        f"head {head!r} does not fit the model's outputs",
        evidence={"head wants": wanted, "model gives": describe(context.outputs)},
        fix="name the head that this model was exported for, or export the model for this head",
    )


def require_classes(context: HeadContext, head: str, classes: int, where: str) -> None:
    """Raises LabelCountMismatch when the model's class count is not the number of labels."""
    if classes == context.classes:
        return
    refusal = LabelCountMismatch(
        f"head {head!r}: the model has {classes} classes, the manifest has {context.classes} labels",
        evidence={"classes in the model": f"{classes} ({where})", "labels": context.classes},
        fix="give the label list that the model was trained with, one label per class, in training order",
    )
    refusal.classes = classes
    raise refusal


def describe(specs: Sequence[TensorSpec]) -> str:
    """Specs as one readable line: `758 1x85x22x22 float32`."""
    parts = [f"{spec.name} {'x'.join('?' if d is None else str(d) for d in spec.shape)} {spec.dtype}" for spec in specs]
    return ", ".join(parts) or "nothing"


def no_candidates(seen: int = 0, score_max: float = 0.0) -> Candidates:
    """The answer when no cell reaches the threshold."""
    return Candidates(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), seen=seen, score_max=score_max
    )


def best_score(scores: FloatArray) -> float:
    """The highest score, 0 for none, NaN ignored."""
    if not scores.size:
        return 0.0
    best = float(scores.max())
    return float(np.nan_to_num(scores, nan=0.0).max()) if math.isnan(best) else best
