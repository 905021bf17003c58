"""The drawn streets of recipes/od_seg as scenes whose identities are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from camagent.filters import FAINT_SHARE
from camagent.frame import Detections
from recipes.od_seg.classes import ROADS
from recipes.od_seg.measure import Model
from recipes.od_seg.scene import SIZE, Sample, moving_scene
from recipes.od_seg.seeds import SPLITS
from tests.tracking.detector import MIN_SCORE, Habits, Sighting, between, watch
from tests.tracking.world import WIDTH, Truth

DEMO_MODEL = Path(__file__).resolve().parents[2] / "camagent" / "demo" / "files" / "roads.onnx"
FPS = 10.0
SIGHT = 0.75  # what the made-up detector makes of everything that shows


def street(seed: int, frames: int, size: tuple[int, int]) -> Iterator[Sample]:
    """A street in motion, from seeds that no training uses."""
    return moving_scene(SPLITS["demo"] + seed, frames, FPS, size, light="day")


def truth_of(sample: Sample) -> Truth:
    """Boxes and who they are, in a picture of the made-up world's width."""
    assert sample.who is not None
    count = len(sample.boxes)
    boxes = sample.boxes.astype(np.float64) * (WIDTH / sample.size[0])
    return Truth(sample.who, boxes, sample.class_ids, np.ones(count), np.full(count, SIGHT))


def play(seed: int, frames: int, size: tuple[int, int]) -> Iterator[Sighting]:
    """What the made-up detector makes of a street."""
    moments = ((index / FPS, truth_of(sample)) for index, sample in enumerate(street(seed, frames, size)))
    return watch(moments, Habits(), seed)


def seen_by_the_demo(seed: int, frames: int) -> Iterator[Sighting]:
    """What the model that ships for `camagent demo` makes of a street, drawn in full size."""
    floor = MIN_SCORE * FAINT_SHARE
    model = Model(DEMO_MODEL.read_bytes(), ROADS, min_score=floor)
    try:
        for index, sample in enumerate(street(seed, frames, SIZE)):
            seen = model.look(sample.picture)
            found = Detections(seen.boxes, seen.scores, seen.class_ids)
            strong, faint = between(found, MIN_SCORE, 1.01), between(found, floor, MIN_SCORE)
            yield Sighting(index / FPS, truth_of(sample), strong, faint)
    finally:
        model.close()
