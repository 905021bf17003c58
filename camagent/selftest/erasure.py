"""Do boxes lie on what makes them? Paint over them, and what they stand for must go; what stays lies elsewhere.

A bundle that was built with the fault has stored answers that agree with it; only the picture itself can contradict them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from camagent.errors import CodedError
from camagent.frame import Detections, Frame, detections_of
from camagent.pipeline import FilterRule, rgb_frame, rgb_pixels
from camagent.selftest import geometry
from camagent.selftest.examination import Examination, Run, moved
from camagent.selftest.known import Known
from camagent.selftest.margin import iou
from camagent.selftest.memory_order import EXCHANGED
from camagent.selftest.naming import cause
from camagent.selftest.report import Cause

Place = tuple[int, int, int, int]  # left top right bottom, pixels
Paint = Callable[[NDArray[np.uint8], Place], NDArray[np.uint8]]  # a picture and a part of it -> what to put there

_STAYS, _GOES = 0.7, 0.2  # share of the boxes that are still there: none has anything to do with its object; all have
_AS_STRONG, _SAME_BOX = 0.5, 0.5  # of the score before; IoU
_COVERED = 0.5  # share of the picture: with more painted over nothing is proved
_FEWEST = 3  # boxes: a single face is known by its hair, too
_EDGE = 4  # pixels around that give the paint


def explain(exam: Examination) -> Cause | None:
    """One inference where boxes lie on their objects. Raises OutOfBudget, BackendError."""
    if not exam.known:
        return None
    known = max(exam.known, key=lambda known: known.wanted)
    stays = _stays(exam, known, "", _rim)
    if stays is None or stays < _STAYS:
        return None
    again = _stays(exam, known, "", _grey)  # what stays under two paints does not depend on the paint
    if again is None or again < _STAYS:
        return None
    evidence = {"still there when painted over": f"{min(stays, again):.0%}", "expected": "nothing"}
    exchanged = _stays(exam, known, EXCHANGED, _rim)
    if exchanged is not None and exchanged <= _GOES:
        evidence |= {"outputs": EXCHANGED, "still there then": f"{exchanged:.0%}"}
        return cause("output-transposed", evidence, others=("output-stride-or-layout",), verified=True, margin=0.8)
    shaped = geometry.drifted(exam)
    if shaped is not None:
        return cause(shaped.id, {**evidence, **shaped.evidence}, others=shaped.alternatives, margin=0.8)
    anchored = exam.manifest.head.name.startswith(("yolov5", "yolov7", "ssd"))
    padded = exam.manifest.input.resize == "letterbox"
    names = ["anchors-wrong"] * anchored + ["pad-placement-wrong"] * padded + ["stride-or-order-wrong", "box-scale-wrong"]
    return cause(names[0], evidence, others=names[1:], margin=0.6)


def _stays(exam: Examination, known: Known, exhaust: str, paint: Paint) -> float | None:
    """Share of a picture's boxes that are found again with all of them painted over; None where it cannot be tried."""
    before = _boxes(exam, exam.deployed(known), exhaust)
    if before is None or len(before) < _FEWEST:
        return None
    painted = _painted(known.frame, before.boxes, paint)
    if painted is None:
        return None
    copy = Known(known.name, rgb_frame(painted), known.declared, (), None)
    after = _boxes(exam, exam.run(copy, exam.manifest), exhaust)
    if after is None:
        return 0.0
    return sum(_found_again(before, index, after) for index in range(len(before))) / len(before)


def _boxes(exam: Examination, run: Run, exhaust: str) -> Detections | None:
    """At the bundle's own threshold; None where this order of the outputs cannot be read."""
    manifest = exam.manifest
    try:
        run = moved(run, exhaust) if exhaust else run
        outcome = exam.read(manifest, run, FilterRule(manifest.thresholds.min_score, manifest.thresholds.nms_iou)).outcome
    except (CodedError, ValueError, IndexError, TypeError):  # then this order is none
        return None
    return detections_of(outcome)


def _painted(frame: Frame, boxes: NDArray[np.floating], paint: Paint) -> NDArray[np.uint8] | None:
    """The picture with every box painted over; None where that leaves too little of it."""
    source = rgb_pixels(frame)
    pixels, covered = np.array(source), np.zeros((frame.height, frame.width), bool)
    for box in boxes.astype(np.float64):
        center, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
        left, top = (max(int(value), 0) for value in center - half)
        right, bottom = (
            min(int(value), limit) for value, limit in zip(center + half, (frame.width, frame.height), strict=True)
        )
        if right > left and bottom > top:
            pixels[top:bottom, left:right] = paint(source, (left, top, right, bottom))
            covered[top:bottom, left:right] = True
    return pixels if 0 < covered.mean() <= _COVERED else None


def _rim(pixels: NDArray[np.uint8], place: Place) -> NDArray[np.uint8]:
    """The mean colour of what lies around."""
    left, top, right, bottom = place
    around = pixels[max(top - _EDGE, 0) : bottom + _EDGE, max(left - _EDGE, 0) : right + _EDGE].reshape(-1, 3)
    inside = pixels[top:bottom, left:right].reshape(-1, 3)
    rest = around.sum(axis=0, dtype=np.int64) - inside.sum(axis=0, dtype=np.int64)
    return np.asarray(np.rint(rest / max(1, len(around) - len(inside))), np.uint8)


def _grey(pixels: NDArray[np.uint8], place: Place) -> NDArray[np.uint8]:
    """Nothing at all."""
    del pixels, place
    return np.full(3, 128, np.uint8)


def _found_again(before: Detections, index: int, after: Detections) -> bool:
    same = (after.class_ids == before.class_ids[index]) & (after.scores >= _AS_STRONG * before.scores[index])
    return bool(same.any()) and float(iou(before.boxes[index], after.boxes[same]).max()) >= _SAME_BOX
