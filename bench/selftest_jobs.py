"""One configuration under examination, and what came of it, by a referee who applies the proposed fix himself."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from zlib import crc32

import cv2

from bench.selftest_baseline import exactly_one
from camagent.selftest.examine import examine
from camagent.selftest.report import Report
from tests.lab import analytic, health, inject
from tests.lab.inject.pairs import pair
from tests.lab.referee import curable, harmless, true_names, verified
from tests.lab.rig import Rig

Kind = Literal["fault", "healthy", "pair"]


@dataclass(frozen=True, slots=True)
class Job:
    """`name`: a fault's name, a kind of health, or the number of a pair. `network`: of a file that nobody here made."""

    kind: Kind
    name: str
    seed: int
    network: str = ""


@dataclass(frozen=True, slots=True)
class Named:
    """One cause of a report."""

    id: str
    layer: str
    alternatives: tuple[str, ...]
    claims: bool | None  # the report's own fix_verified
    asks: bool  # says "send X" and nothing verified: an abstention
    returns: bool | None  # the referee's verdict over its change; None where it proposes none

    @property
    def ids(self) -> tuple[str, ...]:
        return (self.id, *self.alternatives)


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a job."""

    job: Job
    causes: tuple[str, ...]  # what is wrong, upstream first
    layers: tuple[str, ...]
    family: str
    scenario: str  # S1: golden answers by the wrong contract; S2: by the right one
    harmless: bool
    curable: bool
    also: tuple[str, ...] = ()  # other true names of what is wrong
    verdict: str = "error"
    named: tuple[Named, ...] = ()
    inferences: int = 0
    trials: int = 0
    seconds: float = 0.0
    baseline: str = ""
    error: str = ""
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def top(self) -> Named | None:
        return self.named[0] if self.named else None

    @property
    def half(self) -> str:
        """`develop` or `score`: by a hash of model, fault and seed."""
        return ("develop", "score")[crc32(f"{self.job.network or self.family} {self.job.name} {self.job.seed}".encode()) & 1]


def prepare() -> None:
    """Once per process."""
    cv2.setNumThreads(1)
    analytic.install()


def run(job: Job) -> Row | None:
    """Builds, examines, judges. What the self-test raises is a row too; None where this network cannot have this fault."""
    built = build(job)
    if built is None:
        return None
    rig, causes, layers = built
    try:
        scenario = "S1" if rig.made_by == "deployed" else "S2"
        also = health.KINDS[job.name].told if job.kind == "healthy" else true_names(rig)
        row = Row(job, causes, layers, rig.name, scenario, harmless(rig), curable(rig), also)
        case = rig.case()
    except Exception as exc:
        raise AssertionError(f"the laboratory is defective: {job}") from exc
    began = time.perf_counter()
    try:
        report = examine(case)
    except Exception as exc:  # noqa: BLE001  it must never raise: that is a score
        return replace(row, error=f"{type(exc).__name__}: {exc}"[:200], seconds=time.perf_counter() - began)
    seconds = time.perf_counter() - began
    return replace(
        row, verdict=report.verdict, named=_named(report, rig), inferences=report.inferences, trials=len(report.trials),
        seconds=seconds, baseline=_baseline(rig, row),
    )  # fmt: skip


def build(job: Job) -> tuple[Rig, tuple[str, ...], tuple[str, ...]] | None:
    """The rig, and what is wrong with it."""
    if job.kind == "pair":
        first, second, rig = pair(int(job.name), job.seed)
        return rig, (first.cause, second.cause), (first.layer, second.layer)
    if job.kind == "healthy":
        well = health.rig_of_network(job.name, job.seed, job.network) if job.network else health.rig_of(job.name, job.seed)
        return None if well is None else (well, (), ())
    fault = inject.FAULTS[job.name]
    made = inject.faulty_network(fault, job.seed, job.network) if job.network else inject.faulty(fault, job.seed)
    return None if made is None else (made, (fault.cause,), (fault.layer,))


def _named(report: Report, rig: Rig) -> tuple[Named, ...]:
    return tuple(
        Named(
            cause.id, cause.layer, cause.alternatives, cause.fix_verified, bool(cause.send) and not cause.fix_verified,
            None if cause.change is None else _returns(rig, cause.change),
        )
        for cause in report.causes
    )  # fmt: skip


def _returns(rig: Rig, change: Any) -> bool:
    try:
        return verified(rig, change)
    except Exception:  # noqa: BLE001  a change that cannot even be applied brings nothing back
        return False


def _baseline(rig: Rig, row: Row) -> str:
    return exactly_one(rig) if row.job.kind == "fault" and not row.harmless else ""
