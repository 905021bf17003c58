"""Objects as a tracker tells of them, made by hand; a clock that is turned; and somebody who takes every message."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from camagent.config import Camera
from camagent.frame import Detections, Frame, Latency, Letterbox, Result, StageCounts, Track, Tracks
from camagent.happenings import Follower, Happenings, Known, Outlet
from camagent.health import CameraCounters
from camagent.kept_topics import KeptTopics
from camagent.messages import Message, Topics
from camagent.mqtt.sender import Answer

WIDTH, HEIGHT = 640, 360
LABELS = ("person", "car", "dog")
Body = dict[str, Any]


class TurnedClock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.offset = 1.8e9

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.offset + self.now


def track(
    number: int = 1, x: float = 100.0, *, score: float = 0.8, class_id: int = 0, zones: Sequence[str] = (), y: float = 100.0,
    size: tuple[float, float] = (40.0, 80.0),
) -> Track:  # fmt: skip
    return Track(number, class_id, score, (x, y, x + size[0], y + size[1]), tuple(zones), 0)


def seen(*tracks: Track, missed: Sequence[int] = (), ended: Sequence[int] = ()) -> Tracks:
    return Tracks(tracks, tuple(missed), tuple(ended))


class Memory:
    """What outlives an agent."""

    def __init__(self) -> None:
        self.kept_topics: dict[str, list[str]] = {}
        self.writes = 0

    def remember_topics(self, kept: dict[str, list[str]]) -> None:
        self.kept_topics, self.writes = kept, self.writes + 1


class Script:
    """A tracker that only counts how often it was told to give up, and says what it knew then."""

    def __init__(self) -> None:
        self.flushed = 0
        self.knows: tuple[int, ...] = ()

    def follow(self, result: Result, *, sure: float) -> Result:
        raise AssertionError("its tracks come by hand")

    def flush(self) -> tuple[int, ...]:
        self.flushed += 1
        given_up, self.knows = self.knows, ()
        return given_up


class Scene:
    """A camera's happenings with everything around them in this process."""

    def __init__(
        self, run_dir: Path, clock: TurnedClock | None = None, memory: Memory | None = None, tracker: Follower | None = None,
        **keys: Any,
    ) -> None:  # fmt: skip
        self.clock = clock or TurnedClock()
        self.sent: list[Message] = []
        self.retained: dict[str, bytes] = {}
        self.tracker = tracker or Script()
        self.picture = PICTURE
        topics = Topics("p", "cam-01")
        self.kept = KeptTopics(memory or Memory(), topics, self._take, self.clock.monotonic)
        camera = Camera(name="front", url="rtsp://127.0.0.1/x", **keys)
        self.described_ends: list[tuple[str, tuple[int, ...]]] = []
        outlet = Outlet(topics, self.clock, self._take, run_dir, self.kept.keep, self._note_end)
        self.counters = CameraCounters(self.clock.monotonic)
        self.happenings = Happenings(camera, self.tracker, outlet, self.counters)

    def look(self, *tracks: Track, missed: Sequence[int] = (), ended: Sequence[int] = (), after: float = 0.1) -> None:
        """A frame, `after` seconds later."""
        self.clock.now += after
        self.happenings.turn(looking=True)
        self.happenings.see(self.result(NOTHING, seen(*tracks, missed=missed, ended=ended)), LABELS)

    def frame(self) -> Frame:
        return Frame(self.picture, None, self.clock.wall(), "arrival", self.clock.now, 0.0)

    def result(self, found: Detections, tracks: Tracks | None = None) -> Result:
        return Result(self.frame(), found, StageCounts(), Latency(0, 0, 0, 0, 0), LETTERBOX, tracks=tracks)

    def events(self) -> list[Body]:
        return [json.loads(message.payload) for message in self.sent if message.topic == "p/cam-01/front/events"]

    def counts(self) -> dict[str, int]:
        """What stands at the broker, by topic below the camera."""
        prefix = "p/cam-01/front/"
        return {
            topic.removeprefix(prefix): json.loads(payload)["count"]
            for topic, payload in self.retained.items()
            if not topic.endswith("/snapshot")
        }

    def snapshots(self) -> list[Message]:
        return [message for message in self.sent if message.topic == "p/cam-01/front/snapshot"]

    def clear(self) -> None:
        self.sent.clear()

    def taken(self, topic: str) -> Answer:
        """The broker's answer where it has taken everything."""
        return Answer("acknowledged", topic, self.clock.now)

    def _note_end(self, camera: str, ended: Sequence[int]) -> None:
        self.described_ends.append((camera, tuple(ended)))

    def _take(self, message: Message) -> None:
        self.sent.append(message)
        if message.retain and message.payload:
            self.retained[message.topic] = message.payload
        elif message.retain:
            self.retained.pop(message.topic, None)


NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
LETTERBOX = Letterbox(WIDTH, HEIGHT, WIDTH, HEIGHT, 1.0, 1.0, 0.0, 0.0)
KNOWN = Known(LABELS, None)
PICTURE = av.VideoFrame.from_ndarray(np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8), format="yuv420p")


def check(bodies: Sequence[Body], *, may_be_open: bool = False) -> dict[str, list[Body]]:
    """Every event begins once, chains, and ends once; gives the messages by id."""
    by_id: dict[str, list[Body]] = defaultdict(list)
    for body in bodies:
        assert body["before"]["id"] == body["after"]["id"]
        by_id[body["after"]["id"]].append(body)
    for story in by_id.values():
        kinds = [body["type"] for body in story]
        assert kinds[0] == "new", kinds
        assert "new" not in kinds[1:], kinds
        assert kinds[-1] == "end" or may_be_open, kinds
        assert "end" not in kinds[:-1], kinds
        for earlier, later in itertools.pairwise(story):
            assert later["before"] == earlier["after"]
        for body in story:
            after = body["after"]
            assert (after["end_time"] is None) == (body["type"] != "end")
            assert body["before"]["end_time"] is None
            assert after["top_score"] >= after["score"]
            assert set(after["current_zones"]) <= set(after["entered_zones"])
            assert after["end_time"] is None or after["end_time"] >= after["start_time"]
    return by_id
