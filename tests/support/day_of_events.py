"""A camera's day, made up: who comes, who hides behind whom, what the detector misses; and what happens to the agent.

Detections go through the real tracker, its tracks through the real events, counts and files. The clock is this program's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from camagent.config import Zone
from camagent.frame import Detections
from camagent.happenings import Known, ends_of_the_last_life
from camagent.messages import Message, Topics
from camagent.track import Tracker
from tests.support.objects import HEIGHT, NOTHING, WIDTH, Body, Memory, Scene, TurnedClock

MODELS = (Known(("person", "car", "dog"), None), Known(("Car", "car", "bicycle", "person"), frozenset({0, 1, 3})))
GATE = Zone(name="gate", polygon=((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)))
ROOT = "p/cam-01/front/"


@dataclass(slots=True)
class Walker:
    """Something that comes, goes its way and leaves."""

    x: float
    y: float
    speed: float  # pixels a second
    width: float
    class_id: int
    leaves: float
    rests: tuple[float, float]  # from when to when it stays where it is
    hidden: tuple[float, float]

    def box(self) -> tuple[float, float, float, float]:
        return (self.x, self.y, self.x + self.width, self.y + 2 * self.width)


class Street:
    """What a detector with misses, noise and false alarms makes of it."""

    def __init__(self, seed: int, classes: int) -> None:
        self.random = Random(seed)
        self.classes = classes
        self.walkers: list[Walker] = []
        self.came = 0

    def step(self, now: float, passed: float) -> Detections:
        random = self.random
        if random.random() < passed / 12:
            self._come(now)
        self.walkers = [one for one in self.walkers if now < one.leaves and -one.width < one.x < WIDTH]
        boxes, scores, ids = [], [], []
        for one in self.walkers:
            if not one.rests[0] <= now < one.rests[1]:
                one.x += one.speed * passed
            if one.hidden[0] <= now < one.hidden[1] or random.random() < 0.05:
                continue
            boxes.append([value + random.gauss(0, 1.0) for value in one.box()])
            scores.append(min(0.99, max(0.3, random.gauss(0.75, 0.1))))
            ids.append(one.class_id if random.random() < 0.98 else random.randrange(self.classes))
        if random.random() < passed / 30:
            x, y = random.uniform(0, WIDTH - 30), random.uniform(0, HEIGHT - 40)
            boxes, scores, ids = [*boxes, [x, y, x + 25, y + 35]], [*scores, 0.45], [*ids, 0]
        return detections(boxes, scores, ids)

    def _come(self, now: float) -> None:
        random = self.random
        from_left = random.random() < 0.5
        rest, hide = now + random.uniform(1, 20), now + random.uniform(0, 20)
        self.came += 1
        self.walkers.append(Walker(
            x=0.0 if from_left else WIDTH - 40, y=random.uniform(20, HEIGHT - 120),
            speed=random.uniform(15, 80) * (1 if from_left else -1), width=random.uniform(20, 45),
            class_id=random.randrange(self.classes), leaves=now + random.uniform(2, 90),
            rests=(rest, rest + random.choice((0, 0, 3, 30))), hidden=(hide, hide + random.choice((0, 0, 0.5, 2, 6))),
        ))  # fmt: skip


def detections(boxes: list[list[float]], scores: list[float], ids: list[int]) -> Detections:
    if not boxes:
        return NOTHING
    order = np.argsort(-np.array(scores))
    cut = np.clip(np.array(boxes, np.float32), 0, [WIDTH, HEIGHT] * 2).astype(np.float32)[order]
    zones = tuple(("gate",) if box[0] + box[2] < WIDTH else () for box in cut)
    return Detections(cut, np.array(scores, np.float32)[order], np.array(ids, np.int64)[order], zones)


@dataclass(slots=True)
class Ledger:
    """Somebody who believes the messages: every event begins once, chains and ends once. Keeps what is open, and no more."""

    open: dict[str, Body] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    counts: dict[str, int] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        if message.topic == ROOT + "events":
            self._event(json.loads(message.payload))
        elif message.retain and message.payload and not message.topic.endswith("/snapshot"):
            self.counts[message.topic] = json.loads(message.payload)["count"]
        elif message.retain:
            self.counts.pop(message.topic, None)

    def _event(self, body: Body) -> None:
        kind, number = body["type"], body["after"]["id"]
        self.kinds[kind] += 1
        if kind == "new":
            assert number not in self.open, "an id is used twice"
        else:
            assert self.open.pop(number) == body["before"], "before is not what the last message said"
        if kind != "end":
            self.open[number] = body["after"]
        assert (body["after"]["end_time"] is None) == (kind != "end")


class Day:
    """The camera with its agent, and what befalls them."""

    def __init__(self, run_dir: Path, *, fps: float, seed: int, snapshots: bool = False) -> None:
        self.run_dir, self.fps, self.snapshots = run_dir, fps, snapshots
        self.clock, self.memory, self.ledger, self.random = TurnedClock(), Memory(), Ledger(), Random(seed)
        self.street = Street(seed + 1, 3)
        self.model = 0
        self.misfortunes = cycle(("off", "kill", "lost", "model", "glitch", "kill", "reload", "clock", "kill", "client"))
        self.befell: Counter[str] = Counter()
        self.file_bytes = 0
        self.scene = self._begin()

    def _begin(self) -> Scene:
        keys: dict[str, Any] = {"zone": (GATE,), "fps": self.fps, "snapshots": self.snapshots}
        scene = Scene(self.run_dir, self.clock, self.memory, Tracker(), **keys)
        scene.happenings.follow(MODELS[self.model])
        return scene

    def run(self, seconds: float) -> Iterator[float]:
        """Gives the time of day after every minute."""
        end, minute = self.clock.now + seconds, self.clock.now + 60
        while self.clock.now < end:
            self._frame()
            self._misfortune()
            if self.clock.now >= minute:
                minute += 60
                self.file_bytes = max(self.file_bytes, sum(path.stat().st_size for path in self.run_dir.iterdir()))
                yield self.clock.now

    def stop(self) -> None:
        """A clean end."""
        self.scene.happenings.end_all()
        self._deliver()

    def _deliver(self) -> None:
        for message in self.scene.sent:
            self.ledger.take(message)
        self.scene.clear()
        self.scene.kept.tick(self.scene.taken)

    def _frame(self) -> None:
        self.clock.now += 1 / self.fps
        found = self.street.step(self.clock.now, 1 / self.fps)
        happenings = self.scene.happenings
        happenings.turn(looking=True)
        happenings.see(happenings.track(self.scene.result(found)), MODELS[self.model].labels)
        self._deliver()

    def _misfortune(self) -> None:
        """About every two minutes the next of these."""
        if self.random.random() > 1 / (120 * self.fps):
            return
        what = next(self.misfortunes)
        self.befell[what] += 1
        getattr(self, f"_{what}")()
        self._deliver()

    def _idle(self, seconds: float, *, looking: bool) -> None:
        for _ in range(round(seconds * 2)):
            self.clock.now += 0.5
            self.scene.happenings.turn(looking=looking)
            self._deliver()

    def _off(self) -> None:
        self._idle(self.random.uniform(1, 60), looking=False)
        assert not self.ledger.open
        assert not any(self.ledger.counts.values())

    def _lost(self) -> None:
        self._idle(self.random.uniform(6, 60), looking=True)
        assert not self.ledger.open
        assert not any(self.ledger.counts.values())

    def _glitch(self) -> None:
        self._idle(self.random.uniform(0.5, 2), looking=True)

    def _model(self) -> None:
        self.model = 1 - self.model
        self.scene.happenings.follow(MODELS[self.model])
        self._deliver()
        assert not self.ledger.open

    def _kill(self) -> None:
        """What was sent was sent; nothing else is done."""
        self.clock.now += 2.0
        for message in ends_of_the_last_life(self.run_dir, Topics("p", "cam-01"), self.clock.wall()):
            self.ledger.take(message)
        assert not self.ledger.open
        self.scene = self._begin()

    def _reload(self) -> None:
        self.scene.happenings.end_all()
        self._deliver()
        assert not self.ledger.open
        self.scene = self._begin()

    def _clock(self) -> None:
        self.clock.offset += self.random.choice((-3600.0, -5.0, 5.0, 86400.0))

    def _client(self) -> None:
        self.ledger.counts.clear()
        self.scene.happenings.tell_anew()
        self.scene.happenings.turn(looking=True)


def held(thing: object, seen: set[int] | None = None) -> int:
    """How many items all containers below an object of ours hold together."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    if isinstance(thing, dict):
        return len(thing) + sum(held(value, seen) for value in thing.values())
    if isinstance(thing, (list, tuple, set, frozenset)):
        return len(thing) + sum(held(value, seen) for value in thing)
    if not type(thing).__module__.startswith("camagent."):
        return 0
    names = [
        *getattr(thing, "__dict__", {}),
        *(slot for kind in type(thing).__mro__ for slot in getattr(kind, "__slots__", ())),
    ]
    return sum(held(getattr(thing, name, None), seen) for name in names)
