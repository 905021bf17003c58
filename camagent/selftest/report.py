"""What a self-test found: values only. DESIGN section 9 has the JSON; everything in it is small and printable."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from camagent.errors import printable
from firmware_pkg.manifest import Manifest

SCHEMA = "camagent.selftest/1"
MOST_IN_A_SET = 3  # id + alternatives

Status: TypeAlias = Literal["pass", "warn", "fail", "skip"]
Layer: TypeAlias = Literal["source", "decode", "preprocess", "backend", "head", "filter", "publish", "system"]
Verdict: TypeAlias = Literal["healthy", "fault", "inconclusive"]
Value: TypeAlias = Any  # what JSON has: str, int, float, bool, None, lists and mappings of these

# upstream first: the order in which causes are listed and steps are run
LAYERS: tuple[Layer, ...] = ("system", "source", "decode", "preprocess", "backend", "head", "filter", "publish")


@dataclass(frozen=True, slots=True)
class Change:
    """A fix as something that can be applied: another manifest, or other keys of the configuration."""

    manifest: Manifest | None = None  # the whole manifest as it should be
    config: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))  # dotted key -> value, camera-relative
    words: str = ""  # `input.color: bgr -> rgb`


@dataclass(frozen=True, slots=True)
class Cause:
    """Why nothing is seen, as far as it can be told.

    `id` and `alternatives` are ids of causes.py, at most three together: causes that these measurements cannot tell apart.
    `fix_verified`: True when `change` was applied in memory and golden and held-back pictures came back; None when it could
    not be tried. `send`: what to ask for, where this device cannot decide. `margin`: how far ahead of the next explanation
    this one is, 0..1; for ranking within one layer.
    """

    id: str
    layer: Layer
    fix: str
    evidence: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    alternatives: tuple[str, ...] = ()
    fix_verified: bool | None = None
    send: tuple[str, ...] = ()
    change: Change | None = None
    margin: float = 0.0

    def report(self) -> dict[str, Value]:
        """As JSON."""
        return {
            "id": self.id, "layer": self.layer, "alternatives": [printable(name, 64) for name in self.alternatives],
            "evidence": _plain(self.evidence), "fix": printable(self.fix, 1000), "fix_verified": self.fix_verified,
            "send": [printable(item, 400) for item in self.send],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class StepReport:
    """One rung of the ladder and the numbers it measured."""

    id: str
    status: Status
    measured: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    seconds: float = 0.0

    def report(self) -> dict[str, Value]:
        """As JSON."""
        seconds = round(float(self.seconds), 3)
        return {"id": self.id, "status": self.status, "measured": _plain(self.measured), "seconds": seconds}


@dataclass(frozen=True, slots=True, eq=False)
class Exhibit:
    """A picture for the HTML report: `jpeg` or PNG bytes, and what it shows. Never part of the JSON."""

    title: str
    image: bytes
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A named place on a histogram's axis: the threshold, the best score."""

    name: str
    at: float


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How often values fall where: `counts[i]` of them lie in [edges[i], edges[i + 1]). HTML report only."""

    title: str
    edges: tuple[float, ...]  # rising, one more than counts
    counts: tuple[int, ...]
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """One tensor in numbers. min, max, mean and std are those of its finite values, None where it has none."""

    name: str  # golden/bus.jpg output0
    shape: tuple[int, ...]
    dtype: str
    min: float | None
    max: float | None
    mean: float | None
    std: float | None
    unique: int  # different values
    zeros: float  # share of the values that are exactly 0, 0..1
    nan: int = 0
    inf: int = 0

    def report(self) -> dict[str, Value]:
        """As JSON."""
        return {
            "name": printable(self.name), "shape": _plain(self.shape), "dtype": printable(self.dtype, 64),
            "min": _number(self.min), "max": _number(self.max), "mean": _number(self.mean), "std": _number(self.std),
            "unique": self.unique, "zeros": _number(self.zeros), "nan": self.nan, "inf": self.inf,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trial:
    """One counterfactual: the axis that was changed, and how well the known answer came back. A row of the variants table."""

    axis: str  # V:rgb-bgr
    cause: str
    margin: float  # against the golden answer, -1..1; higher is better
    detail: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """The whole self-test."""

    verdict: Verdict
    causes: tuple[Cause, ...]  # upstream first
    steps: tuple[StepReport, ...]
    inferences: int
    seconds: float
    trials: tuple[Trial, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    tensors: tuple[TensorFacts, ...] = ()
    subject: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))  # bundle, camera, versions

    def body(self) -> dict[str, Value]:
        """`camagent.selftest/1`."""
        return {
            "schema": SCHEMA, "verdict": self.verdict, "causes": [cause.report() for cause in self.causes],
            "steps": [step.report() for step in self.steps], "inferences": self.inferences,
            "seconds": round(float(self.seconds), 3),
            "subject": _plain(self.subject), "variants": [
                {"axis": printable(trial.axis), "cause": trial.cause, "margin": _number(trial.margin),
                 "detail": printable(trial.detail)} for trial in self.trials
            ],
            "tensors": [tensor.report() for tensor in self.tensors],
        }  # fmt: skip


Tell: TypeAlias = Callable[[str], None]  # what is being done now, in words, for progress


def _number(value: float | None) -> float | None:
    """A number that JSON has: a float of Python's own; None for NaN and infinities."""
    return None if value is None or not math.isfinite(value) else round(float(value), 6)


def _plain(value: Value) -> Value:
    """Printable, JSON-ready, no numpy scalars, no NaN."""
    if isinstance(value, Mapping):
        return {printable(key, 64): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # numpy's scalars and arrays, before float: its float64 is one, and msgspec takes none of them
        return _plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else str(value)
    return printable(value, 1000)
