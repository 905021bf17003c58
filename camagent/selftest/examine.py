"""From a case to a report: the rungs between backend and filters, in order, on stored pictures only."""

from __future__ import annotations

import time
from collections.abc import Callable

from camagent.selftest.case import Case
from camagent.selftest.ladder import WORST_BUDGET, Count, climb
from camagent.selftest.report import Report, Tell


def examine(
    case: Case, tell: Tell = lambda _: None, *, limit: int = WORST_BUDGET, monotonic: Callable[[], float] = time.monotonic
) -> Report:
    """Why this model, so deployed, sees nothing. Never raises for what is wrong with the case; bounded in inferences."""
    count = Count(limit)
    return climb([], count, monotonic, tell, {"bundle": case.bundle.manifest.name, "version": case.bundle.manifest.version})
