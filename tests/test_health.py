from __future__ import annotations

import threading

import pytest

from camagent.frame import Latency, StageCounts
from camagent.health import BOUNDS_MS, WINDOW_S, CameraCounters, Durations


def test_windows_forget_and_totals_do_not() -> None:
    now = [0.0]
    counters = CameraCounters(lambda: now[0])
    for _ in range(20):
        counters.inferred(StageCounts(3, 2, 1, 1, 1, 1, 0.8), Latency(1, 2, 3, 4, 10))
        counters.tracked(2)
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
    assert counters.totals["tracked"] == 40


def test_every_frame_stands_in_the_histogram_of_every_step_from_the_first_moment() -> None:
    now = [0.0]
    counters = CameraCounters(lambda: now[0])
    assert counters.durations["infer"] == Durations()
    for number in range(40):
        counters.inferred(StageCounts(), Latency(0.5, 1.0, 1.001, 7.0, 6000.0))
        now[0] += 0.3
        assert {sum(lasted.counts) for lasted in counters.durations.values()} == {number + 1}
    places = {name: lasted.counts.index(40) for name, lasted in counters.durations.items()}
    assert places == {"decode": 0, "preprocess": 0, "infer": 1, "postprocess": 3, "total": len(BOUNDS_MS)}
    assert counters.durations["total"].seconds == pytest.approx(240)


def test_a_reader_never_sees_a_frame_go() -> None:
    """Seconds end while another thread reads: each of them adds up what the one before has counted."""
    now = [0.0]
    counters, over = CameraCounters(lambda: now[0]), threading.Event()

    def work() -> None:
        while not over.is_set():
            counters.inferred(StageCounts(candidates=1), Latency(1, 2, 3, 4, 10))
            now[0] += 0.4

    thread = threading.Thread(target=work)
    thread.start()
    seen = (0, 0.0, 0)
    for _ in range(3000):
        total = counters.durations["total"]
        got = (sum(total.counts), total.seconds, counters.totals["candidates"])
        assert total.seconds == pytest.approx(sum(total.counts) / 100)
        assert all(after >= before for before, after in zip(seen, got, strict=True))
        seen = got
    over.set()
    thread.join()


def test_a_day_of_frames_keeps_a_bounded_number_of_buckets() -> None:
    now = [0.0]
    counters = CameraCounters(lambda: now[0])
    for _ in range(5000):
        counters.inferred(StageCounts(), Latency(0, 0, 0, 0, 0))
        now[0] += 7.0
    assert len(counters._buckets) <= WINDOW_S + 2


def test_a_camera_that_is_rarely_looked_at_has_a_window_of_three_frames() -> None:
    now = [0.0]
    counters = CameraCounters(lambda: now[0], fps=0.1)
    for _ in range(10):
        counters.inferred(StageCounts(), Latency(0, 0, 0, 0, 0))
        now[0] += 10.0
    assert counters.window().inferred == 2
    assert counters.window_s == 30.0


def test_searched_outputs_are_counted_and_so_are_the_invalid_ones() -> None:
    counters = CameraCounters(lambda: 1.0)
    for invalid in (None, 0, 7):
        counters.inferred(StageCounts(), Latency(0, 0, 0, 0, 0), invalid)
    assert (counters.window().inferred, counters.window().searched, counters.window().invalid) == (3, 2, 1)


def test_frames_that_others_turns_cost_count_as_asked_for() -> None:
    now = [0.0]
    counters = CameraCounters(lambda: now[0])
    for _ in range(50):
        counters.inferred(StageCounts(), Latency(0, 0, 0, 0, 0))
        counters.crowded_out(1)
        counters.crowded_out(0)
        now[0] += 0.2
    seen = counters.window()
    assert seen.asked_fps == pytest.approx(2 * seen.fps)
    assert counters.crowded == 50
    now[0] += WINDOW_S + 1
    assert (counters.window().crowded_out, counters.crowded) == (0, 50)


@pytest.mark.parametrize("answer", ["acknowledged", "refused"])
def test_results_wait_for_an_answer_until_there_is_one(answer: str) -> None:
    now = [5.0]
    counters = CameraCounters(lambda: now[0])
    counters.published()  # a map: nobody acknowledges it
    now[0] += 60
    assert counters.unanswered_s == 0.0
    counters.published(answered=True)
    now[0] += 4
    counters.published(answered=True)
    assert counters.unanswered_s == 4.0
    counters.outcome(answer, 2)
    assert counters.unanswered_s == 0.0
