"""The result of a comparison: numbers per model, warnings, and the document that `--json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camagent.comparing.tally import Tally

_STEPS = 255  # of 8 bits
_FINE = 1 / 128  # a step that scores can live with
_COLLAPSED = 0.5  # of the reference's best score


@dataclass(frozen=True, slots=True)
class Row:
    """One model against the reference, in numbers. None where there is nothing to count."""

    name: str
    cosine: float | None  # the lowest mean of its outputs
    map: float | None
    map50: float | None
    seen: int
    lost: int
    faded: int
    gained: int
    iou: float | None  # mean and smallest of the pairs
    lowest_iou: float | None
    score_change: float | None  # largest, without its sign
    same_pixels: float | None
    mean_iou: float | None
    same_first: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """`rows` and `tallies` in the order of the command line, without the reference. `objects`: that the reference sees."""

    reference: Tally
    tallies: Sequence[Tally]
    pictures: int
    objects: int | None
    min_score: float | None

    @property
    def rows(self) -> list[Row]:
        """One per model."""
        return [_row(tally) for tally in self.tallies]

    @property
    def warnings(self) -> list[str]:
        """Sentences about what 8 bits did."""
        return [sentence for tally in self.tallies for sentence in _warnings(tally, self.reference)]

    def document(self) -> dict[str, Any]:
        """camagent.compare/1."""
        return {
            "schema": "camagent.compare/1", "reference": self.reference.name, "pictures": self.pictures,
            "objects": self.objects, "min_score": self.min_score,
            "reference_scores": {"max": round(self.reference.score_max, 4), "histogram": self.reference.histogram.tolist()},
            "models": [_model(row, tally) for row, tally in zip(self.rows, self.tallies, strict=True)],
            "warnings": self.warnings,
        }  # fmt: skip


def _model(row: Row, tally: Tally) -> dict[str, Any]:
    numbers = {name: _rounded(getattr(row, name)) for name in Row.__slots__ if name != "cosine"}
    outputs = [
        {"name": one.name, "cosine": _rounded(_mean(one.cosines)), "lowest_cosine": _rounded(min(one.cosines, default=None)),
         "levels": one.levels}
        for one in tally.outputs
    ]  # fmt: skip
    scores = {"max": round(tally.score_max, 4), "histogram": tally.histogram.tolist()}
    return {**numbers, "eight_bits": tally.eight_bits, "outputs": outputs, "scores": scores}


def _row(tally: Tally) -> Row:
    found = tally.precision()
    ious = [float(one) for agreed in tally.agreements for one in agreed.ious]
    changes = [abs(float(one)) for agreed in tally.agreements for one in agreed.score_changes]
    cosines = [float(np.mean(one.cosines)) for one in tally.outputs if one.comparable and one.cosines]
    return Row(
        tally.name, min(cosines, default=None), found.map if found else None, found.map50 if found else None,
        sum(len(one.pairs) for one in tally.agreements), sum(len(one.lost) for one in tally.agreements),
        sum(len(one.faded) for one in tally.agreements), sum(len(one.gained) for one in tally.agreements),
        _mean(ious), min(ious, default=None), max(changes, default=None),
        _mean(tally.same_pixels), _mean(tally.mean_ious), _mean(tally.same_first),
    )  # fmt: skip


def _warnings(tally: Tally, reference: Tally) -> list[str]:
    if not tally.eight_bits:
        return []
    made = []
    step = (tally.outputs[0].high - tally.outputs[0].low) / _STEPS if len(tally.outputs) == 1 else 0.0
    if tally.agreements and step > _FINE:
        made.append(
            f"{tally.name} has boxes and scores in one 8-bit tensor: a step of it is {step:.2g}, "
            f"so {1 + round(1 / step)} values are all that scores of 0 to 1 can have; 'camagent model optimize --passes "
            "split-heads' gives each an output of its own, where the graph allows it"
        )
    if tally.agreements and tally.score_max < reference.score_max * _COLLAPSED:
        made.append(
            f"{tally.name}'s best score is {tally.score_max:.3f} where the float model's is {reference.score_max:.3f}: "
            "8 bits left little of the scores"
        )
    return made


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _rounded(value: Any) -> Any:
    return round(value, 5) if isinstance(value, float) else value
