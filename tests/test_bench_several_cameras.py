"""The page of bench.several_cameras, from readings that were not measured."""

from __future__ import annotations

from bench.several_cameras_page import Camera, Cost, Reading, written

TITLE = "Too much"


def reading(fps: float, rss: float = 200.0) -> Reading:
    return Reading({"a": Camera(10.0, fps, 20.0, 90.0), "b": Camera(2.0, fps / 5, 21.0, 95.0)}, 1.5, rss)


def test_medians_shares_and_memory_are_told_for_both_agents() -> None:
    readings = {(TITLE, "before"): [reading(fps) for fps in (1.0, 2.0, 9.0)], (TITLE, "now"): [reading(5.0)] * 3}
    for tree, each in (("before", 50.0), ("now", 3.0)):
        readings |= {(f"memory {count}", tree): [reading(1.0, 100 + each * (count - 1))] * 3 for count in (1, 4)}
    lines = written([TITLE], ["before", "now"], readings, Cost(8.94, 12.06), 10).splitlines()
    assert "| a | 10 | 2.0 (20%) | 20 | 90 | 5.0 (50%) | 20 | 90 |" in lines
    assert "| b | 2 | 0.4 (20%) | 21 | 95 | 1.0 (50%) | 21 | 95 |" in lines
    assert "| before | 100 | 250 | 50.0 |" in lines
    assert "| now | 100 | 109 | 3.0 |" in lines
    assert any("8.9 µs" in line and "12.1 µs" in line for line in lines)
    assert "CPU of the whole agent: before 1.50 cores, 625.0 ms per frame; now 1.50 cores, 250.0 ms per frame." in lines
    assert lines[0].startswith("Medians over 3 rounds")
