from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import HeadMismatch, LabelCountMismatch
from camagent.frame import NO_LABEL
from camagent.heads import Sighting, build_head
from camagent.heads.od_seg import OdSeg
from tests.heads import grids, reference
from tests.heads.grids import SIZE, STRANGE, Array
from tests.heads.reference import Cell, context, first_best, from_center

STRIDE = 16
GRID = (SIZE[1] // STRIDE, SIZE[0] // STRIDE)
FINE = (SIZE[1] // 4, SIZE[0] // 4)


def outputs(seed: int, classes: int, areas: int, slots: int, objects: int = 4) -> list[Array]:
    """Boxes 1 x slots (5 + classes) x H x W and masks 1 x areas x h x w, all 0..1."""
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(0, 1, (1, slots, 5 + classes, *GRID)).astype(np.float32)
    boxes[0, :, 4] = rng.random((slots, *GRID)) ** 8 * 0.3
    for _ in range(objects):
        slot, row, column = (int(rng.integers(side)) for side in (slots, *GRID))
        boxes[0, slot, 4, row, column] = rng.uniform(0.4, 1)
        boxes[0, slot, 5 + rng.integers(classes), row, column] = rng.uniform(0.8, 1)
    masks = rng.choice([0.0, 0.2, 0.5, 0.7, 0.9], (1, areas, *FINE)).astype(np.float32)
    return [boxes.reshape(1, -1, *GRID).clip(1e-6, 1 - 1e-6), masks.clip(1e-6, 1 - 1e-6)]


def cells(boxes: Array, classes: int) -> list[Cell]:
    made = []
    for slot in boxes[0].reshape(-1, 5 + classes, *GRID):
        for row, column in grids.places(GRID):
            x, y, width, height, objectness, *scores = (float(value) for value in slot[:, row, column])
            center_x, center_y = (2 * x - 0.5 + column) * STRIDE, (2 * y - 0.5 + row) * STRIDE
            best, class_id = first_best(scores)
            box = from_center(center_x, center_y, width**2 * SIZE[0], height**2 * SIZE[1])
            made.append(Cell(objectness * best, class_id, box))
    return made


def areas_of(masks: Array, first: int, threshold: float) -> tuple[list[list[int]], float]:
    """Pixel by pixel the highest area, the first of equals, where it is high enough."""
    ids = [[NO_LABEL] * masks.shape[3] for _ in range(masks.shape[2])]
    top = 0.0
    for row, column in grids.places(masks.shape[2:]):
        best = -math.inf
        for index in range(masks.shape[1]):
            value = float(masks[0, index, row, column])
            if value > best:
                best, ids[row][column] = value, first + index
        top = max(top, best)
        if best < threshold:
            ids[row][column] = NO_LABEL
    return ids, top


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), classes=st.integers(1, 4), areas=st.integers(1, 3), slots=st.integers(1, 3),
    objects=st.integers(0, 5), raw=st.booleans(), swapped=st.booleans(), threshold=st.sampled_from([0.3, 0.5, 0.8]),
    min_score=st.sampled_from([0.0, 0.4, 0.65, 1.0]),
)  # fmt: skip
def test_agrees_with_the_loops(
    *,
    seed: int,
    classes: int,
    areas: int,
    slots: int,
    objects: int,
    raw: bool,
    swapped: bool,
    threshold: float,
    min_score: float,
) -> None:
    boxes, masks = outputs(seed, classes, areas, slots, objects)
    given_outputs = [grids.logits(boxes), grids.logits(masks)] if raw else [boxes, masks]
    given_outputs = given_outputs[::-1] if swapped else given_outputs
    shapes = [output.shape for output in given_outputs]
    head = OdSeg(context(*shapes, classes=classes + areas, size=SIZE, params={"mask_score": threshold}))
    reference.check(head, given_outputs, cells(boxes, classes), min_score)
    found = head.decode(given_outputs, min_score)
    assert isinstance(found, Sighting)
    ids, top = areas_of(masks, classes, threshold)
    assert found.areas.ids.tolist() == ids
    assert found.areas.score_max == pytest.approx(top, abs=1e-5)
    assert found.areas.background == NO_LABEL


@pytest.mark.parametrize("part", ["boxes", "masks"])
def test_what_is_still_to_be_applied_may_be_said(part: str) -> None:
    boxes, masks = outputs(3, 2, 2, 1)
    raw = [grids.logits(boxes), masks] if part == "boxes" else [boxes, grids.logits(masks)]
    head = OdSeg(context(*(o.shape for o in raw), classes=4, size=SIZE, params={part: "sigmoid"}))
    reference.check(head, raw, cells(boxes, 2), 0.3)
    assert head.decode(raw, 0.3).areas.ids.tolist() == areas_of(masks, 2, 0.5)[0]


def test_values_that_no_healthy_model_gives_raise_no_warning() -> None:
    head = OdSeg(context(*(o.shape for o in outputs(1, 2, 2, 1)), classes=4, size=SIZE))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in STRANGE:
            for index in range(2):
                changed = outputs(1, 2, 2, 1)
                changed[index].reshape(-1)[::3] = value
                assert 0 <= head.decode(changed, 0.1).areas.score_max <= 1
        nothing = head.decode([np.full_like(output, np.nan) for output in outputs(1, 2, 2, 1)], 0.0)
    assert (len(nothing.candidates.scores), nothing.areas.score_max) == (0, 0.0)
    assert (nothing.areas.ids == NO_LABEL).all()


Shapes = Sequence[tuple[int | None, ...]]
BOXES, MASKS = (1, 11, 20, 32), (1, 2, 320, 512)


@pytest.mark.parametrize("shapes", [[BOXES, MASKS], [(1, 33, 40, 64), (1, 2, 80, 128)], [(None, 11, 10, 16), MASKS]])
def test_grids_of_a_512_x_320_input_fit(shapes: Shapes) -> None:
    OdSeg(context(*shapes, classes=8, size=(512, 320)))


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [BOXES],
        [BOXES, MASKS, MASKS],
        [MASKS, MASKS],
        [(1, 11, 21, 32), MASKS],
        [BOXES, (1, 2, 320, 320)],
        [BOXES, (1, 2, 10, 16)],
        [(1, 5, 20, 32), MASKS],
        [BOXES, (1, None, 320, 512)],
        [(1, 11, 20, 32), (1, 320, 512)],
    ],
)
def test_other_outputs_are_refused_with_both_sides(shapes: Shapes) -> None:
    with pytest.raises(HeadMismatch) as refusal:
        OdSeg(context(*shapes, classes=8, size=(512, 320)))
    assert "1 x A (5 + D) x H x W" in refusal.value.evidence["head wants"]
    assert refusal.value.evidence["model gives"].count("float32") == len(shapes)


@pytest.mark.parametrize("labels", [2, 5, 7, 9, 300])
def test_labels_are_those_of_boxes_and_areas_together(labels: int) -> None:
    with pytest.raises(LabelCountMismatch) as refusal:
        build_head("od-seg", context(BOXES, MASKS, classes=labels, size=(512, 320)))
    assert (refusal.value.classes, refusal.value.evidence["labels"]) == (8, str(labels))


@pytest.mark.parametrize(("key", "value"), [("boxes", "pixels"), ("masks", "softmax"), ("mask_score", 1.0), ("mask", "none")])
def test_wrong_params_are_refused(key: str, value: object) -> None:
    with pytest.raises(HeadMismatch, match=key):
        OdSeg(context(BOXES, MASKS, classes=8, size=(512, 320), params={key: value}))
