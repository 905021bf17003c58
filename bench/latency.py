"""Which PUBLISH belongs to which picture, and how long it took; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bench.tap import Publish, Unit

NEAR_S = 0.004  # time stamps of one picture, by RTP and as a decoder rounds them


@dataclass(frozen=True, slots=True)
class Spread:
    """Quantiles of milliseconds."""

    count: int
    p50: float
    p99: float
    most: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        p50, p99, most = np.percentile(values, [50, 99, 100])
        return Spread(len(values), float(p50), float(p99), float(most))


@dataclass(frozen=True, slots=True)
class Way:
    """One picture from the network into the broker's socket; milliseconds."""

    held: float  # from its own last packet to the first of the next picture, when FFmpeg's parser gives it away
    taken: float  # from there to the PUBLISH


def ways(units: Sequence[Unit], publishes: Sequence[Publish]) -> list[Way]:
    """Every PUBLISH whose body says which picture it is about (`pts`, seconds), in the order of the publishes."""
    stamps = np.array([unit.pts for unit in units])
    handed = [after.first for _, after in pairwise(units)]
    found = []
    for made in publishes:
        pts = made.body().get("pts")
        if pts is None or not handed:
            continue
        index = int(np.abs(stamps - pts).argmin())
        if abs(stamps[index] - pts) <= NEAR_S and index < len(handed):
            at = handed[index]
            found.append(Way((at - units[index].last) * 1e3, (made.at - at) * 1e3))
    return found
