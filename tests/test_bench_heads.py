"""The benchmark of the heads: both ways find the same objects in every family. How long they take is nobody's business here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench import head_forms, head_plain, heads
from bench.head_forms import FORMS, MIN_SCORE, OBJECTS, PER_OBJECT, Form
from camagent.frame import Candidates
from camagent.heads import HEADS
from camagent.heads.nms import nms

GIVEN_ONCE = {"yolov7 end to end", "yolov10, yolo26 raw", "ssd"}  # suppression is in the graph


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_both_ways_find_the_objects_that_were_planted(form: Form) -> None:
    outputs = form.make(np.random.default_rng(5))
    found = form.build(outputs).decode(outputs, MIN_SCORE)
    assert isinstance(found, Candidates)
    assert len(found.scores) == OBJECTS * (1 if form.name in GIVEN_ONCE else PER_OBJECT)
    heads.require_same(form.name, found, form.plain(outputs, MIN_SCORE))


def test_every_family_of_detectors_without_masks_is_there() -> None:
    detectors = {name for name, (_, _, task) in HEADS.items() if task == "detect"}
    assert detectors <= {form.head for form in FORMS}


def test_a_wrong_decoder_is_not_measured() -> None:
    form = next(form for form in FORMS if form.name == "yolov5 raw")
    few = replace(form, plain=lambda outputs, score: head_plain.rows_with_objectness(outputs, score + 0.3))
    with pytest.raises(heads.Disagreement, match="90 objects and"):
        heads.measure(few, 1)

    def moved(outputs: object, score: float) -> head_plain.Found:
        found = head_plain.rows_with_objectness(outputs, score)  # type: ignore[arg-type]
        return replace(found, boxes=found.boxes + 1)

    with pytest.raises(heads.Disagreement, match=r"differ by up to 1\.000"):
        heads.measure(replace(form, plain=moved), 1)


def test_measuring_gives_a_row() -> None:
    row = heads.measure(next(form for form in FORMS if form.head == "ultraface"), 4)
    assert row.ours.low <= row.ours.median <= row.ours.high
    assert row.plain.median > 0
    assert row.times == row.plain.median / row.ours.median
    assert heads.measure_suppression(2).name == "suppression of 90 boxes"


def test_plain_suppression_agrees_with_ours() -> None:
    rng = np.random.default_rng(1)
    boxes, scores = head_forms.boxes_xyxy(rng, 200), rng.random(200).astype(np.float32)
    class_ids = rng.integers(0, 3, 200)
    kept = nms(Candidates(boxes, scores, class_ids, 200, 1.0), 0.45)
    assert sorted(head_plain.suppress(head_plain.Found(boxes, scores, class_ids), 0.45)) == sorted(kept.tolist())


def _row(name: str, ours: float, plain: float) -> heads.Row:
    return heads.Row(name, heads.Timing(ours, ours, ours), heads.Timing(plain, plain, plain))


def test_what_is_missed_is_said() -> None:
    good = [_row(name, 599, 1) for name in heads.RAW] + [_row(heads.NINE, 100, 500)]
    assert heads.missed(good) == []
    assert heads.missed([_row("yolov5 raw", 601, 1)]) == ["yolov5 raw: 601 us, to be at most 600"]
    (line,) = heads.missed([_row(heads.NINE, 100, 499)])
    assert "5.0 times as fast" in line
    assert set(heads.RAW) | {heads.NINE} <= {form.name for form in FORMS}
