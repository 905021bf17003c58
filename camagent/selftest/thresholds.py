"""Is everything there, only below the threshold?"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from camagent.selftest import raw, relations, statistics
from camagent.selftest.anatomy import parts_of
from camagent.selftest.axis_head import Variant, replaced
from camagent.selftest.examination import Examination
from camagent.selftest.margin import FLOOR, Score
from camagent.selftest.naming import cause
from camagent.selftest.report import Cause, Change
from camagent.selftest.search import PICTURES, Ranked

CLEARLY = 0.1  # by so much another contract must see better than a lower threshold does
_ROOM = 0.9  # the proposed threshold, of the score that must pass it
_WEAK = 0.35  # scores so low on a known picture are hardly what training gave
_COMPRESSED = 0.8  # scores below this share of what the float model gave, and few different ones, are squeezed by int8
_STEPS, _MANY = 64, 300  # so few different scores, of at least so many, are steps


def candidate(exam: Examination, scores: Sequence[Score]) -> Ranked | None:
    """The deployed contract with a threshold that lets the known objects through; None where that lets too much through."""
    chosen = scores[:PICTURES]
    reach = min((score.reach for score in chosen), default=0.0)
    now = exam.manifest.thresholds.min_score
    if not FLOOR < reach < now:
        return None
    lower = round(reach * _ROOM, 3)
    made = replaced(exam.manifest, thresholds=msgspec.structs.replace(exam.manifest.thresholds, min_score=lower))
    variant = Variant("V:threshold", "threshold-too-high", made, f"thresholds.min_score: {now:g} -> {lower:g}")
    pictures = exam.known[:PICTURES]
    at_lower = tuple(exam.score(made, known, exam.deployed(known)) for known in pictures)
    ranked = Ranked(variant, at_lower)
    return ranked if ranked.back else None


def named(exam: Examination, lower: Ranked, rivals: Sequence[Ranked], verified: bool | None) -> Cause:  # noqa: FBT001
    """A threshold that is too high, or scores that int8 has squeezed below it."""
    evidence = {
        "threshold": exam.manifest.thresholds.min_score, "objects score": round(min(s.reach for s in lower.scores), 3),
        "change": lower.variant.words,
    }  # fmt: skip
    change = Change(manifest=lower.variant.manifest, words=lower.variant.words)
    others = tuple(entry.variant.cause for entry in rivals if not entry.variant.more)
    steps = _steps(exam)
    shrunk = _shrunk(exam, lower)
    if steps:
        return cause("int8-head-compressed", evidence | steps | shrunk, others=("threshold-too-high", "int8-calibration-bad"),
                     change=change, verified=verified, margin=0.5)  # fmt: skip
    weak = max(score.support for score in lower.scores) < _WEAK
    if shrunk or (weak and raw.on_a_grid(exam.manifest.head.name, exam.deployed(exam.known[0]).outputs)):
        return cause("int8-calibration-bad", evidence | shrunk, others=("threshold-too-high", "int8-head-compressed"),
                     change=change, verified=verified, margin=0.5)  # fmt: skip
    others = (*others, "int8-calibration-bad") if weak else others
    return cause("threshold-too-high", evidence, others=others, change=change, verified=verified, margin=0.5)


def _steps(exam: Examination) -> dict[str, int]:
    """How few different scores there are, where they are few."""
    scores = parts_of(exam.manifest.head.name, exam.deployed(exam.known[0]).outputs).flat_scores()
    steps = statistics.distinct(scores)
    return {"different score values": steps, "of": scores.size} if scores.size >= _MANY and steps <= _STEPS else {}


def _shrunk(exam: Examination, lower: Ranked) -> dict[str, float]:
    """How far scores have shrunk against the float model's, where the stored outputs differ from today's."""
    known = exam.known[0]
    if not known.expect or exam.reference_likeness is None or exam.reference_likeness >= relations.ALIKE_BITWISE:
        return {}
    expected = sum(item.score for item in known.expect) / len(known.expect)
    share = lower.scores[0].support / expected
    return {"float model's scores": round(expected, 3), "share that is left": round(share, 3)} if share < _COMPRESSED else {}
