"""What two models' answers come to, added up picture by picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.comparing.agreement import Agreement, agreement
from camagent.comparing.average_precision import Precision, precision
from camagent.frame import Candidates, Classes, ClassMap, Detections, Outcome, outcome_parts

BINS = 20  # of a score histogram over 0..1
LOWEST = 0.05  # the score from which candidates are looked at
_Outputs = Sequence[NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What one model makes of one picture: its outputs, and where a head reads them what it sees from LOWEST on."""

    outputs: _Outputs
    outcome: Outcome | None = None
    candidates: Candidates | None = None


@dataclass(slots=True)
class OutputTally:
    """One output against the reference's of the same place and shape.

    `levels`: most distinct values on one picture. `low`, `high`: of all that it gave.
    """

    name: str
    cosines: list[float] = field(default_factory=list)
    levels: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    comparable: bool = True


@dataclass(slots=True)
class Tally:
    """One model against the reference."""

    name: str
    eight_bits: bool
    outputs: list[OutputTally] = field(default_factory=list)
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    score_max: float = 0.0
    agreements: list[Agreement] = field(default_factory=list)
    truth: list[Detections] = field(default_factory=list)
    found: list[Detections] = field(default_factory=list)
    same_pixels: list[float] = field(default_factory=list)  # share of each picture's class map
    mean_ious: list[float] = field(default_factory=list)  # of its classes
    same_first: list[bool] = field(default_factory=list)  # of each classification

    def add(self, reference: Look, own: Look, names: Sequence[str], min_score: float) -> None:
        """One picture more."""
        self._add_outputs(reference.outputs, own.outputs, names)
        self._add_scores(own)
        if reference.outcome is None or own.outcome is None:
            return
        for ours, theirs in zip(outcome_parts(reference.outcome), outcome_parts(own.outcome), strict=True):
            match ours, theirs:
                case Detections(), Detections():
                    self.agreements.append(agreement(ours, theirs, min_score))
                    self.truth.append(_from(ours, min_score))
                    self.found.append(theirs)
                case ClassMap(), ClassMap():
                    self._add_maps(ours, theirs)
                case Classes(), Classes():
                    self.same_first.append(int(ours.scores.argmax()) == int(theirs.scores.argmax()))

    def precision(self) -> Precision | None:
        """Against the reference's objects; None where it sees none."""
        return precision(self.truth, self.found) if self.truth else None

    def _add_outputs(self, reference: _Outputs, own: _Outputs, names: Sequence[str]) -> None:
        if not self.outputs:
            self.outputs = [OutputTally(name) for name in names]
        for index, (tally, output) in enumerate(zip(self.outputs, own, strict=True)):
            tally.levels = max(tally.levels, len(np.unique(output)))
            tally.low, tally.high = min(tally.low, float(output.min())), max(tally.high, float(output.max()))
            other = reference[index] if index < len(reference) and len(reference) == len(own) else None
            tally.comparable &= other is not None and other.shape == output.shape
            if other is not None and tally.comparable:
                tally.cosines.append(cosine(other, output))

    def _add_scores(self, own: Look) -> None:
        if own.candidates is not None:
            self.score_max = max(self.score_max, own.candidates.score_max)
            self.histogram += histogram(own.candidates.scores)
        elif isinstance(own.outcome, Classes):
            best = own.outcome.scores.max(initial=0.0)
            self.score_max = max(self.score_max, float(best))
            self.histogram += histogram(np.array([best]))

    def _add_maps(self, ours: ClassMap, theirs: ClassMap) -> None:
        first, second = (ours.ids, theirs.ids) if ours.ids.shape == theirs.ids.shape else (ours.in_source(), theirs.in_source())
        self.same_pixels.append(float((first == second).mean()))
        shares = [
            ((first == one) & (second == one)).sum() / ((first == one) | (second == one)).sum() for one in np.unique(first)
        ]
        self.mean_ious.append(float(np.mean(shares)))


def cosine(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Of two tensors as vectors, -1..1; 1 where both are nothing but zeros, NaN where one of them has a NaN."""
    a, b = (array.astype(np.float64).ravel() for array in (first, second))
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if lengths == 0.0:
        return 1.0 if not a.any() and not b.any() else 0.0
    return float(a @ b / lengths)


def histogram(scores: NDArray[Any]) -> NDArray[np.int64]:
    """(BINS,) counts over 0..1; scores beyond are counted at the ends."""
    return np.histogram(np.clip(scores, 0.0, 1.0), BINS, (0.0, 1.0))[0].astype(np.int64)


def _from(found: Detections, min_score: float) -> Detections:
    kept = found.scores >= min_score
    return Detections(found.boxes[kept], found.scores[kept], found.class_ids[kept])
