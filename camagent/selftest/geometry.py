"""Boxes that are wrong in a telling way: every size by one factor, every place by one factor, or all of them moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camagent.errors import CodedError
from camagent.frame import Candidates
from camagent.selftest import structure
from camagent.selftest.examination import Examination
from camagent.selftest.known import Known
from camagent.selftest.margin import iou
from camagent.selftest.naming import cause
from camagent.selftest.report import Cause

_STRAIGHT, _STRETCHED = 0.9, 0.2
_STEADY = 0.12  # relative spread of a factor that is one factor
_OFF = 0.12  # how far from 1 a factor must be to be wrong
_SAME = 0.3  # IoU of boxes on one object
_MOVED = 0.04  # of the picture's side


@dataclass(frozen=True, slots=True)
class Pair:
    """An object where it is and where it was found: centre and size in network pixels."""

    wanted: NDArray[np.float64]  # x y w h
    found: NDArray[np.float64]


def explain(exam: Examination) -> Cause | None:
    """The relation between the boxes that should be there and those of the same labels that are."""
    pairs = [pair for known in exam.known for pair in _pairs(exam, known)]
    if len(pairs) < 2:
        return None
    wanted, found = (np.array([getattr(pair, side) for pair in pairs]) for side in ("wanted", "found"))
    network = np.array([exam.manifest.input.width, exam.manifest.input.height], np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        place, size = found[:, :2] / wanted[:, :2], found[:, 2:] / wanted[:, 2:]
    moved = (found[:, :2] - wanted[:, :2]) / network
    if _steady(size) and not _one(size) and np.abs(moved).max() < 2 * _MOVED:
        return _named("anchors-wrong", "sizes", size, ("stride-or-order-wrong",))
    shift, factor = np.median(moved, axis=0), np.median(place, axis=0)
    grown = np.abs(wanted[:, :2] * (factor - 1) / network - moved).max()  # how far off the one story and the other are
    shifted = np.abs(moved - shift).max()
    if _steady(place) and not _one(place) and grown <= shifted:
        return _named("stride-or-order-wrong", "places", place, ("box-scale-wrong",))
    if np.ptp(moved, axis=0).max() < _MOVED and np.abs(shift).max() > _MOVED:
        pixels = shift * network
        evidence = {"every box is moved by": f"{pixels[0]:+.1f}, {pixels[1]:+.1f} network pixels", "expected": "0, 0"}
        return cause("pad-placement-wrong", evidence, others=("letterbox-vs-stretch",), margin=0.8)
    return None


def drifted(exam: Examination) -> Cause | None:
    """No known answer needed: the boxes of all cells lie along the cells, but on another line."""
    network = np.array([exam.manifest.input.width, exam.manifest.input.height], np.float64)
    found = [structure.drift(exam.manifest, exam.deployed(known).outputs) for known in exam.known]
    first = found[0] if found else None
    if first is None or any(one is None or one.straight < _STRAIGHT for one in found):
        return None
    slope, offset = np.array(first.slope), np.array(first.offset)
    if np.abs(np.log(np.maximum(slope, 1e-6))).max() > _STRETCHED:
        evidence = {"places of boxes / places of their cells": f"{slope[0]:.3g} x {slope[1]:.3g}", "expected": "1 x 1"}
        return cause("stride-or-order-wrong", evidence, others=("box-scale-wrong",), margin=0.8)
    if np.abs(offset / network).max() > _MOVED:
        evidence = {"boxes against their cells": f"{offset[0]:+.1f}, {offset[1]:+.1f} network pixels", "expected": "0, 0"}
        return cause("pad-placement-wrong", evidence, others=("letterbox-vs-stretch",), margin=0.8)
    return None


def _named(name: str, what: str, factors: NDArray[np.float64], others: Sequence[str]) -> Cause:
    typical = np.median(factors, axis=0)
    evidence = {f"{what} found / {what} expected": f"{typical[0]:.3g} x {typical[1]:.3g}", "expected": "1 x 1"}
    return cause(name, evidence, others=others, margin=0.8, ask=False)


def _steady(factors: NDArray[np.float64]) -> bool:
    if not np.isfinite(factors).all() or (factors <= 0).any():
        return False
    return bool((np.log(factors).std(axis=0) < _STEADY).all())


def _one(factors: NDArray[np.float64]) -> bool:
    return bool((np.abs(np.log(np.median(factors, axis=0))) < _OFF).all())


def _pairs(exam: Examination, known: Known) -> list[Pair]:
    """Labels that stand for as many objects as are found of them, matched from left to right and top to bottom."""
    if not any(item.box_norm is not None for item in known.expect):
        return []
    run = exam.deployed(known)
    try:
        candidates = exam.read(exam.manifest, run).candidates
    except (CodedError, ValueError, IndexError, TypeError):  # told by the search: this head reads these outputs not at all
        return []
    if candidates is None:
        return []
    names, size = exam.manifest.label_names, np.array([known.frame.width, known.frame.height] * 2, np.float64)
    made = []
    for label in {item.label for item in known.expect} & set(names):
        boxes = np.array([item.box_norm for item in known.expect if item.label == label and item.box_norm is not None])
        found = _distinct(candidates, names.index(label), len(boxes), exam.manifest.thresholds.min_score)
        if len(found) == len(boxes) > 0:
            wanted = run.letterbox.to_network((boxes * size).astype(np.float32))
            pairs = zip(_ordered(wanted), _ordered(found), strict=True)
            made += [Pair(_centred(one), _centred(other)) for one, other in pairs]
    return made


def _distinct(candidates: Candidates, class_id: int, count: int, threshold: float) -> NDArray[np.float64]:
    """The best boxes of a class that do not lie on each other, at most `count`; not clipped, as the head gave them."""
    mine = np.flatnonzero((candidates.class_ids == class_id) & (candidates.scores >= threshold))
    kept: list[NDArray[np.float64]] = []
    for index in mine[np.argsort(-candidates.scores[mine], kind="stable")]:
        box = candidates.boxes[index].astype(np.float64)
        if np.isfinite(box).all() and (not kept or iou(box, np.array(kept)).max() < _SAME):
            kept.append(box)
        if len(kept) == count:
            break
    return np.array(kept).reshape(-1, 4)


def _ordered(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    centers = boxes[:, :2] + boxes[:, 2:]
    return boxes[np.argsort(centers[:, 0] + centers[:, 1] * 1e-3, kind="stable")]


def _centred(box: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]])
