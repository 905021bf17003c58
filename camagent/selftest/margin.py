"""How well a known answer came back: one number for ranking, and whether it came back at all.

Variants are ranked by margin, never by "the one that works": several may, and none may (shared
reference/empty_detection_faults.md section 0).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from camagent.frame import Candidates, Classes, ClassMap, Detections, Scene
from camagent.pipeline import Reading
from camagent.selftest.known import CROWD, Known
from firmware_pkg.manifest import Expectation, InputSpec, Manifest

FLOOR = 0.1  # scores below it say nothing of a known object
MIN_SHARE, MOST_SHARE = 0.01, 0.97  # a class that covers less is not seen; one that covers more leaves no picture
_SAME_BOX = 0.5  # IoU
_RECALL = 0.8
_SHARE_OFF, _OF_ITSELF = 0.05, 0.5  # of the picture, and of the share itself: a small thing that is gone is no rounding
_CLUTTER = 50.0  # so many boxes too many make an answer worthless
_NEAR = 0.5  # share of the best boxes that must lie near their cells
_IMPOSSIBLE = 0.3  # off the margin where scores cannot be probabilities
_INSIDE = 0.8  # share of a box that lies in the picture


@dataclass(frozen=True, slots=True)
class Score:
    """One picture's answer, held against what is known of it."""

    support: float  # mean score of the objects that should be there, 0..1; one that is missing counts 0
    back: bool  # everything is there at the manifest's own threshold, and nothing absurd beside it
    share: float  # of the wanted objects that are seen at that threshold, 0..1
    sane: float  # share of boxes with a positive size, mostly inside the picture, 0..1
    clutter: int  # boxes above the threshold beyond what such a picture can have
    margin: float  # -1..1
    reach: float  # highest threshold at which everything would be there; 0 where none is

    def doubted(self, *, possible: bool, near: float | None) -> Score:
        """Held against the head's structure: numbers that are no probabilities, boxes far from the cells that made them."""
        near = 1.0 if near is None else near
        if possible and near >= _NEAR:
            return self
        return replace(self, back=False, sane=self.sane * near, margin=self.margin * near - (not possible) * _IMPOSSIBLE)


NOTHING = Score(0.0, back=False, share=0.0, sane=0.0, clutter=0, margin=-1.0, reach=0.0)


def floor_of(manifest: Manifest) -> float:
    """The score from which boxes are looked at."""
    return min(FLOOR, manifest.thresholds.min_score / 2)


def judge(reading: Reading, known: Known, manifest: Manifest) -> Score:
    """A reading at `floor_of` the manifest against the known answer."""
    labels = manifest.label_names
    match reading.outcome:
        case Detections() as found:
            return _boxes(found, reading.candidates, known, manifest)
        case ClassMap() as found:
            return _map(found, known, labels)
        case Classes() as found:
            return _classes(found, known, labels, manifest.thresholds.min_score)
        case Scene() as found:
            return _scene(found, reading.candidates, known, manifest)


def mean(scores: Sequence[Score]) -> float:
    """The margin over several pictures."""
    return sum(score.margin for score in scores) / len(scores) if scores else -1.0


def _boxes(found: Detections, candidates: Candidates | None, known: Known, manifest: Manifest) -> Score:
    labels, threshold = manifest.label_names, manifest.thresholds.min_score
    hits = _hits_by_box(found, known, labels) if _has_boxes(known.expect) else _hits_by_count(found, known.declared, labels)
    if not hits:
        return NOTHING
    seen = sum(score >= threshold for score in hits) / len(hits)
    above = int((found.scores >= threshold).sum())
    clutter = max(0, above - _allowance(known))
    sane = _sanity(candidates, known.wanted, manifest.input) if candidates is not None else 1.0
    needed = _RECALL if _has_boxes(known.expect) else 1.0
    support = float(np.mean(np.minimum(hits, 1.0)))
    reach = sorted(hits, reverse=True)[max(0, int(np.ceil(needed * len(hits))) - 1)]
    return Score(
        support, back=seen >= needed and not clutter and sane > 0.5, share=seen, sane=sane, clutter=clutter,
        margin=support * (0.4 + 0.6 * sane) - min(1.0, clutter / _CLUTTER), reach=float(reach),
    )  # fmt: skip


def _scene(found: Scene, candidates: Candidates | None, known: Known, manifest: Manifest) -> Score:
    """Objects and areas, each against what is known of its kind; both must come back. What lies in the map is an area."""
    labels = manifest.label_names
    present = {labels[int(index)] for index in np.unique(found.areas.ids) if index < len(labels)}
    declared = (
        {label: number for label, number in known.declared.items() if (label in present) == own} for own in (False, True)
    )
    objects, areas = declared
    boxed, mapped = _has_boxes(known.expect), [item for item in known.expect if item.box_norm is None]
    scores = []
    if boxed or (objects and not known.expect):
        part = replace(known, declared=objects, expect=tuple(item for item in known.expect if item.box_norm is not None))
        scores.append(_boxes(found.detections, candidates, part, manifest))
    if mapped or (areas and not known.expect):
        scores.append(_map(found.areas, replace(known, declared=areas, expect=tuple(mapped)), labels))
    if not scores:
        return NOTHING
    return Score(
        _mean(score.support for score in scores), back=all(score.back for score in scores),
        share=_mean(score.share for score in scores), sane=min(score.sane for score in scores),
        clutter=sum(score.clutter for score in scores), margin=mean(scores), reach=scores[0].reach,
    )  # fmt: skip


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _allowance(known: Known) -> int:
    """How many boxes such a picture may have: other things than the declared ones are on it too."""
    return 3 + 2 * len(known.expect) if known.expect else CROWD + 4 * known.wanted


def _has_boxes(expect: Sequence[Expectation]) -> bool:
    return any(item.box_norm is not None for item in expect)


def _hits_by_count(found: Detections, declared: Mapping[str, int], labels: Sequence[str]) -> list[float]:
    """The best scores of every declared label, as many as there should be; 0 for those that are missing."""
    hits = []
    for label, count in declared.items():
        ids = [index for index, name in enumerate(labels) if name == label]
        scores = np.sort(found.scores[np.isin(found.class_ids, ids)])[::-1][:count]
        hits += [float(score) for score in scores] + [0.0] * (count - len(scores))
    return hits


def _hits_by_box(found: Detections, known: Known, labels: Sequence[str]) -> list[float]:
    """Per object that the float model saw, the score of the box that lies on it; 0 where there is none."""
    size = np.array([known.frame.width, known.frame.height] * 2, np.float64)
    free = np.ones(len(found), bool)
    hits = []
    for item in sorted(known.expect, key=lambda item: -item.score):
        if item.box_norm is None:
            continue
        overlap = iou(np.asarray(item.box_norm) * size, found.boxes)
        named = np.array([labels[int(index)] == item.label for index in found.class_ids], bool)
        fits = np.flatnonzero((overlap >= _SAME_BOX) & named & free) if len(found) else np.zeros(0, int)
        best = fits[found.scores[fits].argmax()] if fits.size else -1
        hits.append(float(found.scores[best]) if best >= 0 else 0.0)
        if best >= 0:
            free[best] = False
    return hits


def iou(box: NDArray[np.floating], boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Of one box (4,) x1 y1 x2 y2 with many (n, 4)."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    union = areas + float(np.prod(box[2:] - box[:2])) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros(len(boxes)), where=union > 0), np.float64)


def _sanity(candidates: Candidates, wanted: int, network: InputSpec) -> float:
    """Share of the best candidates' boxes that are boxes of this picture: positive sides, most of the area inside it."""
    order = np.argsort(-candidates.scores, kind="stable")[: max(10, 6 * wanted)]
    best = candidates.boxes[order].astype(np.float64)
    weight = np.nan_to_num(candidates.scores[order].astype(np.float64))
    if not len(best) or not weight.sum():
        return 1.0
    sides = best[:, 2:] - best[:, :2]
    with np.errstate(invalid="ignore", over="ignore"):
        inside = np.clip(np.minimum(best[:, 2:], [network.width, network.height]) - np.maximum(best[:, :2], 0), 0, None).prod(
            axis=1
        )
        good = (sides > 1).all(axis=1) & (inside >= _INSIDE * sides.prod(axis=1))
    return float((good * weight).sum() / weight.sum())


def _map(found: ClassMap, known: Known, labels: Sequence[str]) -> Score:
    shares = dict(zip(labels, found.shares(max(len(labels), 1)), strict=False))
    ids = found.ids
    torn = float((ids[:, 1:] != ids[:, :-1]).mean() + (ids[1:] != ids[:-1]).mean()) / 2
    whole = max(0.0, 1 - torn * 8)  # things are areas; a map of noise has an edge at every pixel
    expected = {item.label: item.share for item in known.expect if item.share is not None}
    if expected:
        off = max(abs(float(shares.get(label, 0.0)) - share) for label, share in expected.items())
        support = max(0.0, 1 - off * 4) * whole
        back = all(abs(float(shares.get(label, 0.0)) - share) <= _tolerance(share) for label, share in expected.items())
    else:
        parts = [float(shares.get(label, 0.0)) for label in known.declared]
        back = bool(parts) and all(MIN_SHARE <= part <= MOST_SHARE for part in parts) and whole > 0.5
        support = whole * float(np.mean([min(1.0, part / (5 * MIN_SHARE)) * (part <= MOST_SHARE) for part in parts] or [0.0]))
    return Score(support, back=back, share=float(back), sane=whole, clutter=0, margin=support - (not back) * 0.2, reach=0.0)


def _tolerance(share: float) -> float:
    """By how much the area of a class may be off, as a share of the picture."""
    return min(_SHARE_OFF, max(MIN_SHARE / 2, _OF_ITSELF * share))


def _classes(found: Classes, known: Known, labels: Sequence[str], threshold: float) -> Score:
    probability = {label: float(score) for label, score in zip(labels, found.scores, strict=False)}
    wanted = [probability.get(label, 0.0) for label in known.declared]
    if not wanted:
        return NOTHING
    others = [value for label, value in probability.items() if label not in known.declared]
    support = float(np.mean(wanted))
    back = all(value >= threshold for value in wanted)
    ahead = min(wanted) - max(others, default=0.0)
    return Score(
        support, back=back and ahead > 0, share=float(np.mean([value >= threshold for value in wanted])), sane=1.0, clutter=0,
        margin=(support + ahead) / 2, reach=min(wanted),
    )  # fmt: skip
