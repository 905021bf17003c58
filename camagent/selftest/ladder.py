"""The rungs in order: each records numbers, and passes or names suspects. A rung never raises for what it tests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from camagent.errors import CodedError
from camagent.selftest.report import (
    LAYERS,
    Cause,
    Exhibit,
    Histogram,
    Report,
    Status,
    StepReport,
    Tell,
    TensorFacts,
    Trial,
    Value,
    Verdict,
)

log = logging.getLogger("camagent")

HEALTHY_BUDGET, WORST_BUDGET = 25, 120  # inferences
# DESIGN section 9
RUNGS = ("configuration", "bundle", "backend", "golden-tensor", "golden-picture", "source", "live", "filters", "delivery")


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a rung found. `decided`: nothing further down can be judged while this stands (no model, no frames)."""

    status: Status
    measured: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    causes: tuple[Cause, ...] = ()
    trials: tuple[Trial, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    tensors: tuple[TensorFacts, ...] = ()
    undecided: str = ""  # why this rung could not decide, in words: the verdict is then not "healthy"


class Rung(Protocol):
    """One check. It reads what rungs before it left in its own collaborators, never globals."""

    @property
    def id(self) -> str:
        """One of RUNGS."""
        ...

    def run(self, tell: Tell) -> Outcome:
        """Bounded in time and inferences. CodedErrors of what is under test are findings, not exceptions."""
        ...


@dataclass(slots=True)
class Count:
    """Inferences so far, and how many there may be."""

    limit: int = WORST_BUDGET
    used: int = 0

    def take(self, number: int = 1) -> bool:
        """Counts them; False, and not counted, where the budget does not allow it."""
        if self.used + number > self.limit:
            return False
        self.used += number
        return True


def climb(
    rungs: Sequence[Rung], count: Count, monotonic: Callable[[], float], tell: Tell, subject: Mapping[str, Value]
) -> Report:
    """Runs every rung; a defect of ours in one of them is a failed step with its name, and the others go on."""
    began = monotonic()
    steps: list[StepReport] = []
    outcomes: list[Outcome] = []
    for rung in rungs:
        tell(rung.id)
        start = monotonic()
        outcome = _run(rung, tell)
        outcomes.append(outcome)
        undecided = {"undecided": outcome.undecided} if outcome.undecided else {}
        steps.append(StepReport(rung.id, outcome.status, {**outcome.measured, **undecided}, monotonic() - start))
    causes = tuple(ordered(cause for outcome in outcomes for cause in outcome.causes))
    return Report(
        verdict=verdict(causes, outcomes), causes=causes, steps=tuple(steps), inferences=count.used,
        seconds=monotonic() - began, trials=tuple(trial for outcome in outcomes for trial in outcome.trials),
        exhibits=tuple(exhibit for outcome in outcomes for exhibit in outcome.exhibits),
        histograms=tuple(histogram for outcome in outcomes for histogram in outcome.histograms),
        tensors=tuple(tensor for outcome in outcomes for tensor in outcome.tensors), subject=subject,
    )  # fmt: skip


def _run(rung: Rung, tell: Tell) -> Outcome:
    try:
        return rung.run(tell)
    except CodedError as exc:
        return Outcome("fail", {"code": exc.code, "what": exc.what, **exc.evidence}, undecided=exc.what)
    except Exception as exc:
        log.exception("self-test: the rung %s is defective", rung.id)
        return Outcome("fail", {"code": "INTERNAL", "what": f"{type(exc).__name__}: {exc}"}, undecided=f"defect in {rung.id}")


def ordered(causes: Sequence[Cause] | object) -> list[Cause]:
    """Upstream first, within a layer the surest first; a cause that stands in a set already named is not named again."""
    assert hasattr(causes, "__iter__")
    found: list[Cause] = sorted(causes, key=lambda cause: (LAYERS.index(cause.layer), -cause.margin))
    kept: list[Cause] = []
    for cause in found:
        if not any(cause.id == other.id or cause.id in other.alternatives for other in kept):
            kept.append(cause)
    return kept


def verdict(causes: Sequence[Cause], outcomes: Sequence[Outcome]) -> Verdict:
    """A named cause is a fault, unless all that is said is "send X"; otherwise whatever could not be decided decides."""
    if any(not cause.send or cause.fix_verified for cause in causes):
        return "fault"
    if causes or any(outcome.undecided for outcome in outcomes):
        return "inconclusive"
    return "healthy"
