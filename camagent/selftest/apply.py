"""Writes a verified fix into new files beside the old ones."""

from __future__ import annotations

from pathlib import Path

from camagent.errors import UsageError
from camagent.selftest.report import Report


def apply(report: Report, bundle_path: Path | None, config_path: Path | None) -> list[str]:
    """Lines that say what was written. Raises UsageError where there is nothing to write."""
    del report, bundle_path, config_path
    raise UsageError("--apply is not built yet", fix="make the change that the report names by hand")
