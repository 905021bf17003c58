from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from camagent.config import Camera, Filter, Zone
from camagent.filters import FAINT_LIMIT, FilterRule, ZoneRule, apply, for_tracking, rule_for, unknown_labels
from camagent.frame import Candidates, Detections, InstanceMask, Letterbox, MaskParts, Sifted
from camagent.heads.instances import cut
from camagent.heads.nms import nms
from tests.heads.test_nms import crowd

SAME = Letterbox(100, 100, 100, 100, 1.0, 1.0, 0.0, 0.0)
SQUARE = ((0.4, 0.4), (0.8, 0.4), (0.8, 0.8), (0.4, 0.8))
LABELS, GROUPS = ("person", "car", "disposable box"), (None, None, "other waste")


def candidates(*boxes: tuple[float, float, float, float], ids: tuple[int, ...] = ()) -> Candidates:
    count = len(boxes)
    scores = np.linspace(0.9, 0.5, count).astype(np.float32)
    return Candidates(
        np.array(boxes, np.float32).reshape(-1, 4),
        scores,
        np.array(ids or (0,) * count, np.int64),
        seen=count + 5,
        score_max=0.9,
    )


def keep_all(found: Candidates, iou: float) -> NDArray[np.intp]:
    return np.arange(len(found.scores))


def objects(sifted: Sifted) -> Detections:
    assert isinstance(sifted.outcome, Detections)
    return sifted.outcome


def kept(found: Candidates, letterbox: Letterbox = SAME, **rule: Any) -> tuple[list[list[float]], Any]:
    sifted = apply(found, letterbox, FilterRule(0.4, 0.45, **rule), keep_all, cut)
    assert sifted.faint is None
    return objects(sifted).boxes.tolist(), sifted.counts


def test_every_filter_is_counted_in_order() -> None:
    found = candidates((0, 0, 50, 50), (0, 0, 50, 50), (0, 0, 5, 5), (50, 50, 60, 60), (0, 0, 20, 20), ids=(0, 1, 0, 0, 0))
    boxes, counts = kept(found, class_ids=frozenset({0}), min_area=100.0, zones=(ZoneRule("z", SQUARE, "center"),))
    assert boxes == [[50, 50, 60, 60]]
    stages = (
        counts.candidates,
        counts.scored,
        counts.kept_by_nms,
        counts.kept_by_label,
        counts.kept_by_area,
        counts.kept_by_zone,
    )
    assert stages == (10, 5, 5, 4, 3, 1)


@pytest.mark.parametrize(
    ("anchor", "box", "inside"),
    [
        ("bottom-center", (50, 10, 60, 50), True),
        ("bottom-center", (50, 50, 60, 90), False),
        ("top-center", (50, 50, 60, 90), True),
        ("center", (30, 30, 60, 60), True),
        ("center", (0, 0, 60, 60), False),
        ("bottom-center", (35, 10, 45, 40), True),  # on the corner: the edge belongs to the zone
        ("any", (0, 0, 41, 41), True),
        ("any", (0, 0, 39, 39), False),
        ("any", (50, 50, 51, 51), True),
        ("any", (0, 0, 100, 100), True),
        ("any", (0, 55, 100, 56), True),
    ],
)
def test_zone_anchors(anchor: Any, box: tuple[float, float, float, float], inside: bool) -> None:
    boxes, _ = kept(candidates(box), zones=(ZoneRule("z", SQUARE, anchor),))
    assert bool(boxes) is inside


def test_a_zone_is_a_share_of_whatever_picture_there_is() -> None:
    for side in (100, 200, 50):  # one polygon, streams of several sizes
        letterbox = Letterbox(side, side, side, side, 1.0, 1.0, 0.0, 0.0)
        inside, beside = (0.5 * side, 0.5 * side, 0.6 * side, 0.6 * side), (0.1 * side, 0.1 * side, 0.3 * side, 0.3 * side)
        assert kept(candidates(inside, beside), letterbox, zones=(ZoneRule("z", SQUARE, "center"),))[0] == [
            pytest.approx(inside)
        ]


def test_an_object_names_every_zone_it_is_in() -> None:
    whole = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    rule = FilterRule(0.4, 0.45, zones=(ZoneRule("all", whole, "center"), ZoneRule("gate", SQUARE, "center")))
    detections = objects(apply(candidates((50, 50, 60, 60), (0, 0, 10, 10)), SAME, rule, keep_all, cut))
    assert detections.zones == (("all", "gate"), ("all",))


def test_a_concave_zone_does_not_claim_its_notch() -> None:
    notched = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.1), (0.0, 1.0))
    boxes, _ = kept(candidates((45, 60, 55, 70)), zones=(ZoneRule("z", notched, "any"),))
    assert boxes == []


def test_boxes_are_cut_at_the_picture_and_what_lies_outside_goes() -> None:
    letterbox = Letterbox(200, 100, 100, 100, 0.5, 0.5, 0.0, 25.0)
    boxes, counts = kept(candidates((-10, 20, 50, 75), (0, 80, 10, 90)), letterbox)
    assert boxes == [[0, 0, 100, 100]]
    assert (counts.kept_by_label, counts.kept_by_area) == (2, 1)


def test_nothing_in_nothing_out() -> None:
    boxes, counts = kept(candidates(), zones=(ZoneRule("z", SQUARE, "any"),))
    assert boxes == []
    assert counts.kept_by_zone == 0


def test_a_camera_overrides_the_bundle_and_may_name_groups() -> None:
    camera = Camera(
        name="a", url="x", filter=Filter(labels=("car", "other waste"), min_area=3.0), zone=(Zone(name="z", polygon=SQUARE),)
    )
    rule = rule_for(camera, LABELS, GROUPS, 0.4, 0.45)
    assert rule.class_ids == frozenset({1, 2})
    assert (rule.min_score, rule.min_area, rule.zones[0].anchor) == (0.4, 3.0, "bottom-center")
    strict = Camera(name="a", url="x", filter=Filter(min_score=0.0))
    assert rule_for(strict, LABELS, GROUPS, 0.4, 0.45).min_score == 0.0
    assert rule_for(None, LABELS, GROUPS, 0.4, 0.45).class_ids is None


def test_labels_that_the_model_does_not_have_are_told() -> None:
    camera = Camera(name="a", url="x", filter=Filter(labels=("persn", "car", "other waste")))
    assert unknown_labels(camera, LABELS, GROUPS) == ["persn"]


def test_masks_are_cut_for_what_is_left_and_for_nothing_else() -> None:
    found = candidates((0, 0, 50, 50), (10, 10, 60, 60), (0, 0, 5, 5), (50, 50, 60, 60), ids=(0, 1, 0, 0))
    parts = MaskParts(np.zeros((2, 25, 25), np.float32), np.arange(8, dtype=np.float32).reshape(4, 2))
    asked: list[tuple[list[int], list[list[float]]]] = []

    def watched(given: MaskParts, rows: NDArray[np.intp], boxes: Any, letterbox: Letterbox) -> tuple[InstanceMask, ...]:
        assert given is parts
        asked.append((rows.tolist(), boxes.tolist()))
        return cut(given, rows, boxes, letterbox)

    rule = FilterRule(0.4, 0.45, class_ids=frozenset({0}), min_area=100)
    detections = objects(apply(replace(found, masks=parts), SAME, rule, keep_all, watched))
    assert asked == [([0, 3], [[0, 0, 50, 50], [50, 50, 60, 60]])]
    assert [(mask.left, mask.top, mask.width, mask.height) for mask in detections.masks] == [(0, 0, 50, 50), (50, 50, 10, 10)]
    assert not any(mask.grid.flags.writeable for mask in detections.masks)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32), count=st.integers(0, 80), min_score=st.sampled_from([0.05, 0.4, 0.9]),
    labels=st.sampled_from([None, frozenset({0, 2})]), with_masks=st.booleans(),
)  # fmt: skip
def test_what_is_published_and_counted_does_not_depend_on_what_is_fainter(
    *, seed: int, count: int, min_score: float, labels: frozenset[int] | None, with_masks: bool
) -> None:
    everything = crowd(seed, count, 6, 3)
    if with_masks:
        coefficients = np.random.default_rng(seed).normal(size=(count, 2)).astype(np.float32)
        everything = replace(everything, masks=MaskParts(np.ones((2, 8, 8), np.float32), coefficients))
    letterbox = Letterbox(640, 640, 640, 640, 1.0, 1.0, 0.0, 0.0)
    rule = FilterRule(min_score, 0.5, labels, 50.0, (ZoneRule("z", ((0.1, 0.0), (1.0, 0.0), (1.0, 1.0)), "center"),))
    plain = apply(above(everything, rule.decode_score), letterbox, rule, nms, cut)
    tracking = for_tracking(rule)
    tracked = apply(above(everything, tracking.decode_score), letterbox, tracking, nms, cut)
    one, other = objects(plain), objects(tracked)
    assert plain.counts == tracked.counts
    for name in ("boxes", "scores", "class_ids"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert one.zones == other.zones
    assert [mask.grid.tolist() for mask in one.masks] == [mask.grid.tolist() for mask in other.masks]
    assert tracked.faint is not None
    assert not tracked.faint.masks
    assert np.all((tracked.faint.scores < min_score) & (tracked.faint.scores >= min_score / 2))
    assert labels is None or set(tracked.faint.class_ids.tolist()) <= labels
    assert len(tracked.faint.zones) == len(tracked.faint)


def above(found: Candidates, least: float) -> Candidates:
    """As a head gives them that was asked for this threshold."""
    rows = np.flatnonzero(found.scores >= least)
    masks = found.masks and replace(found.masks, coefficients=found.masks.coefficients[rows])
    return replace(found, boxes=found.boxes[rows], scores=found.scores[rows], class_ids=found.class_ids[rows], masks=masks)


def test_a_better_box_suppresses_a_faint_one_and_never_the_other_way_round() -> None:
    boxes = np.array([[0, 0, 50, 50], [1, 0, 51, 50], [60, 60, 90, 90]], np.float32)
    found = Candidates(boxes, np.array([0.3, 0.5, 0.3], np.float32), np.zeros(3, np.int64), seen=3, score_max=0.5)
    sifted = apply(found, SAME, for_tracking(FilterRule(0.4, 0.45)), nms, cut)
    assert objects(sifted).boxes.tolist() == [[1, 0, 51, 50]]
    assert sifted.faint is not None
    assert sifted.faint.boxes.tolist() == [[60, 60, 90, 90]]
    assert (sifted.counts.scored, sifted.counts.kept_by_nms, sifted.counts.kept_by_zone) == (1, 1, 1)


def test_a_grid_that_lies_above_the_floor_as_a_whole_is_bounded() -> None:
    count = FAINT_LIMIT + 50
    left = np.arange(count, dtype=np.float32) * 10
    boxes = np.stack([left, left * 0, left + 8, left * 0 + 8], axis=1)
    scores = np.linspace(0.2, 0.39, count).astype(np.float32)
    scores[0] = 0.8
    found = Candidates(boxes, scores, np.zeros(count, np.int64), seen=count, score_max=0.8)
    wide = Letterbox(5000, 100, 5000, 100, 1.0, 1.0, 0.0, 0.0)
    sifted = apply(found, wide, for_tracking(FilterRule(0.4, 0.45)), nms, cut)
    assert objects(sifted).boxes.tolist() == [[0, 0, 8, 8]]
    assert sifted.faint is not None
    assert len(sifted.faint) == FAINT_LIMIT
    assert float(sifted.faint.scores.min()) == float(np.sort(scores[1:])[-FAINT_LIMIT])
