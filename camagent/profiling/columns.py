"""Cells of other people's tables."""

from __future__ import annotations

import re
from math import isfinite

from camagent.profiling.recording import Shape

_SIDES = re.compile(r"\d{1,9}(?:,\d{1,9})*")


def number(cell: str) -> float | None:
    """A finite number that is not negative; None for N/A and everything else."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if isfinite(value) and value >= 0 else None


def sides(cell: str) -> Shape:
    """`1,32,176,176` -> (1, 32, 176, 176); () for a scalar and everything else."""
    return tuple(map(int, cell.split(","))) if _SIDES.fullmatch(cell) else ()
