"""Pictures with a known answer: what the float model sees on them, and whether a camera's model sees the same."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.backends import BackendOptions
from camagent.boxes import Box, overlap
from camagent.errors import InputError
from camagent.filters import FilterRule
from camagent.frame import Classes, ClassMap, Detections, Frame, Outcome, Part, outcome_parts
from camagent.inputs import picture_frame
from camagent.models import UsableBundle
from camagent.steps import Steps
from firmware_pkg.errors import GoldenFailed
from firmware_pkg.manifest import Expectation, Golden

SHARE_TOLERANCE = 0.05  # of the picture's area, by which a quantised model's class may differ
FILL_TOLERANCE = 0.25  # of its box, by which a quantised model's instance mask may differ: coefficients of 0 fill nothing
MIN_SHARE = 0.01  # a class of a semantic map that covers less is not "seen"


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a model said to one picture, and the tensors that said it."""

    outcome: Outcome
    expect: tuple[Expectation, ...]
    score_max: float
    reference: bytes  # .npz with `input`, `output0` ..

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each label was seen."""
        return Counter(item.label for item in self.expect)


def answer(steps: Steps, frame: Frame) -> Answer:
    """Runs one picture through the steps and keeps the very tensors, so that no later change of `input` touches them."""
    prepared = steps.prepare(frame)
    tensor = prepared.tensor.copy()
    outputs = steps.backend.infer(tensor)
    sifted = steps.decode(outputs, prepared.letterbox)
    expect = tuple(expectations(sifted.outcome, steps.manifest.label_names, steps.rule.min_score, frame))
    return Answer(sifted.outcome, expect, sifted.counts.score_max, _pack(tensor, outputs))


def expectations(outcome: Outcome, labels: Sequence[str], min_score: float, frame: Frame) -> list[Expectation]:
    """An outcome in the manifest's words."""
    return [item for part in outcome_parts(outcome) for item in _expected(part, labels, min_score, frame)]


def _expected(part: Part, labels: Sequence[str], min_score: float, frame: Frame) -> list[Expectation]:
    match part:
        case Detections():
            return _boxes(part, labels, frame)
        case ClassMap():
            shares = part.shares(len(labels))
            return [
                Expectation(label=label, score=1.0, share=_share(share))
                for label, share in zip(labels, shares, strict=True)
                if share >= MIN_SHARE
            ]
        case Classes():
            return [Expectation(label=labels[i], score=_share(score)) for i, score in part.top(5) if score >= min_score]


def _boxes(found: Detections, labels: Sequence[str], frame: Frame) -> list[Expectation]:
    """With its mask's share of the picture, where an object has a mask."""
    size = np.array([frame.width, frame.height] * 2, np.float64)
    area = frame.width * frame.height
    masked = [_share(mask.pixels().sum() / area) for mask in found.masks]
    shares: Sequence[float | None] = masked or [None] * len(found)
    return [
        Expectation(label=labels[int(i)], score=_share(score), box_norm=_four(box / size), share=share)
        for i, score, box, share in zip(found.class_ids, found.scores, found.boxes, shares, strict=True)
    ]


def disagreements(declared: Mapping[str, int], seen: Mapping[str, int]) -> list[str]:
    """Sentences for every declared label that is not seen, or less often than declared ("at least")."""
    return [
        f"{label}: {wanted} declared, {seen.get(label, 0)} seen"
        for label, wanted in declared.items()
        if seen.get(label, 0) < wanted
    ]


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """How a model did on one golden picture. `recall`: share of what the float model saw that is seen again, 0..1."""

    image: str
    recall: float
    seen: Mapping[str, int]
    missing: tuple[str, ...]  # sentences: declared and not seen
    score_max: float


def check(steps: Steps, golden: Sequence[Golden], files: Mapping[str, bytes]) -> tuple[GoldenResult, ...]:
    """Runs every golden picture the whole way: decode, preprocess, backend, head, filters.

    Args:
        steps: the model under test.
        golden: the manifest's entries.
        files: the pictures' verified bytes.

    Raises:
        GoldenFailed: less than `min_recall` of what the float model saw is seen, a declared label is missing, or a picture
            cannot be decoded.
        BackendError: the model fails on one.
    """
    results = tuple(_check_one(steps, entry, files[entry.image]) for entry in golden)
    for entry, result in zip(golden, results, strict=True):
        if result.recall < entry.min_recall or result.missing:
            raise _failed(steps, entry, result)
    return results


def test(bundle: UsableBundle, options: BackendOptions) -> dict[str, str | int | float]:
    """Opens a bundle's model, warms it up and shows it its golden pictures: what was measured, for the checklist.

    Raises:
        CodedError: BackendError, HeadMismatch, LabelCountMismatch, ModelMismatch, GoldenFailed: it may not run.
    """
    manifest = bundle.manifest
    rule = FilterRule(manifest.thresholds.min_score, manifest.thresholds.nms_iou)
    steps = Steps(bundle, rule, options)
    try:
        steps.warm_up()
        results = check(steps, manifest.golden, bundle.golden)
    finally:
        steps.close()
    if not results:
        return {"pictures": 0, "note": "the bundle has no golden picture: only that its model opens and runs was tested"}
    seen: Counter[str] = Counter()
    for result in results:
        seen.update(result.seen)
    return {"pictures": len(results), "recall": round(min(result.recall for result in results), 3), "seen": _listed(seen)}


def _check_one(steps: Steps, entry: Golden, picture: bytes) -> GoldenResult:
    try:
        frame = picture_frame(picture, entry.image)
    except InputError as exc:
        raise GoldenFailed(
            f"the golden picture {entry.image} cannot be decoded",
            evidence={"cause": exc.what} | dict(exc.evidence),
            fix=exc.fix,
        ) from exc
    prepared = steps.prepare(frame)
    sifted = steps.decode(steps.backend.infer(prepared.tensor), prepared.letterbox)
    found = expectations(sifted.outcome, steps.manifest.label_names, steps.rule.min_score, frame)
    seen = Counter(item.label for item in found)
    missing = tuple(disagreements(entry.declared, seen))
    return GoldenResult(entry.image, recall(entry.expect, found, entry.min_iou), seen, missing, sifted.counts.score_max)


def recall(expected: Sequence[Expectation], found: Sequence[Expectation], min_iou: float) -> float:
    """Share of the expected objects that were found: same label and, where there are boxes, IoU >= min_iou; 1 for none."""
    left = list(found)
    hits = 0
    for item in sorted(expected, key=lambda item: -item.score):
        fitting = [other for other in left if other.label == item.label and _alike(item, other, min_iou)]
        if fitting:
            hits += 1
            left.remove(max(fitting, key=lambda other: _iou(item, other)))
    return hits / len(expected) if expected else 1.0


def _alike(item: Expectation, other: Expectation, min_iou: float) -> bool:
    if item.share is not None and item.box_norm is None:
        return other.box_norm is None and other.share is not None and abs(item.share - other.share) <= SHARE_TOLERANCE
    return item.box_norm is None or (_iou(item, other) >= min_iou and _fills(item, other))


def _fills(item: Expectation, other: Expectation) -> bool:
    """Whether the mask fills its box as far as it did; true where none was expected."""
    if item.share is None or item.box_norm is None or other.box_norm is None:
        return True
    fill, now = _fill(item.share, item.box_norm), _fill(other.share, other.box_norm)
    return abs(fill - now) <= FILL_TOLERANCE


def _fill(share: float | None, box: Box) -> float:
    area = (box[2] - box[0]) * (box[3] - box[1])
    return (share or 0.0) / area if area > 0 else 0.0


def _iou(item: Expectation, other: Expectation) -> float:
    if item.box_norm is None or other.box_norm is None:
        return 0.0
    return overlap(item.box_norm, other.box_norm)


def _failed(steps: Steps, entry: Golden, result: GoldenResult) -> GoldenFailed:
    expected = Counter(item.label for item in entry.expect)
    return GoldenFailed(
        f"{steps.manifest.name} {steps.manifest.version} does not see on {entry.image} what it should",
        evidence={
            "expected": _listed(expected or entry.declared),
            "seen": _listed(result.seen),
            "recall": f"{result.recall:.2f}, needed {entry.min_recall:g}",
            "declared and missing": "; ".join(result.missing) or "nothing",
            "best score": f"{result.score_max:.3f}, threshold {steps.rule.min_score:g}",
        },
        fix="on the workstation: 'camagent selftest --bundle F' names the setting; then build, sign and install it again",
    )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {label}" for label, count in counts.items()) or "nothing"


def _pack(tensor: NDArray[Any], outputs: Sequence[NDArray[Any]]) -> bytes:
    target = io.BytesIO()
    arrays: dict[str, Any] = {"input": tensor, **{f"output{index}": output for index, output in enumerate(outputs)}}
    np.savez(target, allow_pickle=False, **arrays)
    return target.getvalue()


def _share(value: Any) -> float:
    return round(min(1.0, max(0.0, float(value))), 4)


def _four(box: NDArray[np.floating]) -> Box:
    x1, y1, x2, y2 = (round(float(v), 5) for v in box)
    return (x1, y1, x2, y2)
