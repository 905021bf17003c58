"""Scenes with exact identities, from seeds: crossings, occlusions, exits, stops, slow and hurried cameras."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.tracking.detector import Habits, Sighting, watch
from tests.tracking.world import HEIGHT, WIDTH, Actor, Place, along, straight, truth_at

Rng = np.random.Generator
PERSON: Place = (70.0, 200.0)
CAR: Place = (210.0, 120.0)


@dataclass(frozen=True, slots=True)
class Scene:
    """Who moves how, and what kind of camera looks."""

    name: str
    cast: Callable[[Rng], Sequence[Actor]]
    fps: float
    seconds: float = 20.0
    habits: Habits = field(default_factory=Habits)
    dropped: float = 0.0  # share of frames that nobody infers

    def play(self, seed: int) -> Iterator[Sighting]:
        """The frames that are inferred."""
        rng = np.random.default_rng([41, seed])
        actors = self.cast(rng)
        times = [index / self.fps for index in range(round(self.seconds * self.fps))]
        times = [at for at in times if rng.random() >= self.dropped]
        return watch(((at, truth_at(actors, at)) for at in times), self.habits, seed)


def walkers(rng: Rng, count: int, seconds: float = 20.0) -> list[Actor]:
    """People who walk from one side to the other at heights of their own."""
    made = []
    for _ in range(count):
        begins = float(rng.uniform(0, seconds * 0.6))
        right = bool(rng.random() < 0.5)
        speed = float(rng.uniform(90, 180)) * (1 if right else -1)
        foot = float(rng.uniform(330, HEIGHT - 10))
        tall = 120 + (foot - 330) / 390 * 180
        start = (-35.0 if right else WIDTH + 35.0, foot)
        path = straight(start, (speed, float(rng.uniform(-6, 6))), begins)
        made.append(Actor(path, (tall * 0.36, tall), begins=begins, score=float(rng.uniform(0.65, 0.85))))
    return made


def crossing(rng: Rng) -> list[Actor]:
    """Pairs who pass one another in the middle of the picture."""
    made = []
    for pair in range(3):
        begins, foot, speed = 5.0 * pair, float(rng.uniform(500, 600)), float(rng.uniform(150, 200))
        for index, (start, sign) in enumerate(((-30.0, 1), (WIDTH + 30.0, -1))):
            path = straight((start, foot + 12 * index), (sign * speed, 0.0), begins)
            made.append(Actor(path, PERSON, begins=begins))
    return made


def crowd(rng: Rng) -> list[Actor]:
    return walkers(rng, 14)


def pillars(rng: Rng) -> list[Actor]:
    """Everybody walks behind two pillars."""
    hidden = [Actor(straight((x, HEIGHT - 1), (0.0, 0.0)), (150.0, HEIGHT - 2), scenery=True) for x in (430.0, 900.0)]
    return [*walkers(rng, 6), *hidden]


def stops(rng: Rng) -> list[Actor]:
    """They come, stand for a while, and go back or on."""
    made = []
    for index in range(5):
        begins, stand = 1.5 * index, float(rng.uniform(4, 8))
        at, foot = float(rng.uniform(250, 1000)), 420.0 + 60 * index
        reach = begins + at / 160
        leave = WIDTH + 60 if rng.random() < 0.5 else -60.0
        gone = reach + stand + abs(leave - at) / 160
        path = along([(begins, -40, foot), (reach, at, foot), (reach + stand, at, foot), (gone, leave, foot)])
        made.append(Actor(path, PERSON, begins=begins, ends=gone))
    return made


def door(rng: Rng) -> list[Actor]:
    """One leaves at a door, and a second later another enters there."""
    made = []
    for index in range(6):
        begins, foot = 3.2 * index, float(rng.uniform(480, 520))
        if index % 2:
            path = along([(begins, WIDTH + 30, foot), (begins + 5, 300, foot - 60), (begins + 9, -60, foot)])
        else:
            path = along([(begins, 500, foot + 150), (begins + 1.2, 700, foot + 60), (begins + 4.2, WIDTH + 40, foot)])
        made.append(Actor(path, PERSON, begins=begins, ends=begins + (9 if index % 2 else 4.2)))
    return made


def side_by_side(rng: Rng) -> list[Actor]:
    """Two and two who walk together, half behind one another."""
    made = []
    for pair in range(3):
        begins, foot, speed = 4.0 * pair, float(rng.uniform(450, 650)), float(rng.uniform(100, 150))
        for index in range(2):
            path = straight((-40.0 - 45 * index, foot - 14 * index), (speed, 0.0), begins)
            made.append(Actor(path, PERSON, begins=begins))
    return made


def hurry(rng: Rng) -> list[Actor]:
    """One after the other, through the picture in three to five seconds."""
    made = []
    for index in range(9):
        begins, speed = 6.5 * index + float(rng.uniform(0, 1)), WIDTH / float(rng.uniform(3, 5))
        sign = 1 if rng.random() < 0.5 else -1
        start = (-30.0 if sign > 0 else WIDTH + 30.0, float(rng.uniform(600, 700)))
        made.append(Actor(straight(start, (sign * speed, 0.0), begins), (170.0, 470.0), begins=begins))
    return made


def cars(rng: Rng) -> list[Actor]:
    """Two lanes of fast traffic."""
    made = []
    for index in range(12):
        lane = index % 2
        begins = float(index * 1.6 + rng.uniform(0, 0.6))
        speed = float(rng.uniform(420, 620)) * (1 if lane else -1)
        start = (-105.0 if lane else WIDTH + 105.0, 420.0 + 150 * lane)
        made.append(Actor(straight(start, (speed, 0.0), begins), CAR, 0, begins, score=0.8))
    return made


SCENES = (
    Scene("crossing, 10 fps", crossing, 10),
    Scene("crowd of 14, 15 fps", crowd, 15),
    Scene("behind pillars, 12 fps", pillars, 12),
    Scene("stops and goes, 5 fps", stops, 5),
    Scene("out and in at a door, 8 fps", door, 8),
    Scene("two by two, 10 fps", side_by_side, 10),
    Scene("fast cars, 25 fps, a third dropped", cars, 25, dropped=0.33),
    Scene("cars taken for trucks, 12 fps", cars, 12, habits=Habits(mixes=0.4)),
    Scene("many false alarms, 10 fps", lambda rng: walkers(rng, 6), 10, habits=Habits(alarms=1.0, faint_alarms=5.0)),
    Scene("hardly above the threshold, 6 fps", lambda rng: walkers(rng, 6), 6, habits=Habits(misses=0.2, unsure=0.16)),
    Scene("coarse boxes, 10 fps", crowd, 10, habits=Habits(noise=0.07)),
    Scene("slow camera, 2 fps", lambda rng: walkers(rng, 6, 40.0), 2, seconds=40),
    Scene("people in a hurry, 1 fps", hurry, 1, seconds=60),
    Scene("slow and dropping, 3 fps", crowd, 3, seconds=30, dropped=0.25),
)
