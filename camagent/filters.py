"""Candidates -> detections: NMS, then label, area and zone, each counted, so that a missing object can be found again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.config import Anchor, Camera
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
    polygon: Sequence[tuple[float, float]]
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
    scored = int(np.count_nonzero(candidates.scores >= rule.min_score))
    candidates = _bounded(candidates, rule.min_score)
    kept = nms(candidates, rule.nms_iou)  # best first: what is published is chosen before anything faint is looked at
    strong = kept[candidates.scores[kept] >= rule.min_score]
    passed, counts = _passed(candidates, strong, letterbox, rule)
    masks = cut(candidates.masks, passed.rows, passed.boxes, letterbox) if candidates.masks is not None else ()
    sifted = Sifted(passed.detections(masks), replace(counts, scored=scored))
    if rule.faint_score is None:
        return sifted
    weak = kept[len(strong) :]
    return replace(sifted, faint=_passed(candidates, weak, letterbox, rule)[0].detections() if len(weak) else _NOTHING)


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """What label, area and zone have let through, and where it stood among the candidates."""

    rows: NDArray[np.intp]
    boxes: FloatArray
    scores: FloatArray
    class_ids: NDArray[np.int64]
    zones: tuple[tuple[str, ...], ...]

    def detections(self, masks: tuple[InstanceMask, ...] = ()) -> Detections:
        return Detections(self.boxes, self.scores, self.class_ids, self.zones, masks)


def _bounded(candidates: Candidates, min_score: float) -> Candidates:
    """All that reach `min_score` and the best of the others."""
    faint = np.flatnonzero(candidates.scores < min_score)
    if len(faint) <= FAINT_LIMIT:
        return candidates
    kept = np.ones(len(candidates.scores), bool)
    kept[faint[np.argsort(-candidates.scores[faint], kind="stable")[FAINT_LIMIT:]]] = False
    masks = candidates.masks and replace(candidates.masks, coefficients=candidates.masks.coefficients[kept])
    boxes, scores, class_ids = candidates.boxes[kept], candidates.scores[kept], candidates.class_ids[kept]
    return replace(candidates, boxes=boxes, scores=scores, class_ids=class_ids, masks=masks)


def _passed(
    candidates: Candidates, kept: NDArray[np.intp], letterbox: Letterbox, rule: FilterRule
) -> tuple[_Kept, StageCounts]:
    """What of the suppressed candidates `kept` passes label, area and zone."""
    boxes = letterbox.clip(letterbox.to_source(candidates.boxes[kept]))
    scores, ids = candidates.scores[kept], candidates.class_ids[kept]
    by_label = np.ones(len(ids), bool) if rule.class_ids is None else np.isin(ids, list(rule.class_ids))
    sides = boxes[:, 2:] - boxes[:, :2]
    by_area = by_label & (sides > 0).all(axis=1) & (sides.prod(axis=1) >= rule.min_area)
    zones: list[tuple[str, ...]] = []
    by_zone = by_area
    if rule.zones:
        zones = [zones_of(box, rule.zones, letterbox) if ok else () for box, ok in zip(boxes, by_area, strict=True)]
        by_zone = by_area & np.array([bool(names) for names in zones], bool)
    final = np.flatnonzero(by_zone)
    counts = StageCounts(
        candidates=candidates.seen,
        kept_by_nms=len(kept),
        kept_by_label=int(np.count_nonzero(by_label)),
        kept_by_area=int(np.count_nonzero(by_area)),
        kept_by_zone=len(final),
        score_max=candidates.score_max,
    )
    named = tuple(zones[i] for i in final) if rule.zones else ()
    return _Kept(kept[final], boxes[final], scores[final], ids[final], named), counts


def zones_of(box: FloatArray, zones: Sequence[ZoneRule], letterbox: Letterbox) -> tuple[str, ...]:
    """Names of the zones that the box (x1 y1 x2 y2, source pixels) is in; the polygon's edge belongs to it."""
    x1, y1, x2, y2 = (float(value) for value in box)
    inside = []
    for zone in zones:
        polygon = np.array(zone.polygon, np.float32) * (letterbox.source_width, letterbox.source_height)
        contour = polygon.astype(np.float32)
        if zone.anchor == "any":
            hit = _overlaps(contour, (x1, y1, x2, y2))
        else:
            along, down = ANCHORS[zone.anchor]
            point = (x1 + (x2 - x1) * along, y1 + (y2 - y1) * down)
            hit = cv2.pointPolygonTest(contour, point, measureDist=False) >= 0
        if hit:
            inside.append(zone.name)
    return tuple(inside)


def _overlaps(polygon: NDArray[np.float32], box: tuple[float, float, float, float]) -> bool:
    """True when any part of the box lies in the polygon, concave ones too: an edge meets the box, or the box is all inside."""
    x1, y1, x2, y2 = box
    if cv2.pointPolygonTest(polygon, ((x1 + x2) / 2, (y1 + y2) / 2), measureDist=False) >= 0:
        return True
    rect = (int(np.floor(x1)), int(np.floor(y1)), max(1, int(np.ceil(x2 - x1))), max(1, int(np.ceil(y2 - y1))))
    ends = [(round(float(x)), round(float(y))) for x, y in polygon]
    return any(cv2.clipLine(rect, start, end)[0] for start, end in zip(ends, ends[1:] + ends[:1], strict=True))
