from __future__ import annotations

from dataclasses import replace

import pytest

from camagent.frame import Latency, StageCounts
from camagent.health import WINDOW_S, CameraCounters, CameraFacts, Finding, Window, reason

EMPTY = {"candidates": 0, "scored": 0, "kept_by_nms": 0, "kept_by_label": 0, "kept_by_area": 0, "kept_by_zone": 0}


def window(inferred: int = 100, published: int = 0, errors: int = 0, **funnel: int) -> Window:
    return Window(10.0, inferred, published, errors, 0.31, {**EMPTY, **funnel}, {})


def facts(seen: Window) -> CameraFacts:
    return CameraFacts("running", None, None, None, 0.1, 10.0, seen, detects=True, min_score=0.65)


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (window(), "no-candidates"),
        (window(candidates=9), "all-below-threshold"),
        (window(candidates=9, scored=5, kept_by_nms=3), "all-filtered-by-label"),
        (window(candidates=9, scored=5, kept_by_nms=3, kept_by_label=2), "all-filtered-by-area"),
        (window(candidates=9, scored=5, kept_by_nms=3, kept_by_label=2, kept_by_area=1), "all-filtered-by-zone"),
        (window(inferred=0), "no-frames"),
        (window(inferred=0, errors=4), "inference-failing"),
    ],
)
def test_the_first_stage_that_lets_nothing_through_is_named(seen: Window, code: str) -> None:
    found = reason(facts(seen))
    assert found is not None
    assert found.code == code


def test_a_threshold_is_told_with_the_best_score() -> None:
    found = reason(facts(window(candidates=9)))
    assert found is not None
    assert "best score 0.310, threshold 0.65" in found.detail


def test_upstream_speaks_first() -> None:
    broken = replace(
        facts(window(inferred=0, errors=3)),
        source=Finding("stream-unreachable", "s"), bundle=Finding("bundle-refused", "b"),
        delivery=Finding("mqtt-acl-denied", "d"),
    )  # fmt: skip
    assert reason(replace(broken, state="off")) == Finding("disabled-by-request", "detection was switched off by a request")
    assert reason(broken) == broken.bundle
    assert reason(replace(broken, bundle=None)) == broken.source
    stale = replace(broken, bundle=None, source=None, frame_age=11.0)
    found = reason(stale)
    assert found is not None
    assert found.code == "no-frames"


def test_published_and_delivered_is_no_reason_and_published_but_not_delivered_is_one() -> None:
    busy = facts(window(published=5, candidates=9, scored=5))
    assert reason(busy) is None
    away = Finding("mqtt-unreachable", "connection refused")
    assert reason(replace(busy, delivery=away)) == away


def test_maps_and_unchanged_classes_are_never_empty() -> None:
    assert reason(replace(facts(window()), detects=False)) is None


def test_windows_forget_and_totals_do_not() -> None:
    now = [0.0]
    counters = CameraCounters(lambda: now[0])
    for _ in range(20):
        counters.inferred(StageCounts(3, 2, 1, 1, 1, 1, 0.8), Latency(1, 2, 3, 4, 10))
        counters.published()
        now[0] += 0.1
    seen = counters.window()
    assert (seen.inferred, seen.published, seen.funnel["candidates"], seen.score_max) == (20, 20, 60, 0.8)
    assert seen.latency_ms == {"decode": 1, "preprocess": 2, "infer": 3, "postprocess": 4, "total": 10}
    assert seen.fps == pytest.approx(10, rel=0.01)
    now[0] += WINDOW_S + 1
    assert counters.window().inferred == 0
    assert counters.totals["inferred"] == 20
    assert counters.totals["kept_by_zone"] == 20


def test_a_day_of_frames_keeps_a_bounded_number_of_buckets() -> None:
    now = [0.0]
    counters = CameraCounters(lambda: now[0])
    for _ in range(5000):
        counters.inferred(StageCounts(), Latency(0, 0, 0, 0, 0))
        now[0] += 7.0
    assert len(counters._buckets) <= WINDOW_S + 2
