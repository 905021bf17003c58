"""What the tracker promises about scores, frame rates, ids, classes and clocks, one promise a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.filters import FilterRule, for_tracking
from camagent.frame import Detections, Track, Tracks
from camagent.track import Tracker

Box = tuple[float, float, float, float]
SIZE = (1280.0, 720.0)
NOTHING: Sequence[tuple[Box, float, int]] = ()


def seen(*objects: tuple[Box, float, int]) -> Detections:
    """Best first, as the filters give them: (box, score, class)."""
    ordered = sorted(objects, key=lambda one: -one[1])
    return Detections(
        np.array([box for box, *_ in ordered], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in ordered], np.float32),
        np.array([class_id for *_, class_id in ordered], np.int64),
    )


def person(x: float, y: float = 300.0, *, tall: float = 200.0) -> Box:
    return (x, y, x + tall * 0.36, y + tall)


def by_score(objects: Sequence[tuple[Box, float, int]], min_score: float) -> tuple[Detections, Detections]:
    """As the filters split them: published, and faint."""
    floor = for_tracking(FilterRule(min_score, 0.5)).decode_score
    strong = [one for one in objects if np.float32(one[1]) >= min_score]
    faint = [one for one in objects if floor <= np.float32(one[1]) < min_score]
    return seen(*strong), seen(*faint)


@settings(deadline=None, max_examples=150)
@given(
    min_score=st.sampled_from([0.05, 0.4, 0.9]), fps=st.floats(1, 30), share=st.floats(0, 1), speed=st.floats(-150, 150),
    start=st.floats(0, 1e6),
)  # fmt: skip
def test_every_score_that_is_published_makes_an_object(
    *, min_score: float, fps: float, share: float, speed: float, start: float
) -> None:
    score = min_score + share * (1 - min_score)  # from the threshold itself to 1: no gap above it
    tracker, ids, first = Tracker(), set(), None
    for index in range(12 + round(fps)):
        passed = index / fps
        box = person(600 + speed * min(passed, 3))
        tracks = tracker.update(*by_score([(box, score, 0)], min_score), start + passed, size=SIZE)
        ids |= {track.id for track in tracks.found}
        first = passed if tracks.found and first is None else first
        assert not tracks.ended
    assert ids == {1}
    assert first is not None
    assert first <= max(0.2, 1 / fps) + 1 / fps, "it is certain as soon as it was found twice, 0.2 s apart"


@settings(deadline=None)
@given(min_score=st.sampled_from([0.05, 0.4, 0.9]), fps=st.floats(1, 30), dip=st.floats(0.5, 0.99))
def test_a_score_that_falls_below_the_threshold_keeps_its_id_and_says_where_it_is(
    *, min_score: float, fps: float, dip: float
) -> None:
    tracker = Tracker()
    for index in range(60):
        is_faint = 20 <= index < 20 + min(20, 8 * fps)
        score = min_score * dip if is_faint else min_score
        objects = [(person(400 + index), score, 0)]
        tracks = tracker.update(*by_score(objects, min_score), index / fps, size=SIZE)
        if index >= 20:
            (track,) = tracks.found
            assert track.id == 1
            assert track.index == (None if is_faint else 0)
            assert track.box == pytest.approx(objects[0][0], abs=0.01)


def test_what_is_faint_starts_nothing() -> None:
    tracker = Tracker()
    for index in range(50):
        tracks = tracker.update(seen(), seen((person(300), 0.39, 0)), index / 10)
        assert tracks == Tracks()


def test_a_faint_ghost_does_not_keep_an_object_for_ever() -> None:
    tracker = Tracker()
    ended = []
    for index in range(400):
        strong, weak = (seen((person(300), 0.8, 0)), seen()) if index < 10 else (seen(), seen((person(300), 0.3, 0)))
        ended += [(index, one) for one in tracker.update(strong, weak, index / 10).ended]
    assert ended == [(110, 1)]


def test_one_flash_of_a_false_alarm_is_no_object() -> None:
    rng = np.random.default_rng(3)
    tracker, found = Tracker(), 0
    for index in range(400):
        box = person(float(rng.uniform(0, 1200)), float(rng.uniform(0, 500)))
        found += len(tracker.update(seen((box, 0.6, 0)) if rng.random() < 0.2 else seen(), None, index / 10, size=SIZE).found)
    assert not found
    tracker = Tracker()
    flashes = [tracker.update(seen((person(300), 0.9, 0)), None, at, size=SIZE) for at in (0.0, 0.04, 0.08)]
    assert not any(tracks.found for tracks in flashes), "three frames of 25 a second are a flash"


def test_two_finds_of_a_high_score_are_enough() -> None:
    for score, expected in ((0.75, [False, True, True]), (0.65, [False, False, False])):
        tracker = Tracker()
        sure = FilterRule(0.4, 0.5).sure_score
        told = [tracker.update(seen((person(300), score, 0)), None, at, sure=sure) for at in (0.0, 0.04, 0.08)]
        assert [bool(tracks.found) for tracks in told] == expected


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.6, 0.9])
def test_at_one_frame_a_second_a_person_who_passes_in_three_seconds_is_one_object(phase: float) -> None:
    tracker, found = Tracker(), []
    for index in range(12):
        passed = index - 4 + phase
        objects = [(person(-50 + 1280 / 3 * passed, 200, tall=480), 0.6, 0)] if 0 < passed < 3 else []
        found += [track.id for track in tracker.update(seen(*objects), None, float(index), size=SIZE).found]
    assert found
    assert set(found) == {1}


def test_an_object_that_is_gone_is_missed_and_then_ends_once() -> None:
    tracker = Tracker()
    told = [tracker.update(seen((person(300), 0.8, 0)) if at < 2 else seen(), None, at) for at in np.arange(0, 8, 0.1)]
    assert [index for index, tracks in enumerate(told) if tracks.ended] == [50]
    assert told[50].ended == (1,)
    assert all(tracks.missed == (1,) for tracks in told[20:50])
    assert all(tracks.missed == () for tracks in (*told[:20], *told[50:]))
    assert tracker.flush() == ()


def test_what_has_left_the_picture_is_not_waited_for() -> None:
    tracker, ended = Tracker(), None
    for index in range(60):
        x = 1100 + index * 20
        tracks = tracker.update(seen((person(x), 0.8, 0)) if x < 1240 else seen(), None, index / 10, size=SIZE)
        ended = index / 10 if tracks.ended else ended
    assert ended is not None
    assert 0.5 < ended - 0.6 < 1.2


def test_a_door_gives_the_next_one_another_id() -> None:
    tracker, ids = Tracker(), []
    for index in range(60):
        x = 1000 + index * 25 if index < 12 else 1240 - (index - 25) * 25
        objects = [] if 12 <= index < 25 else [(person(x), 0.8, 0)]
        ids += [track.id for track in tracker.update(seen(*objects), None, index / 10, size=SIZE).found]
    assert sorted(set(ids)) == [1, 2]


def test_an_occlusion_of_two_seconds_keeps_the_id_of_who_walks_on() -> None:
    tracker, ids = Tracker(), set()
    for index in range(80):
        objects = [] if 30 <= index < 50 else [(person(100 + 12 * index), 0.8, 0)]
        ids |= {track.id for track in tracker.update(seen(*objects), None, index / 10, size=SIZE).found}
    assert ids == {1}


def test_a_flickering_class_is_one_object_of_the_class_that_is_said_more_surely() -> None:
    tracker = Tracker()
    for index in range(40):
        box = (100.0 + 8 * index, 300.0, 300.0 + 8 * index, 420.0)
        tracks = tracker.update(seen((box, 0.5, 2) if index % 3 == 0 else (box, 0.7, 7)), None, index / 10)
        if index > 4:
            (track,) = tracks.found
            assert (track.id, track.class_id) == (1, 7)


def test_two_boxes_of_two_classes_on_one_thing_are_one_object_and_two_things_are_two() -> None:
    tracker = Tracker()
    for index in range(20):
        car = (100.0 + 5 * index, 300.0, 300.0 + 5 * index, 420.0)
        rider = (700.0, 200.0, 772.0, 400.0)
        cycle = (690.0, 300.0, 790.0, 420.0)
        tracks = tracker.update(seen((car, 0.8, 2), (car, 0.6, 7), (rider, 0.7, 0), (cycle, 0.65, 1)), None, index / 10)
    assert sorted((track.class_id, track.index) for track in tracks.found) == [(0, 1), (1, 2), (2, 0)]


def test_of_two_that_meet_each_keeps_its_class() -> None:
    tracker = Tracker()
    for index in range(60):
        walker, dog = person(200 + 10 * index, 300), (800 - 10 * index, 420.0, 900 - 10 * index, 500.0)
        tracks = tracker.update(seen((walker, 0.8, 0), (dog, 0.7, 16)), None, index / 10, size=SIZE)
    assert {track.id: track.class_id for track in tracks.found} == {1: 0, 2: 16}


def moving(tracker: Tracker, moments: Sequence[tuple[float, float | None, float]]) -> set[int]:
    """Ids of one walker; moments are (arrival, pts, when it really was)."""
    ids: set[int] = set()
    for at, pts, really in moments:
        box = person(100 + 120 * really)
        ids |= {track.id for track in tracker.update(seen((box, 0.8, 0)), None, at, pts=pts, size=SIZE).found}
    return ids


@pytest.mark.parametrize("jump", [-5000.0, -0.5, 0.7, 3.0, 95443.7])
def test_a_jump_of_the_streams_time_line_breaks_nothing(jump: float) -> None:
    moments = [(50 + index / 10, index / 10 + (jump if index >= 30 else 0.0), index / 10) for index in range(60)]
    assert moving(Tracker(), moments) == {1}


def test_frames_that_arrive_in_bursts_are_taken_for_when_they_were_taken() -> None:
    moments = [(50 + index // 5 * 0.5 + index % 5 * 0.002, index / 10, index / 10) for index in range(60)]
    assert moving(Tracker(), moments) == {1}


def test_without_a_time_line_and_with_dropped_frames() -> None:
    rng = np.random.default_rng(1)
    moments = [(50 + index / 25, None, index / 25) for index in range(150) if rng.random() < 0.4]
    assert moving(Tracker(), moments) == {1}


def test_two_frames_at_one_moment_and_a_clock_that_stands() -> None:
    tracker = Tracker()
    for at in (1.0, 1.0, 1.3, 1.3, 1.3, 1.2, 1.6):
        tracks = tracker.update(seen((person(300), 0.8, 0)), None, at)
    assert [track.id for track in tracks.found] == [1]
    assert tracker.update(seen(), None, 1.6).missed == (1,)


def test_after_a_long_silence_everybody_is_new() -> None:
    tracker = Tracker()
    for at in (0.0, 0.1, 0.2, 0.3):
        tracker.update(seen((person(300), 0.8, 0)), None, at)
    tracks = tracker.update(seen((person(300), 0.8, 0)), None, 100.0)
    assert tracks == Tracks(ended=(1,))


def test_ids_go_on_where_another_tracker_stopped() -> None:
    ids = count(1)
    for expected in (1, 2):
        tracker = Tracker(ids)
        for at in (0.0, 0.1, 0.2, 0.3):
            tracks = tracker.update(seen((person(300), 0.8, 0)), None, at)
        assert [track.id for track in tracks.found] == [expected]
        assert tracker.flush() == (expected,)
        assert tracker.flush() == ()


def test_zones_and_scores_are_those_of_the_row() -> None:
    tracker = Tracker()
    tracks = Tracks()
    for index in range(5):
        found = replace(seen((person(300), 0.9, 0), (person(600), 0.5, 0)), zones=(("a",), ("a", "b")))
        tracks = tracker.update(found, None, index / 10)
    first, second = tracks.found
    assert first == Track(1, 0, float(np.float32(0.9)), first.box, ("a",), 0)
    assert second == Track(2, 0, 0.5, second.box, ("a", "b"), 1)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), fps=st.sampled_from([1.0, 5.0, 25.0]))
def test_whatever_comes_ids_are_unique_found_before_they_end_and_end_once(*, seed: int, fps: float) -> None:
    rng = np.random.default_rng(seed)
    tracker, known, over, at = Tracker(), set[int](), set[int](), 0.0
    for _ in range(60):
        at += float(rng.exponential(1 / fps)) if rng.random() < 0.95 else float(rng.uniform(0, 6))
        boxes = [person(float(rng.integers(4)) * 300 + rng.normal(0, 40), rng.normal(250, 30)) for _ in range(rng.integers(6))]
        strong, faint = by_score([(box, float(rng.uniform(0.2, 1)), int(rng.integers(2))) for box in boxes], 0.4)
        tracks = tracker.update(strong, faint, at, size=SIZE)
        now = [track.id for track in tracks.found]
        indices = [track.index for track in tracks.found if track.index is not None]
        assert len(set(now)) == len(now)
        assert len(set(indices)) == len(indices)
        known |= set(now)
        assert not over & {*now, *tracks.missed}
        assert set(tracks.ended) <= known - over
        assert len(set(tracks.ended)) == len(tracks.ended)
        over |= set(tracks.ended)
        assert known - over == {*now, *tracks.missed}, "what was found and has not ended is found or missed"
    assert set(tracker.flush()) == known - over
    assert known == set(range(1, len(known) + 1))
