"""Boxes are where they were and their masks are gone: the branch of coefficients or prototypes has lost its numbers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from camagent.golden import expectations, recall
from camagent.pipeline import FilterRule
from camagent.selftest.examination import Examination
from camagent.selftest.naming import cause
from camagent.selftest.report import Cause
from firmware_pkg.manifest import Expectation

_MIN_IOU = 0.5
_LOST = 0.5  # share of the objects whose masks no longer fill their boxes as they did


def masks_lost(exam: Examination) -> Cause | None:
    """None where the boxes are not back either, or where nothing is known of the masks.

    Golden pictures whose objects were seen with masks are held against what the float model saw (golden.py says how closely).
    """
    manifest = exam.manifest
    rule = FilterRule(manifest.thresholds.min_score, manifest.thresholds.nms_iou)
    then: list[Expectation] = []
    now: list[Expectation] = []
    with_masks, boxes_alone = [], []
    for known in exam.known:
        wanted = [item for item in known.expect if item.box_norm is not None and item.share is not None]
        if not wanted:
            continue
        outcome = exam.read(manifest, exam.deployed(known), rule).outcome
        found = expectations(outcome, manifest.label_names, rule.min_score, known.frame)
        with_masks.append(recall(wanted, found, _MIN_IOU))
        boxes_alone.append(recall([_without_mask(item) for item in wanted], found, _MIN_IOU))
        then += wanted
        now += [item for item in found if item.box_norm is not None]
    if not then or sum(boxes_alone) <= 0 or sum(with_masks) > _LOST * sum(boxes_alone):
        return None
    evidence = {
        "objects whose boxes are back": f"{sum(boxes_alone) / len(boxes_alone):.0%}",
        "of these with their masks": f"{sum(with_masks) / sum(boxes_alone):.0%}",
        "masks fill of their boxes": f"{_fill(now):.0%}", "expected": f"{_fill(then):.0%}",
    }  # fmt: skip
    return cause("mask-branch-degraded", evidence, margin=1.0)


def _without_mask(item: Expectation) -> Expectation:
    made: Expectation = msgspec.structs.replace(item, share=None)
    return made


def _fill(items: Sequence[Expectation]) -> float:
    """Share of the boxes' area that masks cover."""
    boxes = [item.box_norm for item in items if item.box_norm is not None]
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in boxes)
    return sum(item.share or 0.0 for item in items) / area if area > 0 else 0.0
