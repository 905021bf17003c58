"""The two real clips, of which only what can be counted is compared: who passes, and from which frame to which.

Counted by eye, frame by frame at each coming and going. The first frame is number 0.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from pathlib import Path

import pytest

from camagent.cli.tool_bundle import load_bundle
from camagent.pipeline import BackendOptions, FilterRule, Steps, Tracker, for_tracking, named_frames
from tests.support.agent import FASTESTDET, make_bundle
from tests.support.data import shared

# any part of a person in the picture; one at a time, nobody in between
PERSONS = ((60, 198), (227, 449), (502, 700), (746, 869), (922, 1200), (1234, 1358))
CARS = ((57, 106), (180, 237), (190, 237), (315, 348))
PERSON = 0
_ROOM = 12  # frames that a detector takes to see somebody whose head has just come into the picture


def spans(bundle: Path, clip: Path, every: int, classes: frozenset[int] | None) -> dict[int, tuple[int, int]]:
    """Ids that the tracker gave, each with the first and the last frame that it was found in."""
    made = load_bundle(bundle, (), None)
    thresholds = made.manifest.thresholds
    steps = Steps(made, for_tracking(FilterRule(thresholds.min_score, thresholds.nms_iou, classes)), BackendOptions())
    tracker = Tracker()
    frames: dict[int, list[int]] = defaultdict(list)
    try:
        for number, (_, frame) in enumerate(islice(named_frames(str(clip)), 0, None, every)):
            tracks = tracker.follow(steps.run(frame), at=frame.pts, sure=steps.rule.sure_score).tracks
            assert tracks is not None
            for track in tracks.found:
                frames[track.id].append(number * every)
    finally:
        steps.close()
    return {one: (min(numbers), max(numbers)) for one, numbers in frames.items()}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"), options=FASTESTDET)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("every", [10, 5, pytest.param(1, marks=pytest.mark.full(seconds=60))])
def test_six_persons_pass_and_six_ids_are_given(bundle: Path, every: int) -> None:
    """At 1, 2 and 10 frames a second."""
    found = sorted(spans(bundle, shared("video/one-by-one-person-detection.mp4"), every, frozenset({PERSON})).values())
    assert len(found) == len(PERSONS)
    for (first, last), (comes, goes) in zip(found, PERSONS, strict=True):
        assert comes <= first <= comes + _ROOM + 2 * every
        assert goes - _ROOM - every <= last <= goes
