"""From a case to a report: the rungs between backend and filters, in order, on stored pictures only."""

from __future__ import annotations

import time
from collections.abc import Callable

from camagent.selftest.case import Case
from camagent.selftest.examination import Examination
from camagent.selftest.ladder import WORST_BUDGET, Count, Rung, climb
from camagent.selftest.report import Report, Tell
from camagent.selftest.rung_backend import BackendRung
from camagent.selftest.rung_filters import FiltersRung
from camagent.selftest.rung_golden_picture import GoldenPictureRung
from camagent.selftest.rung_golden_tensor import GoldenTensorRung
from camagent.selftest.rung_live import LiveRung
from camagent.selftest.rung_source import SourceRung


def examine(
    case: Case, tell: Tell = lambda _: None, *, limit: int = WORST_BUDGET, monotonic: Callable[[], float] = time.monotonic
) -> Report:
    """Why this model, so deployed, sees nothing. Never raises for what is wrong with the case; bounded in inferences."""
    exam = Examination(case, Count(limit))
    source: list[Rung] = [SourceRung(case.live)] if case.live is not None else []
    rungs: list[Rung] = [BackendRung(exam), GoldenTensorRung(exam), GoldenPictureRung(exam), *source]
    rungs += [LiveRung(exam), FiltersRung(exam)]
    manifest = case.bundle.manifest
    try:
        return climb(rungs, exam.count, monotonic, tell, {"bundle": manifest.name, "version": manifest.version})
    finally:
        exam.close()
