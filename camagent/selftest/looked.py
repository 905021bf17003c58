"""One live frame and what the model says of it: is anything seen, how nearly, and where it is that it comes nearest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camagent.frame import ClassMap, Detections, Frame, Letterbox, detections_of, outcome_parts
from camagent.pipeline import FilterRule, prepare
from camagent.selftest.examination import Examination, Run

_THINGS = 0.01  # share of a map that is not background: seen at all
_JUST = 0.999  # of the best score: so much lets the best box through

Place = tuple[float, float, float, float]  # x1 y1 x2 y2, 0..1 of the picture


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """A frame under the contract in force, at the bundle's own threshold. `best` of a map: the area of things."""

    frame: Frame
    run: Run
    seen: bool
    best: float
    place: Place | None = None  # of the best box


def look(exam: Examination, frame: Frame) -> Looked:
    """One inference. Raises OutOfBudget, BackendError, HeadMismatch, LabelCountMismatch."""
    manifest = exam.manifest
    prepared = prepare(frame, manifest.input)
    run = Run(prepared.tensor, prepared.letterbox, exam.infer(prepared.tensor))
    reading = exam.read(manifest, run)
    parts = outcome_parts(reading.outcome)
    boxes = next((part for part in parts if isinstance(part, Detections)), None)
    areas = next((part for part in parts if isinstance(part, ClassMap)), None)
    things = areas.things(len(manifest.labels)) if areas is not None else 0.0
    if boxes is not None:
        seen = things >= _THINGS or bool((boxes.scores >= manifest.thresholds.min_score).any())
        best = reading.counts.score_max
        return Looked(frame, run, seen, best, _best_place(boxes if len(boxes) else _all_but_nothing(exam, run, best), run))
    if areas is not None:
        return Looked(frame, run, things >= _THINGS, things)
    return Looked(frame, run, seen=True, best=reading.counts.score_max)


def _all_but_nothing(exam: Examination, run: Run, best: float) -> Detections | None:
    """The best box of all, however low its score."""
    if best <= 0:
        return None
    outcome = exam.read(exam.manifest, run, FilterRule(best * _JUST, exam.manifest.thresholds.nms_iou)).outcome
    return detections_of(outcome)


def _best_place(found: Detections | None, run: Run) -> Place | None:
    return _relative(found.boxes[:1], run.letterbox) if found is not None and len(found) else None


def _relative(boxes: NDArray[np.floating], letterbox: Letterbox) -> Place:
    size = np.array([letterbox.source_width, letterbox.source_height] * 2, np.float64)
    x1, y1, x2, y2 = (float(value) for value in np.clip(boxes[0] / size, 0.0, 1.0))
    return x1, y1, x2, y2
