"""The two real clips, of which only what can be counted is compared: who passes, and from which frame to which.

Counted by eye, frame by frame at each coming and going. The first frame is number 0.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

from camagent.cli.tool_bundle import load_bundle
from camagent.frame import detections_of
from camagent.pipeline import BackendOptions, FilterRule, Steps, Tracker, for_tracking, named_frames
from tests.support.agent import FASTESTDET, make_bundle
from tests.support.data import shared
from tests.tracking.detector import Sighting
from tests.tracking.scoring import per_frame
from tests.tracking.world import truth_at

# any part of a person in the picture; one at a time, nobody in between
PERSONS = ((60, 198), (227, 449), (502, 700), (746, 869), (922, 1200), (1234, 1358))
CARS = ((57, 106), (180, 237), (190, 237), (315, 348))
PERSON = 0
NOBODY = truth_at([], 0.0)
_ROOM = 12  # frames that a detector takes to see somebody whose head has just come into the picture


@dataclass(frozen=True, slots=True)
class Ids:
    """What was given over a clip."""

    spans: list[tuple[int, int]]  # per id of the tracker the first and the last frame that it was found in
    plain: int  # how many ids matching frame by frame gives


def ids_over(bundle: Path, clip: Path, every: int, classes: frozenset[int] | None) -> Ids:
    """Of every n-th frame, at the bundle's own threshold."""
    made = load_bundle(bundle, (), None)
    thresholds = made.manifest.thresholds
    steps = Steps(made, for_tracking(FilterRule(thresholds.min_score, thresholds.nms_iou, classes)), BackendOptions())
    tracker, plain = Tracker(), per_frame()
    given: set[int] = set()
    frames: dict[int, list[int]] = defaultdict(list)
    try:
        for number, (_, frame) in enumerate(islice(named_frames(str(clip)), 0, None, every)):
            result = tracker.follow(steps.run(frame), at=frame.pts, sure=steps.rule.sure_score)
            found = detections_of(result.outcome)
            assert found is not None
            assert result.tracks is not None
            given |= set(plain(Sighting(frame.pts or 0.0, NOBODY, found, found)).ids)
            for track in result.tracks.found:
                frames[track.id].append(number * every)
    finally:
        steps.close()
    return Ids(sorted((min(numbers), max(numbers)) for numbers in frames.values()), len(given))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"), options=FASTESTDET)


@pytest.mark.parametrize("every", [10, 5, pytest.param(1, marks=pytest.mark.full(seconds=60))])
def test_six_persons_pass_and_six_ids_are_given(bundle: Path, every: int) -> None:
    """At 1, 2 and 10 frames a second."""
    ids = ids_over(bundle, shared("video/one-by-one-person-detection.mp4"), every, frozenset({PERSON}))
    assert len(ids.spans) == len(PERSONS)
    assert ids.plain >= len(PERSONS)
    for (first, last), (comes, goes) in zip(ids.spans, PERSONS, strict=True):
        assert comes <= first <= comes + _ROOM + 2 * every
        assert goes - _ROOM - every <= last <= goes


def test_four_cars_pass_and_each_id_is_one_of_them(bundle: Path) -> None:
    """The model takes cars from above for cell phones and bottles; one is two boxes of two classes for a while."""
    ids = ids_over(bundle, shared("video/car-detection.mp4"), 1, None)
    assert len(CARS) <= len(ids.spans) <= len(CARS) + 1
    assert ids.plain > len(ids.spans)
    for first, last in ids.spans:
        assert any(comes <= first and last <= goes + 1 for comes, goes in CARS)
    for comes, goes in CARS:
        assert any(comes <= first and last <= goes + 1 for first, last in ids.spans)
