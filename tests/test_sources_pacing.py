"""Pacing, key-frame planning and back-off: pure, so their promises are checked on any stream one can think of."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.sources.backoff import JITTER, LONGEST_S, After, Backoff, Wait
from camagent.sources.pacing import Gathered, KeyPlan, Overload, Pacer

rates = st.floats(0.5, 60.0)


def picked(pacer: Pacer, times: list[float]) -> list[float]:
    return [at for at in times if pacer.due(at, at)]


@given(fps=rates, source=rates, start=st.floats(-1e6, 1e6))
def test_a_steady_source_is_thinned_to_fps_and_never_beyond(fps: float, source: float, start: float) -> None:
    times = [start + n / source for n in range(int(source * 40) + 2)]
    got = picked(Pacer(fps), times)
    span = times[-1] - times[0]
    expected = min(fps, source) * span
    assert len(got) <= fps * span + 2
    assert len(got) >= expected * 0.97 - 2


@given(fps=rates, source=rates, seed=st.integers(0, 1000))
def test_jitter_of_a_third_of_the_interval_loses_no_due_frame(fps: float, source: float, seed: int) -> None:
    rng = Random(seed)
    times = [(n + rng.uniform(-0.15, 0.15)) / source for n in range(int(source * 30) + 2)]
    got = picked(Pacer(fps), times)
    expected = min(fps, source) * (times[-1] - times[0])
    assert 0.93 * expected - 2 <= len(got) <= fps * (times[-1] - times[0]) + 2


def test_equal_rates_take_every_frame() -> None:
    assert len(picked(Pacer(10.0), [n * 0.1 for n in range(300)])) == 300


def test_after_a_gap_there_is_no_catching_up() -> None:
    pacer = Pacer(5.0)
    picked(pacer, [n * 0.04 for n in range(100)])
    assert len(picked(pacer, [60.0 + n * 0.04 for n in range(25)])) in (5, 6)


def test_a_time_line_that_starts_over_goes_on_at_once() -> None:
    pacer = Pacer(10.0)
    picked(pacer, [1000 + n * 0.04 for n in range(100)])
    assert picked(pacer, [n * 0.04 for n in range(6)])[0] == 0.0


def test_a_time_line_that_stands_still_or_is_missing_is_paced_by_arrival() -> None:
    pacer = Pacer(1.0)
    assert 3 <= sum(pacer.due(5.0, n * 0.04) for n in range(250)) <= 5
    pacer = Pacer(2.0)
    assert 19 <= sum(pacer.due(None, n * 0.04) for n in range(250)) <= 21


def test_key_frames_are_picked_with_a_key_frames_tolerance() -> None:
    pacer = Pacer(1.0)
    picked(pacer, [0.1 + n * 0.04 for n in range(110)])  # the grid now stands at x.1
    assert [at for at in (5.0, 6.0, 7.0, 8.0) if pacer.due(at, at, step_s=1.0)] == [5.0, 6.0, 7.0, 8.0]


@pytest.mark.parametrize(
    ("fps", "interval", "enough"), [(1.0, 1.0, True), (1.0, 1.03, False), (0.5, 1.0, True), (5.0, 1.0, False)]
)
def test_key_frames_are_enough_when_fps_is_at_most_their_rate(fps: float, interval: float, enough: bool) -> None:
    plan = KeyPlan(fps)
    for n in range(4):
        plan.key(n * interval)
        assert not plan.enough  # not measured yet
    plan.key(4 * interval)
    assert plan.enough is enough
    assert plan.interval_s == pytest.approx(interval)


def test_one_long_gop_ends_key_frame_decoding_at_once() -> None:
    plan = KeyPlan(1.0)
    for at in (0.0, 1.0, 2.0, 3.0, 4.0):
        plan.key(at)
    assert (plan.enough, plan.overdue(5.4), plan.overdue(5.6), plan.overdue(None)) == (True, False, True, False)
    plan.key(14.0)
    assert plan.enough is False


def test_key_frames_without_time_or_with_a_new_time_line() -> None:
    plan = KeyPlan(1.0)
    for at in (0.0, 1.0, 2.0, 3.0, 4.0, None):
        plan.key(at)
    enough = plan.enough
    plan.key(0.0)
    assert (enough, plan.enough, plan.interval_s) == (True, False, None)


def test_packets_gathered_while_opening_end_with_the_first_read_that_waits() -> None:
    gathered = Gathered(0.4)
    assert not any(gathered.live(n * 0.1, 0.0001, 0.001 * n) for n in range(4))
    assert gathered.live(0.4, 0.09, 0.1)
    assert gathered.live(0.5, 0.0, 0.2)  # and it stays so


def test_a_decoder_too_slow_to_ever_wait_still_gets_live() -> None:
    by_span, by_time = Gathered(0.4), Gathered(0.4)
    assert any(by_span.live(n * 0.1, 0.0, 0.01 * n) for n in range(10))
    assert any(by_time.live(None, 0.0, 0.3 * n) for n in range(10))


def test_overload_is_no_waiting_and_growing_lag_for_seconds() -> None:
    def first(waited_s: float, lag: float) -> float | None:
        overload = Overload()
        return next((n * 0.1 for n in range(300) if overload.noticed(n * 0.1, waited_s, lag * n * 0.1)), None)

    assert first(0.0005, 0.3) == pytest.approx(5.0)
    assert first(0.0005, 0.0) is None  # busy, and on time
    assert first(0.03, 0.3) is None  # late by the network, not by the decoder


def test_back_off_doubles_to_half_a_minute_with_jitter() -> None:
    backoff = Backoff(Random(1))
    waits = [backoff.next_wait(0.0) for _ in range(9)]
    for wait, nominal in zip(waits, [1, 2, 4, 8, 16, 30, 30, 30, 30], strict=True):
        assert nominal * (1 - JITTER) <= wait <= nominal
    assert len(set(waits[5:])) == 4


@given(st.lists(st.floats(0, 200), max_size=30), st.integers(0, 100))
def test_back_off_is_bounded_and_a_good_minute_resets_it(sessions: list[float], seed: int) -> None:
    backoff = Backoff(Random(seed))
    for good_s in sessions:
        wait = backoff.next_wait(good_s)
        assert 0 < wait <= (1.0 if good_s >= 60 else LONGEST_S)


def test_who_may_end_a_wait() -> None:
    down, lost, refused = Wait(After.DOWN), Wait(After.LOST), Wait(After.REFUSED)
    assert (down.probes, lost.probes, refused.probes) == (True, True, False)
    assert not down.probed(accepted=False)
    assert down.probed(accepted=True)  # it was away and is back
    assert not lost.probed(accepted=True)  # it answered all the time: no reason to hurry
    assert not lost.probed(accepted=False)
    assert lost.probed(accepted=True)  # it was restarted meanwhile
