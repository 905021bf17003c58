"""A detector that is made up: it knows what is there and sees it as detectors do, with noise, misses and false alarms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from camagent.filters import FAINT_SHARE
from camagent.frame import Detections
from tests.tracking.world import HEIGHT, WIDTH, Array, Truth

MIN_SCORE = 0.4


@dataclass(frozen=True, slots=True)
class Habits:
    """How well it sees."""

    noise: float = 0.03  # standard deviation of each edge, shares of the box's side
    misses: float = 0.06  # of things in full view: nothing at all, however faint
    unsure: float = 0.1  # standard deviation of scores
    alarms: float = 0.15  # false ones per frame, with scores of MIN_SCORE and a little more
    faint_alarms: float = 1.5  # per frame, below it
    mixes: float = 0.0  # share of frames in which a class 0 is taken for a 1


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """One frame: when, what is there, what is seen of it."""

    at: float  # seconds
    truth: Truth
    found: Detections  # at MIN_SCORE or above
    faint: Detections


def watch(moments: Iterable[tuple[float, Truth]], habits: Habits, seed: int) -> Iterator[Sighting]:
    """What the detector makes of each moment (seconds, what is there)."""
    rng = np.random.default_rng([40, seed])
    for at, truth in moments:
        boxes, scores, class_ids = _seen(truth, habits, rng)
        order = np.argsort(-scores, kind="stable")
        everything = Detections(boxes[order].astype(np.float32), scores[order].astype(np.float32), class_ids[order])
        yield Sighting(at, truth, between(everything, MIN_SCORE, 1.01), between(everything, MIN_SCORE * FAINT_SHARE, MIN_SCORE))


def between(found: Detections, least: float, below: float) -> Detections:
    """Those whose scores lie in this range."""
    rows = np.flatnonzero((found.scores >= least) & (found.scores < below))
    return Detections(found.boxes[rows], found.scores[rows], found.class_ids[rows])


def _seen(truth: Truth, habits: Habits, rng: np.random.Generator) -> tuple[Array, Array, np.ndarray]:
    """What is hidden by half scores half as high and is missed more often."""
    count = len(truth.ids)
    boxes, alarm_scores = _alarms(habits, rng)
    scores = truth.scores * (0.25 + 0.75 * truth.visible) + rng.normal(0, habits.unsure, count)
    there = rng.random(count) >= habits.misses / np.maximum(truth.visible, 0.3)
    sides = np.tile(truth.boxes[:, 2:] - truth.boxes[:, :2], 2)
    edges = truth.boxes + rng.normal(0, habits.noise, (count, 4)) * sides / np.sqrt(np.maximum(truth.visible, 0.3))[:, None]
    edges = np.clip(edges, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
    mixed = (rng.random(count) < habits.mixes) & (truth.class_ids == 0)
    class_ids = np.where(mixed, 1, truth.class_ids)
    solid = there & ((edges[:, 2:] - edges[:, :2]) > 1).all(axis=1)
    return (
        np.concatenate([edges[solid], boxes]),
        np.clip(np.concatenate([scores[solid], alarm_scores]), 0.01, 0.99),
        np.concatenate([class_ids[solid], rng.integers(0, 2, len(boxes))]).astype(np.int64),
    )


def _alarms(habits: Habits, rng: np.random.Generator) -> tuple[Array, Array]:
    loud, faint = int(rng.poisson(habits.alarms)), int(rng.poisson(habits.faint_alarms))
    count = loud + faint
    size = np.stack([rng.uniform(30, 120, count), rng.uniform(60, 260, count)], axis=1)
    low = rng.random((count, 2)) * ([WIDTH, HEIGHT] - size)
    scores = np.concatenate([rng.uniform(MIN_SCORE, MIN_SCORE + 0.2, loud), rng.uniform(0.1, MIN_SCORE, faint)])
    return np.concatenate([low, low + size], axis=1), scores
