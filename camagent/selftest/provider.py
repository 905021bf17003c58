"""The same model on the CPU alone: where the golden pictures come back, another execution provider computes otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from camagent.errors import BackendError
from camagent.pipeline import Workbench
from camagent.selftest.examination import Examination
from camagent.selftest.known import Known
from camagent.selftest.margin import Score
from camagent.selftest.naming import cause
from camagent.selftest.report import Cause
from camagent.selftest.search import PICTURES

CPU = "CPUExecutionProvider"


def explain(exam: Examination) -> Cause | None:
    """None where the CPU is all there is, or gives the same. Raises OutOfBudget.

    A provider that fails to open or to run says so by itself, and is another rung's finding.
    """
    options = exam.case.options
    if options.providers == (CPU,) or not exam.known:
        return None
    try:
        bench = Workbench(exam.case.bundle.artifact.backend, exam.case.bundle.model, replace(options, providers=(CPU,)))
    except BackendError:  # then the CPU is no witness
        return None
    try:
        return _compared(exam, bench)
    except BackendError:
        return None
    finally:
        bench.close()


def _compared(exam: Examination, bench: Workbench) -> Cause | None:
    before = [exam.score(exam.manifest, known, exam.deployed(known)) for known in exam.known[:PICTURES]]
    after = [_on(exam, bench, known) for known in exam.known[:PICTURES]]
    if not all(score.back for score in after):
        return None
    held = all(_on(exam, bench, known).share > 0 for known in exam.held_back())
    evidence: dict[str, Any] = {
        "providers": ", ".join(exam.case.options.providers),
        "seen with them": ", ".join(f"{score.share:.0%}" for score in before),
        f"seen with {CPU} alone": ", ".join(f"{score.share:.0%}" for score in after),
    }
    return cause("ep-specific-bug", evidence, verified=held, margin=1.0)


def _on(exam: Examination, bench: Workbench, known: Known) -> Score:
    return exam.score(exam.manifest, known, exam.run(known, exam.manifest, bench=bench))
