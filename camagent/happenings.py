"""What one camera tells of its objects over time: events, counts, and pictures of them. Owned by the camera's worker.

tracker -> events.py    when something is worth telling  -> <camera>/events
-> counts.py    how many are there               -> <camera>/count/.., <camera>/zone/..
-> best_picture.py  which frame shows one best   -> <camera>/snapshot
"""

from __future__ import annotations

import logging
import secrets
import string
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from camagent.best_picture import BestPictures
from camagent.clock import Clock
from camagent.config import Camera
from camagent.counts import Counts, places
from camagent.events import Event, Events, Look, end_of
from camagent.frame import Frame, Result, Track, Tracks
from camagent.health import CameraCounters
from camagent.messages import Message, Topics, count_message, event_message, slugs
from camagent.model_holder import Loaded
from camagent.open_events import OpenEvents, left_behind
from camagent.sinks import Mark, snapshot

log = logging.getLogger("camagent")

SNAPSHOT_KEPT_S = 3600.0
REMEMBERED_S = 4.0  # without a frame: a little longer than the tracker waits for an object that its frames do not show
_REMEMBERED_FRAMES = 4.0  # where they come more slowly
_SLOWEST_S = 60.0  # between two frames; a longer pause is none
_LETTERS = string.ascii_lowercase + string.digits


class Follower(Protocol):
    """Tells what is one thing over several frames; see track.Tracker."""

    def follow(self, result: Result, *, sure: float) -> Result:
        """The result with its tracks; as it is where it has no boxes. `sure`: a score that false alarms hardly have."""
        ...

    def flush(self) -> Sequence[int]:
        """Gives everything up: ids of certain objects that end now."""
        ...


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where it goes, and what is needed for that."""

    topics: Topics
    clock: Clock
    send: Callable[[Message], None]
    run_dir: Path
    keep: Callable[[str, Collection[str]], None]  # these are the camera's kept topics; others of it are cleared
    describe_end: Callable[[str, Sequence[int]], None]  # to those who speak ONVIF: these objects of the camera are gone


@dataclass(frozen=True, slots=True)
class Known:
    """What a model with this camera's filter can find."""

    labels: Sequence[str]  # by class id
    wanted: Collection[int] | None  # class ids that the filter lets through; None: all
    gives_boxes: bool = True
    sure: float = 1.0  # a score that false alarms hardly have


def new_id(frame_time: float) -> str:
    """An event's id, as Frigate makes them: seconds since 1970, and six characters that nobody else draws."""
    return f"{frame_time:.6f}-{''.join(secrets.choice(_LETTERS) for _ in range(6))}"


class Happenings:
    """`tell_anew` and `leave` may be called from any thread; everything else belongs to the worker."""

    def __init__(self, camera: Camera, tracker: Follower, outlet: Outlet, counters: CameraCounters) -> None:
        """Tells nothing yet."""
        self._camera, self._tracker, self._outlet, self._counters = camera, tracker, outlet, counters
        self._watched: Loaded | None = None  # the model whose objects are followed
        self._events = Events(new_id)
        self._pictures = BestPictures()
        self._open = OpenEvents(outlet.run_dir, camera.name)
        self._counts = Counts(())
        self._anew = threading.Event()
        self._seen_at = outlet.clock.monotonic()
        self._every_s = 1 / camera.fps  # between two frames that a model has seen
        self._sure = 1.0
        self._began = False  # a first word was said of what is kept
        self._picture_expires: float | None = None  # monotonic; of the one that the broker keeps
        self._lock = threading.Lock()
        self._left = False  # another one tells of this camera

    def attend(self, loaded: Loaded | None) -> None:
        """Between two frames: the model that looks now. Nothing happens while it is the one that looked before."""
        if loaded is self._watched and (loaded is not None or self._began):
            return
        self._watched = loaded
        if loaded is None:
            self.follow(None)
        else:
            boxes, rule = loaded.steps.manifest.task.startswith("detect"), loaded.steps.rule
            self.follow(Known(loaded.author.labels, rule.class_ids, gives_boxes=boxes, sure=rule.sure_score))

    def follow(self, known: Known | None) -> None:
        """Another model looks from now on, or none: what the one before saw has ended, and its labels may be gone."""
        with self._lock:
            if not self._left:
                self._follow(known)

    def _follow(self, known: Known | None) -> None:
        self._end_all()
        if known is None and self._began:
            return  # none for a while: the counts stand at 0
        first, self._began = not self._began, True
        self._sure = 1.0 if known is None else known.sure
        found = (
            places(known.labels, slugs(known.labels), known.wanted, [zone.name for zone in self._camera.zone])
            if known is not None and known.gives_boxes
            else ()
        )
        topics = {self._topic(*place.words) for place in found}
        if self._camera.snapshots and self._camera.retain_snapshots:
            if first:  # the picture of an earlier configuration may show what a mask hides now, and nobody counts its hour
                self._outlet.keep(self._camera.name, topics)
            topics = {*topics, self._topic("snapshot")}
        self._outlet.keep(self._camera.name, topics)
        self._counts = Counts(found)
        self._count()

    def track(self, result: Result) -> Result:
        """The result with its tracks; as it is where the model finds no boxes."""
        with self._lock:
            result = self._tracker.follow(result, sure=self._sure)
        if result.tracks is not None:
            self._counters.tracked(len(result.tracks.found))
        return result

    def see(self, result: Result, labels: Sequence[str]) -> None:
        """What one frame has changed, and what of it is worth telling."""
        with self._lock:
            if not self._left:
                self._see(result, labels)

    def _see(self, result: Result, labels: Sequence[str]) -> None:
        frame, tracks, now = result.frame, result.tracks, self._outlet.clock.monotonic()
        self._every_s, self._seen_at = max(1 / self._camera.fps, min(now - self._seen_at, _SLOWEST_S)), now
        if tracks is None:
            return
        pictured = self._picture(frame, tracks, labels)
        look = Look(frame.arrived, frame.frame_time, frame.width, frame.height, labels)
        before = self._events.told
        told = self._events.see(tracks, look, () if pictured is None else (pictured.id,))
        self._pictures.forget(tracks.ended)
        fresh = [event.after for event in told if event.type == "new"]
        if fresh:  # known to the next life before anybody hears of them
            self._open.keep([*before, *fresh])
        self._tell(told)

    def end_all(self) -> None:
        """Nobody looks, or nothing comes to look at: every event has its end, every count is 0."""
        with self._lock:
            if not self._left:
                self._end_all()

    def leave(self, patience_s: float) -> None:
        """Any thread: the worker has not come back, and another one may tell of this camera from now on. Everything ends here.

        A worker that hangs in telling, for want of a disk, is waited for that long; its last word then stays unsaid.
        """
        free = self._lock.acquire(timeout=patience_s)
        try:
            if free and not self._left:
                self._end_all()
            self._left = True
        finally:
            if free:
                self._lock.release()

    def _end_all(self) -> None:
        self._outlet.describe_end(self._camera.name, self._tracker.flush())
        self._tell(self._events.end_all(self._outlet.clock.wall()))
        self._pictures.clear()

    def turn(self, *, looking: bool) -> None:
        """Often, also while no frame comes: what is due by time alone. `looking`: detection is on."""
        with self._lock:
            if not self._left:
                self._turn(looking=looking)

    def _turn(self, *, looking: bool) -> None:
        patience_s = max(REMEMBERED_S, _REMEMBERED_FRAMES * self._every_s)
        if self._events and (not looking or self._outlet.clock.monotonic() - self._seen_at > patience_s):
            self._end_all()
        if self._anew.is_set():
            self._anew.clear()
            self._counts.forget()
            self._count()
        expires = self._picture_expires
        if expires is not None and self._outlet.clock.monotonic() >= expires:  # MQTT 3.1.1 has no expiry of its own
            self._picture_expires = None
            self._outlet.send(Message(self._topic("snapshot"), b"", 1, retain=True))

    def tell_anew(self) -> None:
        """Any thread: a new client knows no retained state."""
        self._anew.set()

    @property
    def open(self) -> int:
        """How many events have begun and not ended."""
        return len(self._events)

    def _tell(self, events: Sequence[Event]) -> None:
        if events:
            now = self._outlet.clock.wall()
            for event in events:
                self._counters.published(answered=True)
                self._outlet.send(_message(event, self._outlet.topics, self._camera.name, now))
            self._open.keep(self._events.told)
        self._count()

    def _count(self) -> None:
        outlet = self._outlet
        for place, number in self._counts.changed(self._events.present):
            made = count_message(
                place.words, place.label, place.zone, number,
                topics=outlet.topics, camera=self._camera.name, now=outlet.clock.wall(),
            )  # fmt: skip
            outlet.send(made)

    def _picture(self, frame: Frame, tracks: Tracks, labels: Sequence[str]) -> Track | None:
        """The object whose picture this frame has become, and is on its way."""
        if not self._camera.snapshots:
            return None
        now = self._outlet.clock.monotonic()
        best = self._pictures.pick(tracks.found, frame.width, frame.height, now)
        if best is None:
            return None
        mark = Mark(best.box, f"{labels[best.class_id]} {best.score:.2f}", best.class_id)
        try:
            jpeg = snapshot(frame, mark)
        except (OSError, ValueError) as exc:  # what FFmpeg cannot encode: the events are told without a picture
            errors = self._counters.errors
            if not errors["SNAPSHOT_FAILED"]:
                log.error("%s: no snapshot can be made: %s", self._camera.name, exc)  # noqa: TRY400  a sentence
            errors["SNAPSHOT_FAILED"] += 1
            self._pictures.failed(now)
            return None
        self._pictures.took(best, frame.width, frame.height, now)
        keeps = self._camera.retain_snapshots
        self._picture_expires = now + SNAPSHOT_KEPT_S if keeps else None
        self._outlet.send(Message(self._topic("snapshot"), jpeg, 0, retain=keeps, camera="", expires_at=self._picture_expires))
        return best

    def _topic(self, *words: str) -> str:
        return self._outlet.topics.of_camera(self._camera.name, *words)


def ends_of_the_last_life(run_dir: Path, topics: Topics, now: float) -> Iterator[Message]:
    """An agent that was killed could not end its events: its next life does, with what was told of them last."""
    for camera, objects in left_behind(run_dir):
        for left in objects:
            yield replace(_message(end_of(left), topics, camera, now), camera="")  # nobody's counters hear of it


def _message(event: Event, topics: Topics, camera: str, now: float) -> Message:
    return event_message(event.type, event.before, event.after, topics=topics, camera=camera, now=now)
