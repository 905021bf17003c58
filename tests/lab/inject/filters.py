"""Faults between boxes and what is published: a camera's filters, the bundle's threshold, labels, zones and masks.

Not here, because the agent has no such part: an inner score floor (a model with one is head/embedded-nms-threshold), temporal
confirmation, a tracker, a motion gate, a limit of its own on candidates that could lose every object. Zones in pixels are
refused with the configuration, and a retained OFF is not seen by what looks at stored frames.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
from numpy.random import Generator

from camagent.config import Camera, Filter, Mask, Zone
from tests.lab import draw
from tests.lab.inject.base import DETECTORS, fault, one, pick, retrained, with_params
from tests.lab.rig import Rig, Seen
from tests.lab.scene import COLOURS

_LAYER = "filter"


@fault("threshold-too-high", "camera", _LAYER)
def _threshold(rig: Rig, rng: Generator) -> Rig | None:
    """The camera's own threshold, above every score that there is."""
    if rig.name not in DETECTORS:
        return None
    made = draw.with_camera(_of_any_confidence(rig, rng))
    least = _above(made.truth_of_live, rng)
    return None if least is None else _filtered(made, min_score=least)


@fault("threshold-too-high", "camera, no live frames", _LAYER)
def _threshold_without_frames(rig: Rig, rng: Generator) -> Rig | None:
    if rig.name not in DETECTORS or rig.shown is not None:
        return None
    made = replace(draw.with_camera(_of_any_confidence(rig, rng)), live=())
    least = _above(made.truth_of_scenes, rng)
    return None if least is None else _filtered(made, min_score=least)


@fault("threshold-too-high", "manifest", _LAYER)
def _threshold_of_bundle(rig: Rig, rng: Generator) -> Rig | None:
    if rig.name not in (*DETECTORS, "classify"):
        return None
    made = _of_any_confidence(rig, rng)
    least = _above([*made.truth_of_scenes, *made.truth_of_live], rng)
    if least is None:
        return None
    limits = msgspec.structs.replace(made.deployed.manifest.thresholds, min_score=least)
    return replace(made, deployed=made.deployed.with_manifest(thresholds=limits))


@fault("class-filter-excludes", "live", _LAYER)
def _labels(rig: Rig, rng: Generator) -> Rig | None:
    """Only what never comes by is let through."""
    if rig.name not in DETECTORS:
        return None
    made = draw.with_camera(rig)
    absent = _absent(made, made.truth_of_live)
    if not absent:
        if not _can_be_redrawn(made) or len(made.right.spec.classes) < 2 or made.name == "ultraface":
            return None
        made, absent = _without_one(made, rng)
    return _filtered(made, labels=_some(absent, rng))


@fault("class-filter-excludes", "no live frames", _LAYER)
def _labels_without_frames(rig: Rig, rng: Generator) -> Rig | None:
    made = replace(draw.with_camera(rig), live=()) if rig.name in DETECTORS and rig.shown is None else None
    absent = _absent(made, made.truth_of_scenes) if made is not None else ()
    return _filtered(made, labels=_some(absent, rng)) if made is not None and absent else None


@fault("label-offset", "+1", _LAYER)
def _labels_later(rig: Rig, rng: Generator) -> Rig | None:
    """The list begins with a background that the model has no row for; the model's last row is a spare one."""
    made = _with_a_spare_class(rig, rng)
    if made is None:
        return None
    *names, _ = made.right.manifest.label_names
    return _labelled(made, (one(rng, ("background", "__background__", "unlabeled")), *names))


@fault("label-offset", "-1", _LAYER)
def _labels_earlier(rig: Rig, rng: Generator) -> Rig | None:
    """The model begins with a row that the list has not."""
    made = _with_a_spare_class(rig, rng, first=True)
    if made is None:
        return None
    _, *names = made.right.manifest.label_names
    return _labelled(made, (*names, one(rng, ("other", "none", "n/a"))))


@fault("label-offset", "+1, a name lost", _LAYER)
def _labels_later_by_one(rig: Rig, rng: Generator) -> Rig | None:
    """A row for the background that the model has none for, and the list cut to fit."""
    return _labelled(rig, (one(rng, ("background", "__background__", "unlabeled")), *rig.right.manifest.label_names[:-1]))


@fault("label-offset", "-1, a name lost", _LAYER)
def _labels_earlier_by_one(rig: Rig, rng: Generator) -> Rig | None:
    """The first row is missing, and something stands at the end."""
    return _labelled(rig, (*rig.right.manifest.label_names[1:], one(rng, ("other", "none", "n/a"))))


@fault("label-offset", "column", _LAYER)
def _background_first(rig: Rig, rng: Generator) -> Rig | None:
    """Of two columns, the background's is read."""
    return replace(rig, deployed=with_params(rig, background=1)) if rig.name == "ultraface" else None


@fault("min-area-filter", "plain", _LAYER)
def _area(rig: Rig, rng: Generator) -> Rig | None:
    if rig.name not in DETECTORS:
        return None
    made = draw.with_camera(rig)
    areas = [
        (item.box_norm[2] - item.box_norm[0])
        * (item.box_norm[3] - item.box_norm[1])
        * scene.pixels.shape[0]
        * scene.pixels.shape[1]
        for scene, seen in zip(made.live, made.truth_of_live, strict=True)
        for item in seen
        if item.box_norm is not None
    ]
    return _filtered(made, min_area=round(max(areas) * pick(rng, 1.04, 6.0), 1)) if areas else None


@fault("zone-anchor-point", "plain", _LAYER)
def _zone(rig: Rig, rng: Generator) -> Rig | None:
    """Everything stands below the zone's lower edge and reaches into it with more than half of its height."""
    if rig.name not in DETECTORS:
        return None
    made = draw.with_camera(rig)
    line = _between_middles_and_feet(made.truth_of_live, rng)
    if line is None and _can_be_redrawn(made):
        style = replace(draw.style_of(made), line=pick(rng, 0.3, 0.6), strangers=False)
        made = replace(made, live=draw.walk(rng, style))
        line = _between_middles_and_feet(made.truth_of_live, rng)
    if line is None:
        return None
    left, right = pick(rng, 0.0, 0.01), pick(rng, 0.99, 1.0)
    corners = ((left, 0.0), (right, 0.0), (right, line), (left, line))
    return _with_zones(made, Zone(name="door", polygon=corners), Zone(name="door", polygon=corners, anchor="center"))


@fault("mask-or-motion-gate", "everything", _LAYER)
def _mask(rig: Rig, rng: Generator) -> Rig | None:
    """The privacy mask was drawn over the whole picture."""
    if rig.name == "classify":
        return None
    edge = [pick(rng, 0.0, 0.015) for _ in range(4)]
    corners = ((edge[0], edge[1]), (1 - edge[2], edge[1]), (1 - edge[2], 1 - edge[3]), (edge[0], 1 - edge[3]))
    made = draw.with_camera(rig)
    assert made.camera is not None
    return replace(made, camera=msgspec.structs.replace(made.camera, mask=(Mask(name="private", polygon=corners),)))


def _filtered(rig: Rig, **changes: object) -> Rig:
    assert rig.camera is not None
    own: Filter = msgspec.structs.replace(rig.camera.filter, **changes)
    return replace(rig, camera=msgspec.structs.replace(rig.camera, filter=own))


def _with_zones(rig: Rig, wrong: Zone, right: Zone) -> Rig:
    assert rig.camera is not None
    zoned: list[Camera] = [msgspec.structs.replace(rig.camera, zone=(zone,)) for zone in (wrong, right)]
    return replace(rig, camera=zoned[0], right_camera=zoned[1])


def _of_any_confidence(rig: Rig, rng: Generator) -> Rig:
    """A model that is not always as sure as it can be."""
    least = rig.right.manifest.thresholds.min_score
    return retrained(rig, gain=pick(rng, least + 0.15, 0.97)) if rig.right.spec.engine == "blobs" else rig


def _above(seen: list[Seen], rng: Generator) -> float | None:
    best = max((item.score for one_seen in seen for item in one_seen), default=0.0)
    return round(pick(rng, best + 0.004, min(0.9985, best + 0.4)), 3) if 0 < best < 0.99 else None


def _absent(rig: Rig, seen: list[Seen]) -> tuple[str, ...]:
    found = {item.label for one_seen in seen for item in one_seen}
    return tuple(label for label in rig.right.manifest.label_names if label not in found)


def _some(labels: tuple[str, ...], rng: Generator) -> tuple[str, ...]:
    return tuple(str(name) for name in rng.permutation(labels)[: int(rng.integers(1, 4))])


def _can_be_redrawn(rig: Rig) -> bool:
    return rig.right.spec.engine == "blobs" and rig.shown is None


def _without_one(rig: Rig, rng: Generator) -> tuple[Rig, tuple[str, ...]]:
    style = draw.style_of(rig)
    gone = one(rng, style.classes)
    there = tuple(name for name in style.classes if name != gone)
    return replace(rig, live=draw.walk(rng, replace(style, classes=there, strangers=False))), (gone,)


def _with_a_spare_class(rig: Rig, rng: Generator, *, first: bool = False) -> Rig | None:
    """A model with one class more, of which there is nothing on any picture."""
    classes, names = rig.right.spec.classes, rig.right.manifest.label_names
    drawn = {blob.label for one_scene in (*rig.scenes, *rig.held_back, *rig.live) for blob in one_scene.blobs}
    spare = [colour for colour in COLOURS if colour not in classes and colour not in drawn]
    seen = {item.label for one_seen in (*rig.truth_of_scenes, *rig.truth_of_live) for item in one_seen}
    if rig.right.spec.engine != "blobs" or rig.name in ("ultraface", "semantic", "classify") or not spare or len(seen) < 2:
        return None
    extra = one(rng, spare)
    more = (extra, *classes) if first else (*classes, extra)
    labels = ("unused", *names) if first else (*names, "unused")
    right = rig.right.with_spec(classes=more).with_manifest(labels=labels)
    return replace(rig, right=right, deployed=rig.deployed.with_spec(classes=more).with_manifest(labels=labels))


def _labelled(rig: Rig, labels: tuple[str, ...]) -> Rig | None:
    if len(labels) < 2:
        return None
    return replace(rig, deployed=rig.deployed.with_manifest(labels=labels))


def _between_middles_and_feet(seen: list[Seen], rng: Generator) -> float | None:
    """A height that lies below every middle and above every foot, where there is one."""
    boxes = np.array([item.box_norm for one_seen in seen for item in one_seen if item.box_norm is not None]).reshape(-1, 4)
    if not len(boxes):
        return None
    middles, feet = ((boxes[:, 1] + boxes[:, 3]) / 2).max(), boxes[:, 3].min()
    return float(middles + (feet - middles) * pick(rng, 0.25, 0.75)) if feet - middles > 0.02 else None
