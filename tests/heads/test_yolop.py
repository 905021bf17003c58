from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.frame import NO_LABEL, Candidates
from camagent.heads import Sighting, build_head
from camagent.heads.yolop import YoloP
from tests.heads import reference
from tests.heads.grids import CELLS, SIZE, STRANGE, Array
from tests.heads.reference import context

ROWS = 3 * CELLS


def outputs(seed: int, classes: int = 1, objects: int = 4, quiet: float = 0.3) -> list[Array]:
    """Rows as yolov5 has them, and the maps of drivable area and lane."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform(0, 1, (1, ROWS, 5 + classes)).astype(np.float32)
    rows[0, :, :4] *= [*SIZE, *SIZE]
    rows[0, :, 4] = rng.random(ROWS) ** 8 * quiet
    for _ in range(objects):
        row = rng.integers(ROWS)
        rows[0, row, 4], rows[0, row, 5 + rng.integers(classes)] = rng.uniform(0.4, 1), rng.uniform(0.8, 1)
    maps = [rng.choice([0.0, 0.25, 0.5, 0.9], (1, 2, SIZE[1], SIZE[0])).astype(np.float32) for _ in range(2)]
    return [rows, *maps]


def road(drive: NDArray[np.float32], lane: NDArray[np.float32], first: int) -> tuple[list[list[int]], float]:
    """Pixel by pixel: no label, drivable area or lane, and how sure the surest is."""
    ids, top = [], 0.0
    for row in range(drive.shape[2]):
        ids.append([NO_LABEL] * drive.shape[3])
        for column in range(drive.shape[3]):
            for label, planes in ((first, drive[0]), (first + 1, lane[0])):
                background, thing = float(planes[0, row, column]), float(planes[1, row, column])
                if thing > background:
                    ids[row][column] = label
                if not math.isnan(thing):
                    top = max(top, thing)
    return ids, top


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 3), objects=st.integers(0, 6), quiet=st.sampled_from([0.3, 0.009]),
    swapped=st.booleans(), min_score=st.sampled_from([0.0, 0.4, 0.65, 1.0]),
)  # fmt: skip
def test_agrees_with_the_loops(*, seed: int, classes: int, objects: int, quiet: float, swapped: bool, min_score: float) -> None:
    rows, drive, lane = outputs(seed, classes, objects, quiet)
    lane[0, 1, 0, 0] = np.nan
    given_outputs = [lane, drive, rows] if swapped else [rows, drive, lane]
    params = {"maps": "lane-drive"} if swapped else {}
    head = YoloP(context(*(o.shape for o in given_outputs), classes=classes + 2, size=SIZE, params=params))
    reference.check(head, given_outputs, reference.yolov5(rows), min_score)
    found = head.decode(given_outputs, min_score)
    assert isinstance(found, Sighting)
    ids, top = road(drive, lane, classes)
    assert found.areas.ids.tolist() == ids
    assert found.areas.score_max == pytest.approx(top)
    assert found.areas.background == NO_LABEL


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    head = YoloP(context(*(o.shape for o in outputs(1)), classes=3, size=SIZE))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in STRANGE:
            for index in range(3):
                changed = outputs(1)
                changed[index].reshape(-1)[::3] = value
                found = head.decode(changed, 0.1)
                assert isinstance(found, Sighting)
                assert 0 <= found.areas.score_max <= 1
        nothing = head.decode([np.full_like(output, np.nan) for output in outputs(1)], 0.0)
    assert isinstance(nothing, Sighting)
    assert (len(nothing.candidates.scores), nothing.areas.score_max) == (0, 0.0)
    assert (nothing.areas.ids == NO_LABEL).all()


def test_with_labels_for_the_boxes_alone_the_maps_are_left_alone() -> None:
    given_outputs = outputs(2, classes=2)
    head = YoloP(context(*(o.shape for o in given_outputs), classes=2, size=SIZE))
    assert isinstance(head.decode(given_outputs, 0.4), Candidates)
    reference.check(head, given_outputs, reference.yolov5(given_outputs[0]), 0.4)


MAP = (1, 2, 640, 640)


@pytest.mark.parametrize("side", [640, 160])
def test_the_published_shapes_fit(side: int) -> None:
    YoloP(context((1, 25200, 6), (1, 2, side, side), (1, 2, side, side), classes=3, size=(640, 640)))


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(1, 25200, 6)],
        [(1, 25200, 6), MAP],
        [(1, 25200, 6), MAP, (1, 3, 640, 640)],
        [(1, 25200, 6), MAP, (1, 2, 320, 320)],
        [(1, 25200, 6), (1, 2, 640, 320), (1, 2, 640, 320)],
        [(1, 25200, 5), MAP, MAP],
        [(1, 8400, 6), MAP, MAP],
        [(1, 25200, 6), MAP, MAP, MAP],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: list[tuple[int | None, ...]]) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        YoloP(context(*shapes, classes=3, size=(640, 640)))
    assert "two maps 1 x 2 x H x W" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


def test_labels_are_those_of_boxes_and_maps_together() -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        build_head("yolop", context((1, 25200, 6), MAP, MAP, classes=2, size=(640, 640)))
    assert (refusal.value.classes, refusal.value.evidence["labels"]) == (3, "2")
    assert "drivable area and lane" in refusal.value.evidence["classes in the model"]


@pytest.mark.parametrize(("key", "value"), [("boxes", "metres"), ("maps", "lane"), ("map", "lane-drive")])
def test_wrong_params_are_refused(key: str, value: str) -> None:
    with pytest.raises(HeadMismatch, match=key):
        YoloP(context((1, 25200, 6), MAP, MAP, classes=3, size=(640, 640), params={key: value}))
