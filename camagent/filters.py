"""Candidates -> detections: NMS, then label, area and zone, each counted, so that a missing object can be found again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.boxes import Box
from camagent.config import Anchor, Camera, Polygon
from camagent.frame import Candidates, Detections, FloatArray, InstanceMask, Letterbox, MaskParts, Sifted, StageCounts

Nms = Callable[[Candidates, float], NDArray[np.intp]]
Cut = Callable[[MaskParts, NDArray[np.intp], FloatArray, Letterbox], tuple[InstanceMask, ...]]
FAINT_SHARE = 0.5  # of min_score: what scores less than this is no sign of an object that was there a moment ago
SURE_SHARE = 0.5  # of the way from min_score to 1: what scores more is hardly a false alarm
FAINT_LIMIT = 200  # a model whose whole grid lies above that share (tried: a collapsed int8 scale) must not cost more than this
ANCHORS: dict[Anchor, tuple[float, float]] = {"bottom-center": (0.5, 1.0), "center": (0.5, 0.5), "top-center": (0.5, 0.0)}
_NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class ZoneRule:
    """A named polygon, 0..1 of the picture, and the point of a box that must lie in it."""

    name: str
    polygon: Polygon
    anchor: Anchor


@dataclass(frozen=True, slots=True)
class FilterRule:
    """What one camera lets through. Empty tuples let everything through."""

    min_score: float
    nms_iou: float
    class_ids: frozenset[int] | None = None  # None: every class
    min_area: float = 0.0  # pixels of the source picture
    zones: tuple[ZoneRule, ...] = ()
    faint_score: float | None = None  # below min_score: from here on a tracker is told of objects; None: nothing tracks

    @property
    def decode_score(self) -> float:
        """The threshold that a detection head is asked for."""
        return self.min_score if self.faint_score is None else min(self.min_score, self.faint_score)

    @property
    def sure_score(self) -> float:
        """A score that a tracker need not see often to believe it."""
        return self.min_score + (1 - self.min_score) * SURE_SHARE


def for_tracking(rule: FilterRule) -> FilterRule:
    """The same rule, with which a tracker is also told of fainter objects; what is published does not change."""
    return replace(rule, faint_score=rule.min_score * FAINT_SHARE)


def rule_for(
    camera: Camera | None, labels: Sequence[str], groups: Sequence[str | None], min_score: float, nms_iou: float
) -> FilterRule:
    """A camera's configuration over the bundle's thresholds. A configured label may be a class or a group."""
    if camera is None:
        return FilterRule(min_score, nms_iou)
    wanted = set(camera.filter.labels)
    named = enumerate(zip(labels, groups, strict=True))
    ids = frozenset(index for index, (label, group) in named if label in wanted or group in wanted)
    own = camera.filter.min_score
    return FilterRule(
        min_score if own is None else own,
        nms_iou,
        ids if wanted else None,
        camera.filter.min_area,
        tuple(ZoneRule(zone.name, zone.polygon, zone.anchor) for zone in camera.zone),
    )


def unknown_labels(camera: Camera, labels: Sequence[str], groups: Sequence[str | None]) -> list[str]:
    """Configured labels that the model does not have: they would silence the camera without a word."""
    known = {*labels, *(group for group in groups if group)}
    return [label for label in camera.filter.labels if label not in known]


def apply(candidates: Candidates, letterbox: Letterbox, rule: FilterRule, nms: Nms, cut: Cut) -> Sifted:
    """Candidates in network pixels -> detections in source pixels, best first, and how many survived each filter.

    Order: score (already applied by the head), NMS per class, label, area, zone. A box is kept when its area, cut at the
    picture's edge, is positive and at least `min_area`, and when one of its zones (if there are any) has its anchor. Instance
    masks, where there are any, are cut out for what is left at the end.

    What scores less than `min_score` goes the same way beside it, as `faint`: suppressed by what is published, never the other
    way round, counted nowhere, without masks.
    """
    if not len(candidates.scores):
        return Sifted(_NOTHING, _counts(candidates, 0, ()), None if rule.faint_score is None else _NOTHING)
    candidates = _bounded(candidates, rule.min_score)
    kept = nms(candidates, rule.nms_iou)  # best first: what is published is chosen before anything faint is looked at
    scored, strong = _reach(candidates.scores, rule.min_score), _reach(candidates.scores[kept], rule.min_score)
    judged = _judged(candidates, kept, letterbox, rule)
    published = judged.passed(0, strong)
    masks = () if candidates.masks is None else cut(candidates.masks, kept[published], judged.boxes[published], letterbox)
    counts = _counts(candidates, scored, judged.fates[:strong])
    faint = None if rule.faint_score is None else judged.detections(judged.passed(strong, len(kept)))
    return Sifted(judged.detections(published, masks), counts, faint)


class _Fate(NamedTuple):
    """How far one box came."""

    by_label: bool
    by_area: bool
    by_zone: bool
    zones: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """What NMS has left, best first, and what label, area and zone say of each."""

    boxes: FloatArray
    scores: FloatArray
    class_ids: NDArray[np.int64]
    fates: Sequence[_Fate]
    in_zones: bool  # there are zones

    def passed(self, start: int, end: int) -> list[int]:
        """Those of `start` up to `end` that every filter lets through."""
        return [row for row in range(start, end) if self.fates[row].by_zone]

    def detections(self, rows: list[int], masks: tuple[InstanceMask, ...] = ()) -> Detections:
        """These of them."""
        if not rows:
            return _NOTHING
        zones = tuple(self.fates[row].zones for row in rows) if self.in_zones else ()
        return Detections(self.boxes[rows], self.scores[rows], self.class_ids[rows], zones, masks)


def _bounded(candidates: Candidates, min_score: float) -> Candidates:
    """All that reach `min_score` and the best of the others."""
    if len(candidates.scores) <= FAINT_LIMIT:
        return candidates
    faint = np.flatnonzero(candidates.scores < min_score)
    if len(faint) <= FAINT_LIMIT:
        return candidates
    kept = np.ones(len(candidates.scores), bool)
    kept[faint[np.argsort(-candidates.scores[faint], kind="stable")[FAINT_LIMIT:]]] = False
    masks = candidates.masks and replace(candidates.masks, coefficients=candidates.masks.coefficients[kept])
    boxes, scores, class_ids = candidates.boxes[kept], candidates.scores[kept], candidates.class_ids[kept]
    return replace(candidates, boxes=boxes, scores=scores, class_ids=class_ids, masks=masks)


def _counts(candidates: Candidates, scored: int, fates: Sequence[_Fate]) -> StageCounts:
    return StageCounts(
        candidates=candidates.seen,
        scored=scored,
        kept_by_nms=len(fates),
        kept_by_label=sum(fate.by_label for fate in fates),
        kept_by_area=sum(fate.by_area for fate in fates),
        kept_by_zone=sum(fate.by_zone for fate in fates),
        score_max=candidates.score_max,
    )


def _reach(scores: FloatArray, min_score: float) -> int:
    """How many. Single precision, as the heads compare: 0.7 is not less than itself."""
    least = float(np.float32(min_score))
    return sum(score >= least for score in scores.tolist())


def _judged(candidates: Candidates, kept: NDArray[np.intp], letterbox: Letterbox, rule: FilterRule) -> _Judged:
    """Box by box: of the few that a scene has, NumPy's calls cost more than the comparisons."""
    mapped = [letterbox.box_in_source(box) for box in candidates.boxes[kept].tolist()]
    boxes, class_ids = np.array(mapped, np.float32).reshape(-1, 4), candidates.class_ids[kept]
    pairs = zip(boxes.tolist(), class_ids.tolist(), strict=True)
    fates = [_fate((x1, y1, x2, y2), class_id, letterbox, rule) for (x1, y1, x2, y2), class_id in pairs]
    return _Judged(boxes, candidates.scores[kept], class_ids, fates, bool(rule.zones))


def _fate(box: Box, class_id: int, letterbox: Letterbox, rule: FilterRule) -> _Fate:
    wide, high = box[2] - box[0], box[3] - box[1]
    by_label = rule.class_ids is None or class_id in rule.class_ids
    by_area = by_label and wide > 0 and high > 0 and wide * high >= rule.min_area
    zones = zones_of(box, rule.zones, letterbox) if by_area and rule.zones else ()
    return _Fate(by_label, by_area, by_area and (bool(zones) or not rule.zones), zones)


def zones_of(box: Box, zones: Sequence[ZoneRule], letterbox: Letterbox) -> tuple[str, ...]:
    """Names of the zones that the box (x1 y1 x2 y2, source pixels) is in; the polygon's edge belongs to it."""
    x1, y1, x2, y2 = box
    inside = []
    for zone in zones:
        contour = _contour(zone.polygon, letterbox.source_width, letterbox.source_height)
        if zone.anchor == "any":
            hit = _overlaps(contour, (x1, y1, x2, y2))
        else:
            along, down = ANCHORS[zone.anchor]
            point = (x1 + (x2 - x1) * along, y1 + (y2 - y1) * down)
            hit = cv2.pointPolygonTest(contour, point, measureDist=False) >= 0
        if hit:
            inside.append(zone.name)
    return tuple(inside)


@lru_cache(maxsize=64)  # the zones of a camera or two: they are the same for every box of every frame
def _contour(polygon: Polygon, width: int, height: int) -> NDArray[np.float32]:
    contour: NDArray[np.float32] = (np.array(polygon, np.float32) * (width, height)).astype(np.float32)
    contour.flags.writeable = False
    return contour


def _overlaps(polygon: NDArray[np.float32], box: Box) -> bool:
    """True when any part of the box lies in the polygon, concave ones too: an edge meets the box, or the box is all inside."""
    x1, y1, x2, y2 = box
    if cv2.pointPolygonTest(polygon, ((x1 + x2) / 2, (y1 + y2) / 2), measureDist=False) >= 0:
        return True
    rect = (int(np.floor(x1)), int(np.floor(y1)), max(1, int(np.ceil(x2 - x1))), max(1, int(np.ceil(y2 - y1))))
    ends = [(round(float(x)), round(float(y))) for x, y in polygon]
    return any(cv2.clipLine(rect, start, end)[0] for start, end in zip(ends, ends[1:] + ends[:1], strict=True))
