"""Candidates -> detections: NMS, then label, area and zone, each counted, so that a missing object can be found again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.config import Anchor, Camera
from camagent.frame import Candidates, Detections, FloatArray, InstanceMask, Letterbox, MaskParts, StageCounts

Nms = Callable[[Candidates, float], NDArray[np.intp]]
Cut = Callable[[MaskParts, NDArray[np.intp], FloatArray, Letterbox], tuple[InstanceMask, ...]]
ANCHORS: dict[Anchor, tuple[float, float]] = {"bottom-center": (0.5, 1.0), "center": (0.5, 0.5), "top-center": (0.5, 0.0)}


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


def apply(candidates: Candidates, letterbox: Letterbox, rule: FilterRule, nms: Nms, cut: Cut) -> tuple[Detections, StageCounts]:
    """Candidates in network pixels -> detections in source pixels, best first, and how many survived each filter.

    Order: score (already applied by the head), NMS per class, label, area, zone. A box is kept when its area, cut at the
    picture's edge, is positive and at least `min_area`, and when one of its zones (if there are any) has its anchor. Instance
    masks, where there are any, are cut out for what is left at the end.
    """
    kept = nms(candidates, rule.nms_iou)
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
        scored=len(candidates.scores),
        kept_by_nms=len(kept),
        kept_by_label=int(np.count_nonzero(by_label)),
        kept_by_area=int(np.count_nonzero(by_area)),
        kept_by_zone=len(final),
        score_max=candidates.score_max,
    )
    named = tuple(zones[i] for i in final) if rule.zones else ()
    masks = cut(candidates.masks, kept[final], boxes[final], letterbox) if candidates.masks is not None else ()
    return Detections(boxes[final], scores[final], ids[final], named, masks), counts


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
