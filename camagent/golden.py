"""Pictures with a known answer: what the float model sees on them, and whether that is what the user says is on them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.frame import Classes, ClassMap, Detections, Frame, Outcome
from camagent.steps import Steps
from firmware_pkg.manifest import Expectation

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
    outcome, counts = steps.decode(outputs, prepared.letterbox)
    expect = tuple(expectations(outcome, steps.manifest.label_names, steps.rule.min_score, frame))
    return Answer(outcome, expect, counts.score_max, _pack(tensor, outputs))


def expectations(outcome: Outcome, labels: Sequence[str], min_score: float, frame: Frame) -> list[Expectation]:
    """An outcome in the manifest's words."""
    match outcome:
        case Detections():
            size = np.array([frame.width, frame.height] * 2, np.float64)
            return [
                Expectation(label=labels[int(i)], score=_share(score), box_norm=_four(box / size))
                for i, score, box in zip(outcome.class_ids, outcome.scores, outcome.boxes, strict=True)
            ]
        case ClassMap():
            shares = outcome.shares(len(labels))
            return [
                Expectation(label=label, score=1.0, share=_share(share))
                for label, share in zip(labels, shares, strict=True)
                if share >= MIN_SHARE
            ]
        case Classes():
            return [Expectation(label=labels[i], score=_share(score)) for i, score in outcome.top(5) if score >= min_score]


def disagreements(declared: Mapping[str, int], seen: Mapping[str, int]) -> list[str]:
    """Sentences for every declared label that is not seen, or less often than declared ("at least")."""
    return [
        f"{label}: {wanted} declared, {seen.get(label, 0)} seen"
        for label, wanted in declared.items()
        if seen.get(label, 0) < wanted
    ]


def _pack(tensor: NDArray[Any], outputs: Sequence[NDArray[Any]]) -> bytes:
    target = io.BytesIO()
    arrays: dict[str, Any] = {"input": tensor, **{f"output{index}": output for index, output in enumerate(outputs)}}
    np.savez(target, allow_pickle=False, **arrays)
    return target.getvalue()


def _share(value: Any) -> float:
    return round(min(1.0, max(0.0, float(value))), 4)


def _four(box: NDArray[np.floating]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (round(float(v), 5) for v in box)
    return (x1, y1, x2, y2)
