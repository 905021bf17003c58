"""When an object is worth telling of: hand-made tracks, a clock that is turned."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from camagent.events import BURST, Event, Events, Look, end_of
from camagent.frame import Track
from tests.support.objects import HEIGHT, LABELS, WIDTH, seen, track


class Story:
    """One camera's events, a frame every 0.1 s."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.made = 0
        self.events = Events(self._new_id)

    def _new_id(self, frame_time: float) -> str:
        self.made += 1
        return f"{frame_time:.6f}-{self.made:06d}"

    def look(
        self, *tracks: Track, missed: Sequence[int] = (), ended: Sequence[int] = (), pictured: Sequence[int] = (),
        after: float = 0.1,
    ) -> list[Event]:  # fmt: skip
        self.at += after
        return self.events.see(seen(*tracks, missed=missed, ended=ended), self.now, pictured)

    @property
    def now(self) -> Look:
        return Look(self.at, 1.8e9 + self.at, WIDTH, HEIGHT, LABELS)

    def stay(self, one: Track, seconds: float) -> list[tuple[float, Event]]:
        """The same for some time; what was told, and how long after its beginning."""
        began = self.at
        return [(round(self.at - began, 1), event) for _ in range(round(seconds * 10)) for event in self.look(one)]


def only(events: Sequence[Event], kind: str) -> Event:
    (event,) = events
    assert event.type == kind
    return event


def test_a_new_object_was_in_no_zone_and_on_no_picture_before() -> None:
    story = Story()
    event = only(story.look(track(zones=("gate", "yard")), pictured=[1]), "new")
    assert (event.before.current_zones, event.before.entered_zones, event.before.has_snapshot) == ((), (), False)
    assert (event.after.current_zones, event.after.entered_zones, event.after.has_snapshot) == (("gate", "yard"),) * 2 + (True,)
    assert event.after.id == event.before.id
    assert (event.after.label, event.after.score, event.after.top_score) == ("person", 0.8, 0.8)
    assert event.after.box == (100.0, 100.0, 140.0, 180.0)
    assert event.after.box_norm == (0.15625, 0.27778, 0.21875, 0.5)
    assert event.after.start_time == event.after.frame_time == round(1.8e9 + story.at, 3)
    assert event.after.end_time is None


def test_zones_and_label_are_told_at_once_and_before_is_what_was_told() -> None:
    story = Story()
    first = only(story.look(track()), "new")
    entered = only(story.look(track(zones=("gate",))), "update")
    assert entered.before == first.after
    assert (entered.after.current_zones, entered.after.entered_zones) == (("gate",), ("gate",))
    assert story.look(track(zones=("gate",))) == []
    left = only(story.look(track()), "update")
    assert (left.after.current_zones, left.after.entered_zones) == ((), ("gate",))
    other = only(story.look(track(class_id=1)), "update")
    assert (other.before.label, other.after.label) == ("person", "car")
    assert other.after.id == first.after.id


def test_an_object_that_wavers_on_a_zones_edge_is_told_of_once_a_second() -> None:
    story = Story()
    story.look(track())
    told = [event for number in range(600) for event in story.look(track(zones=("gate",) if number % 2 else ()))]
    assert BURST <= len(told) <= 60 + BURST
    last = story.look(track(zones=("gate",)), after=5.0)
    assert (last[-1].after if last else told[-1].after).current_zones == ("gate",), "the last word is how it is"


def test_a_zone_that_is_entered_for_the_first_time_is_told_whatever_went_before() -> None:
    story = Story()
    story.look(track())
    for number in range(100):
        story.look(track(zones=("gate",) if number % 2 else ()))
    assert "yard" in only(story.look(track(zones=("gate", "yard"))), "update").after.entered_zones


def test_a_better_score_is_told_once_a_second_and_a_worse_one_with_the_heartbeat() -> None:
    story = Story()
    story.look(track(score=0.5))
    moving = [event for n in range(50) for event in story.look(track(x=100 + 4 * n, score=0.5 + 0.008 * n))]
    assert [event.type for event in moving] == ["update"] * len(moving)
    assert 3 <= len(moving) <= 5
    tops = [event.after.top_score for event in moving]
    assert all(later - earlier >= 0.05 for earlier, later in itertools.pairwise(tops))
    calm = [event for n in range(200) for event in story.look(track(x=100 + 4 * (n % 50), score=0.3))]
    assert len(calm) == 2, "every ten seconds"
    assert calm[-1].after.score == 0.3
    assert calm[-1].after.top_score == pytest.approx(tops[-1], abs=0.05)


def test_a_picture_is_told_of_within_a_second() -> None:
    story = Story()
    story.look(track())
    story.look(track(), pictured=[1])
    told = story.stay(track(), 2)
    assert [at for at, _ in told] == [0.9]
    assert told[0][1].after.has_snapshot


def test_what_stays_is_stationary_after_ten_seconds_and_what_leaves_is_not() -> None:
    story = Story()
    story.look(track())
    told = story.stay(track(x=102), 12)
    assert [(at, event.after.stationary) for at, event in told if event.after.stationary] == [(10.0, True)]
    shaking = [event for n in range(100) for event in story.look(track(x=100 + 6 * (n % 2)))]
    assert all(event.after.stationary for event in shaking)
    assert [event for event in story.stay(track(x=160), 0.4) if not event[1].after.stationary] == [], "a passer-by in front"
    story.stay(track(), 1)
    moved = [event for _, event in story.stay(track(x=160), 1)]
    assert [event.after.stationary for event in moved] == [False]
    again = story.stay(track(x=160), 12)
    assert 9.4 <= next(at for at, event in again if event.after.stationary) <= 9.8


def test_a_slow_walker_is_not_stationary() -> None:
    story = Story()
    story.look(track())
    assert not any(event.after.stationary for n in range(600) for event in story.look(track(x=100 + 0.3 * n)))


def test_an_end_comes_once_and_only_for_what_was_told() -> None:
    story = Story()
    first = only(story.look(track()), "new")
    story.look(missed=[1])
    end = only(story.look(ended=[1, 7]), "end")
    assert end.before == first.after
    assert end.after.end_time == round(1.8e9 + story.at, 3)
    assert end.after.frame_time == first.after.frame_time, "nobody has seen it since"
    assert story.look(ended=[1]) == []
    assert story.events.end_all(1.8e9) == []
    assert len(story.events) == 0


def test_all_can_be_ended_and_a_later_frame_makes_new_events() -> None:
    story = Story()
    ids = {event.after.id for event in story.look(track(1), track(2, 300))}
    assert {event.after.id for event in story.events.end_all(1.8e9 + story.at)} == ids
    assert {event.type for event in story.look(track(1), track(2, 300))} == {"new"}


def test_a_clock_that_was_set_back_ends_nothing_before_its_beginning() -> None:
    story = Story()
    first = only(story.look(track()), "new")
    (end,) = story.events.end_all(1.7e9)
    assert end.after.end_time == first.after.start_time


def test_what_a_dead_agent_has_left_ends_where_it_was_told_of_last() -> None:
    story = Story()
    first = only(story.look(track()), "new")
    assert story.events.told == (first.after,)
    end = end_of(first.after)
    assert (end.type, end.before, end.after.end_time) == ("end", first.after, first.after.frame_time)
