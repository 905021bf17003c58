"""When a picture was taken: the camera's clock, the de-jittered arrival, and what must corrupt neither."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.sources.timing import WINDOW_S, Arrival, FrameClock, SmallestDelay, Stamp, Transit, taken_from_prft

EPOCH = 1_790_000_000.0


@dataclass
class HandClock:
    """Two clocks that a test turns by hand."""

    now: float = 1000.0
    offset: float = EPOCH

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.offset


def feed(
    times: FrameClock, clock: HandClock, pts: float, *, delay: float, taken: float | None = None, reordered: bool = False
) -> Stamp:
    """One packet that arrives `delay` after its pts on the session's line (zero at 1000), and its frame's stamp."""
    clock.now = max(clock.now, 1000.0 + pts + delay) if not reordered else clock.now
    arrival = Arrival(clock.now, taken)
    times.saw(pts, arrival)
    return times.stamp(pts, arrival)


def test_before_the_first_report_the_arrival_counts_then_the_cameras_clock() -> None:
    clock = HandClock()
    times = FrameClock(clock)
    assert feed(times, clock, 0.0, delay=0.05).source == "arrival"
    assert feed(times, clock, 0.1, delay=0.05).source == "arrival"
    camera_zero = clock.wall() - 0.25
    feed(times, clock, 0.2, delay=0.05, taken=camera_zero + 0.2)
    stamp = feed(times, clock, 0.3, delay=0.05, taken=camera_zero + 0.3)
    assert stamp.source == "rtcp"
    assert stamp.frame_time == pytest.approx(camera_zero + 0.3)
    # a packet without the side data is dated by the line that the others drew
    assert feed(times, clock, 0.4, delay=0.05).frame_time == pytest.approx(camera_zero + 0.4)


def test_a_single_report_is_not_believed() -> None:
    """FFmpeg hangs the first report's time on the packet before the one it belongs to."""
    clock = HandClock()
    times = FrameClock(clock)
    zero = clock.wall()
    feed(times, clock, 0.0, delay=0.1)
    assert feed(times, clock, 0.1, delay=0.1, taken=zero + 0.2).source == "arrival"  # the next packet's time
    assert feed(times, clock, 0.2, delay=0.1, taken=zero + 0.2).source == "arrival"
    assert feed(times, clock, 0.3, delay=0.1, taken=zero + 0.3).frame_time == pytest.approx(zero + 0.3)


@pytest.mark.parametrize(
    ("behind", "source"),
    [(0.1, "rtcp"), (9.9, "rtcp"), (10.1, "arrival"), (-0.9, "rtcp"), (-1.1, "arrival"), (1.6e9, "arrival")],
)
def test_absurd_claims_are_not_believed(behind: float, source: str) -> None:
    clock = HandClock()
    times = FrameClock(clock)
    stamps = []
    for n in range(4):
        clock.now = 1000.0 + n * 0.1
        arrival = Arrival(clock.now, clock.wall() - behind)
        times.saw(n * 0.1, arrival)
        stamps.append(times.stamp(n * 0.1, arrival))
    assert stamps[-1].source == source
    assert stamps[-1].frame_time == pytest.approx(clock.wall() - (behind if source == "rtcp" else 0.0))


def test_with_b_frames_time_follows_pts_not_the_order_of_packets() -> None:
    clock = HandClock()
    times, transit = FrameClock(clock), Transit()
    zero = clock.wall() - 0.5
    out = []
    # decoding order 0 3 1 2 6 4 5: what leaves the decoder is 0 1 2 3 4 5
    for index, frame in enumerate([0, 3, 1, 2, 6, 4, 5]):
        clock.now = 1000.0 + index * 0.1
        arrival = Arrival(clock.now, zero + frame * 0.1)
        times.saw(frame * 0.1, arrival)
        assert transit.enter(frame * 0.1, arrival) == 0
    for frame in range(6):
        found, lost = transit.leave(frame * 0.1)
        assert lost == 0
        assert found is not None
        assert found.at == pytest.approx(1000.0 + [0, 3, 1, 2, 6, 4, 5].index(frame) * 0.1)
        out.append(times.stamp(frame * 0.1, found).frame_time)
    assert out == pytest.approx([zero + frame * 0.1 for frame in range(6)])


def test_a_step_of_the_wall_clock_moves_arrival_times_with_it_and_nothing_else() -> None:
    clock = HandClock()
    times = FrameClock(clock)
    for n in range(50):
        feed(times, clock, n * 0.1, delay=0.2)
    clock.offset += 365 * 86400.0
    stamp = feed(times, clock, 5.0, delay=0.2)
    assert stamp.frame_time == pytest.approx(clock.wall())
    clock.offset -= 2 * 365 * 86400.0
    assert feed(times, clock, 5.1, delay=0.2).frame_time == pytest.approx(clock.wall())


def test_a_step_of_the_wall_clock_takes_the_cameras_word_away_and_gives_it_back() -> None:
    clock = HandClock()
    times = FrameClock(clock)
    zero = clock.wall() - 0.1

    def source(n: int) -> str:
        return feed(times, clock, n * 0.1, delay=0.0, taken=zero + n * 0.1).source

    assert [source(n) for n in range(3)][-1] == "rtcp"
    clock.offset += 3600.0
    assert source(3) == "arrival"
    clock.offset -= 3600.0
    assert source(4) == "rtcp"


def test_late_packets_are_dated_by_the_smallest_delay_of_the_last_minute() -> None:
    clock = HandClock()
    times = FrameClock(clock)
    for n in range(10):
        feed(times, clock, n * 0.1, delay=0.05)
    late = feed(times, clock, 1.0, delay=3.0)  # the network stood still
    assert late.frame_time == pytest.approx(EPOCH + 1000.0 + 1.0 + 0.05)
    assert late.source == "arrival"


def test_a_time_line_that_jumps_back_does_not_date_frames_into_the_past() -> None:
    clock = HandClock()
    times = FrameClock(clock)
    for n in range(20):
        feed(times, clock, 100.0 + n * 0.1, delay=0.05)
    clock.now += 0.1
    arrival = Arrival(clock.now)
    times.saw(0.0, arrival)  # the camera restarted its clock
    assert times.stamp(0.0, arrival).frame_time == pytest.approx(clock.wall())


def test_without_a_time_stamp_the_arrival_is_all_there_is() -> None:
    clock = HandClock()
    times = FrameClock(clock)
    arrival = Arrival(clock.now, taken=1.0)
    times.saw(None, arrival)
    assert times.stamp(None, arrival) == Stamp(clock.wall(), "arrival")


def test_prft_is_microseconds_and_flags() -> None:
    assert taken_from_prft(struct.pack("<qi", 1_790_000_000_250_000, 24) + b"\0\0\0\0") == 1_790_000_000.25
    assert taken_from_prft(b"\0" * 11) is None


def test_packets_that_never_become_frames_are_counted_once() -> None:
    transit = Transit()
    for n in range(5):
        transit.enter(float(n), Arrival(float(n)))
    transit.forget(1.0)  # refused, and counted where it was
    assert transit.leave(3.0) == (Arrival(3.0), 2)  # 0 and 2 were overtaken
    assert transit.leave(4.0) == (Arrival(4.0), 0)
    assert transit.clear() == 0
    assert transit.leave(None) == (Arrival(4.0), 0)


def test_a_decoder_that_swallows_everything_costs_no_memory() -> None:
    transit = Transit()
    assert sum(transit.enter(float(n), Arrival(float(n))) for n in range(1000)) == 1000 - 64


@given(st.lists(st.tuples(st.floats(0.01, 30.0), st.floats(0.0, 5.0)), min_size=1, max_size=60))
def test_the_smallest_delay_is_the_minimum_over_the_window(steps: list[tuple[float, float]]) -> None:
    window, seen, now = SmallestDelay(), [], 0.0
    for step, delay in steps:
        now += step
        seen.append((now, delay))
        window.add(now, delay)
        assert window.value == min(delay for at, delay in seen if at >= now - WINDOW_S)


@given(
    jitter=st.lists(st.floats(0.0, 0.4), min_size=5, max_size=80),
    interval=st.floats(0.02, 1.0),
    zero=st.floats(-1e5, 1e5),
)
def test_arrival_time_never_lies_in_the_future_and_keeps_the_streams_spacing(
    jitter: list[float], interval: float, zero: float
) -> None:
    clock = HandClock()
    times = FrameClock(clock)
    previous: float | None = None
    for n, late in enumerate(jitter):
        clock.now = max(clock.now, 1000.0 + n * interval + late)
        arrival = Arrival(clock.now)
        times.saw(zero + n * interval, arrival)
        stamp = times.stamp(zero + n * interval, arrival)
        assert stamp.frame_time <= clock.wall() + 1e-6
        assert stamp.frame_time >= clock.wall() - 0.4 - interval * 2 - 1e-3
        if previous is not None:
            assert stamp.frame_time <= previous + interval + 1e-3  # a new minimum only ever corrects towards earlier
        previous = stamp.frame_time
