"""A day of events, replayed: nothing grows, every `new` has its `end`, messages chain, counts end at 0."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.camera import rss_mib
from tests.support.day_of_events import Day, held


def live_through(folder: Path, hours: float, *, fps: float, memory: Callable[[], int]) -> None:
    """`memory`: bytes in use."""
    day = Day(folder, fps=fps, seed=7)
    rows: list[tuple[float, int, int]] = []  # time, items held, bytes
    for now in day.run(hours * 3600):
        if now % 300 < 61:
            gc.collect()
            rows.append((now, held(day.scene.happenings), memory()))
    day.stop()
    ledger = day.ledger
    assert ledger.kinds["new"] == ledger.kinds["end"] > 200 * hours
    assert ledger.kinds["update"] > ledger.kinds["new"]
    assert not ledger.open
    assert ledger.counts
    assert not any(ledger.counts.values())
    assert not list(folder.iterdir()), "what was open is forgotten in the run folder"
    assert len(day.befell) == 8, f"of everything something: {day.befell}"
    assert day.file_bytes < 20_000
    half = len(rows) // 2
    for column, more in ((1, 50), (2, 1 << 20)):  # the busiest moment of the second half is no busier than that of the first
        first, second = (max(row[column] for row in part) for part in (rows[:half], rows[half:]))
        assert second < first * 1.2 + more, rows
    assert day.memory.writes <= day.befell["model"] + day.befell["kill"] + day.befell["reload"] + 8


def allocated() -> int:
    """Bytes of Python's own, since `tracemalloc` was started; exact, and slow."""
    return tracemalloc.get_traced_memory()[0]


def resident() -> int:
    """Bytes of the process."""
    return int(rss_mib() * 2**20)


def test_an_hour_of_events_leaves_nothing_behind(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        live_through(tmp_path, 1.0, fps=4.0, memory=allocated)
    finally:
        tracemalloc.stop()


@pytest.mark.full(seconds=600)
def test_a_day_of_events_leaves_nothing_behind(tmp_path: Path) -> None:
    live_through(tmp_path, 24.0, fps=5.0, memory=resident)
