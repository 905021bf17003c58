"""Which heads could read a model's outputs, by their shapes alone, and why the others could not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camagent.errors import CodedError, HeadMismatch, LabelCountMismatch
from camagent.frame import TensorSpec
from camagent.heads import HEADS, HeadContext, build_head

_UNLIKELY = 211  # labels, where none are known: the head then says how many it wants


@dataclass(frozen=True, slots=True)
class HeadFit:
    """One head against one model. `classes`: how many labels it takes, None where that is open or it does not fit."""

    name: str
    fits: bool
    why: str
    classes: int | None = None


def fits(outputs: Sequence[TensorSpec], width: int, height: int, labels: int | None) -> tuple[HeadFit, ...]:
    """Every head of the registry against these outputs. `width`, `height`: pixels of the network input; `labels`: their number.

    Without a number of labels a head fits that would with another one, and says which.
    """
    return tuple(_fit(name, outputs, width, height, labels) for name in HEADS)


def _fit(name: str, outputs: Sequence[TensorSpec], width: int, height: int, labels: int | None) -> HeadFit:
    try:
        build_head(name, HeadContext(width, height, labels or _UNLIKELY, outputs, {}))
    except LabelCountMismatch as exc:
        if labels is None and exc.classes is not None and exc.classes > 0:
            return _fit(name, outputs, width, height, exc.classes)
        return HeadFit(name, fits=False, why=_words(exc))
    except (HeadMismatch, ValueError, TypeError, IndexError) as exc:
        return HeadFit(name, fits=False, why=_words(exc))
    number = f", with {labels} label{'s' * (labels != 1)}" if labels else ""
    return HeadFit(name, fits=True, why=f"the shapes are this head's{number}", classes=labels)


def _words(exc: Exception) -> str:
    """The refusal's own sentence and both sides of it."""
    if not isinstance(exc, CodedError):
        return f"the head cannot be built for these outputs: {exc}"
    sides = "; ".join(f"{key}: {value}" for key, value in exc.evidence.items())
    return f"{exc.what}; {sides}" if sides else exc.what
