"""MOTA and IDF1 of a tracker on scenes whose identities are known, and the plainest tracker there is beside it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camagent.filters import FilterRule
from camagent.frame import Tracks
from camagent.track import Tracker
from tests.tracking.boxes import overlap
from tests.tracking.detector import MIN_SCORE, Sighting
from tests.tracking.world import HEIGHT, WIDTH, Array

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    import motmetrics

_SAME = 0.5  # overlap with what is really there (Bernardin and Stiefelhagen, 2008; as in the MOT challenge)
_PLAIN = 0.3
SURE = FilterRule(MIN_SCORE, 0.5).sure_score


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """What a tracker says of one frame."""

    ids: Sequence[int]
    boxes: Array  # (n, 4)


Follow = Callable[[Sighting], Named]


@dataclass(frozen=True, slots=True)
class Score:
    """How well ids were kept. MOTA: Bernardin and Stiefelhagen, 2008; IDF1: Ristani et al., 2016."""

    mota: float
    idf1: float
    switches: int
    ids: int  # given to anything
    really: int  # identities that are there


def ours() -> Follow:
    """The tracker as the agent runs it."""
    tracker = Tracker()

    def follow(seen: Sighting) -> Named:
        tracks: Tracks = tracker.update(seen.found, seen.faint, seen.at, pts=seen.at, size=(WIDTH, HEIGHT), sure=SURE)
        return Named([track.id for track in tracks.found], np.array([track.box for track in tracks.found]).reshape(-1, 4))

    return follow


def per_frame() -> Follow:
    """Greedy matching with the frame before at IoU >= 0.3; an id is lost with the first miss."""
    before = Named([], np.zeros((0, 4)))
    given = 0

    def follow(seen: Sighting) -> Named:
        nonlocal before, given
        boxes = seen.found.boxes.astype(np.float64)
        ids = [0] * len(boxes)
        alike = overlap(boxes, before.boxes)
        for flat in np.argsort(-alike, axis=None, kind="stable"):
            row, old = divmod(int(flat), alike.shape[1])
            if alike[row, old] >= _PLAIN and not ids[row] and before.ids[old] not in ids:
                ids[row] = before.ids[old]
        for row, known in enumerate(ids):
            if not known:
                given += 1
                ids[row] = given
        before = Named(ids, boxes)
        return before

    return follow


def score(frames: Iterable[Sighting], follow: Follow) -> Score:
    """One run of a tracker over a scene."""
    accumulator: Any = motmetrics.MOTAccumulator(auto_id=True)
    ids: set[int] = set()
    real: set[int] = set()
    for seen in frames:
        named = follow(seen)
        alike = overlap(seen.truth.boxes, named.boxes)
        distances = np.where(alike >= _SAME, 1 - alike, np.nan)
        accumulator.update(seen.truth.ids.tolist(), list(named.ids), distances)
        ids |= set(named.ids)
        real |= set(seen.truth.ids.tolist())
    names = ["mota", "idf1", "num_switches"]
    row = motmetrics.metrics.create().compute(accumulator, metrics=names, name="all").loc["all"]
    return Score(float(row["mota"]), float(row["idf1"]), int(row["num_switches"]), len(ids), len(real))
