"""Objects over time -> events: when one appears, when it changed enough to be told again, when it is gone. Pure.

One camera's, one model's. `before` of a message is always what the last one said as `after`; of a `new` it is the same object
before it was in any zone and before there was a picture of it, as Frigate has it, so that whoever compares the two sees
what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from camagent.bodies import EventObject
from camagent.boxes import Box, overlap
from camagent.frame import Track, Tracks

HEARTBEAT_S = 10.0  # an object that is seen and does not change is told this often
EVERY_S = 1.0  # between two updates of an object for no more than a better score
BETTER = 0.05  # so much a best score must rise to be told
BURST = 5.0  # changes of an object that are told at once; from there on one a second, for one that wavers on a zone's edge
STILL_S = 10.0  # so long an object must stay where it is to be stationary
MOVED_S = 0.5  # so long it must be away from its resting place to have moved: a passer-by in front of it is no movement
STILL_IOU = 0.6  # of box and resting place: a shift by a quarter of the width


@dataclass(frozen=True, slots=True)
class Look:
    """The frame that tracks were found in."""

    at: float  # monotonic seconds
    frame_time: float  # seconds since 1970
    width: int  # pixels of the source picture
    height: int
    labels: Sequence[str]  # by class id


@dataclass(frozen=True, slots=True)
class Event:
    """What is to be told of one object."""

    type: Literal["new", "update", "end"]
    before: EventObject
    after: EventObject


@dataclass(slots=True)
class _Rest:
    """Where an object stays, and since when; times are monotonic."""

    box: Box
    since: float
    away_since: float | None = None

    def stays(self, box: Box, now: float) -> bool:
        """True when it has been in its place for long; moves the place when it has left for good."""
        if overlap(box, self.box) >= STILL_IOU:
            self.away_since = None
        elif self.away_since is None:
            self.away_since = now
        if self.away_since is not None and now - self.away_since >= MOVED_S:
            self.box, self.since, self.away_since = box, now, None
        return now - self.since >= STILL_S


@dataclass(slots=True)
class _Open:
    """An object that was told of and has not ended."""

    class_id: int
    told: EventObject  # the `after` of its last message
    now: EventObject  # as it was seen last
    told_at: float
    rest: _Rest
    credit: float = field(default=BURST)
    credited_at: float = 0.0


class Events:
    """The objects of one camera that were told of and have not ended. Every time is passed in."""

    def __init__(self, new_id: Callable[[float], str]) -> None:
        """`new_id` makes an id out of seconds since 1970."""
        self._new_id = new_id
        self._open: dict[int, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def told(self) -> tuple[EventObject, ...]:
        """Every open object as its last message said; what must be ended should this process die."""
        return tuple(item.told for item in self._open.values())

    @property
    def present(self) -> tuple[tuple[int, tuple[str, ...]], ...]:
        """(class id, zones) of every open object. One that a frame or two do not show has not left."""
        return tuple((item.class_id, item.now.current_zones) for item in self._open.values())

    def see(self, tracks: Tracks, look: Look, pictured: Iterable[int] = ()) -> list[Event]:
        """What one frame's tracks are worth telling. `pictured`: ids of objects whose picture this frame became."""
        taken = frozenset(pictured)
        told = [event for track in tracks.found if (event := self._found(track, look, pictured=track.id in taken)) is not None]
        return [*told, *self.end(tracks.ended, look.frame_time)]

    def end(self, ids: Iterable[int], frame_time: float) -> list[Event]:
        """These are gone, as of this moment (seconds since 1970). Ids that were never told of are passed over."""
        gone = [self._open.pop(number) for number in ids if number in self._open]
        return [_ended(item.told, item.now, frame_time) for item in gone]

    def end_all(self, frame_time: float) -> list[Event]:
        """Nobody looks any more."""
        return self.end(tuple(self._open), frame_time)

    def _found(self, track: Track, look: Look, *, pictured: bool) -> Event | None:
        known = self._open.get(track.id)
        if known is None:
            return self._appeared(track, look, pictured=pictured)
        stationary = known.rest.stays(track.box, look.at)
        known.class_id = track.class_id
        known.now = _as_seen(track, look, known.now, stationary=stationary, pictured=pictured)
        return _update(known, look.at) if _is_due(known, look.at) else None

    def _appeared(self, track: Track, look: Look, *, pictured: bool) -> Event:
        score, box = round(track.score, 4), _rounded(track.box)
        before = EventObject(
            id=self._new_id(look.frame_time), label=look.labels[track.class_id], score=score, top_score=score, box=box,
            box_norm=_norm(track.box, look), start_time=round(look.frame_time, 3), end_time=None,
            frame_time=round(look.frame_time, 3), current_zones=(), entered_zones=(), stationary=False, has_snapshot=False,
        )  # fmt: skip
        after = msgspec.structs.replace(
            before, current_zones=track.zones, entered_zones=track.zones, has_snapshot=pictured
        )  # fmt: skip
        rest = _Rest(track.box, look.at)
        self._open[track.id] = _Open(track.class_id, after, after, look.at, rest, credited_at=look.at)
        return Event("new", before, after)


def end_of(left: EventObject) -> Event:
    """The end of an object whose agent died: nobody knows it later than it was told of last."""
    return _ended(left, left, left.frame_time)


def _as_seen(track: Track, look: Look, last: EventObject, *, stationary: bool, pictured: bool) -> EventObject:
    score = round(track.score, 4)
    entered = (*last.entered_zones, *(zone for zone in track.zones if zone not in last.entered_zones))
    return msgspec.structs.replace(
        last, label=look.labels[track.class_id], score=score, top_score=max(score, last.top_score), box=_rounded(track.box),
        box_norm=_norm(track.box, look), frame_time=round(look.frame_time, 3), current_zones=track.zones,
        entered_zones=entered, stationary=stationary, has_snapshot=last.has_snapshot or pictured,
    )  # fmt: skip


def _is_due(item: _Open, at: float) -> bool:
    """A zone entered for the first time always is; other changes are while their credit lasts; the rest is a matter of time."""
    told, now, since = item.told, item.now, at - item.told_at
    if now.entered_zones != told.entered_zones:
        return True
    if (now.label, now.current_zones, now.stationary) != (told.label, told.current_zones, told.stationary):
        item.credit, item.credited_at = min(BURST, item.credit + at - item.credited_at), at
        if item.credit < 1.0:
            return False
        item.credit -= 1.0
        return True
    better = now.top_score - told.top_score >= BETTER or now.has_snapshot != told.has_snapshot
    return since >= (EVERY_S if better else HEARTBEAT_S)


def _update(item: _Open, at: float) -> Event:
    event = Event("update", item.told, item.now)
    item.told, item.told_at = item.now, at
    return event


def _ended(told: EventObject, now: EventObject, frame_time: float) -> Event:
    """A clock that was set back meanwhile must not end anything before it began."""
    return Event("end", told, msgspec.structs.replace(now, end_time=round(max(frame_time, now.start_time), 3)))


def _rounded(box: Box) -> Box:
    return (round(box[0], 2), round(box[1], 2), round(box[2], 2), round(box[3], 2))


def _norm(box: Box, look: Look) -> Box:
    x1, y1, x2, y2 = box
    width, height = look.width, look.height
    return (round(x1 / width, 5), round(y1 / height, 5), round(x2 / width, 5), round(y2 / height, 5))
