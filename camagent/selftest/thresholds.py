"""Is everything there, only below the threshold?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from camagent.selftest import relations, statistics
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
    squeezed = _squeezed(exam, lower)
    if squeezed:
        evidence |= squeezed
        return cause("int8-head-compressed", evidence, others=("threshold-too-high", "int8-calibration-bad"), change=change,
                     verified=verified, margin=0.5)  # fmt: skip
    if max(score.support for score in lower.scores) < _WEAK:
        others = (*others, "int8-calibration-bad")
    made = cause("threshold-too-high", evidence, others=others, change=change, verified=verified, margin=0.5)
    return replace(made, margin=0.5)


def _squeezed(exam: Examination, lower: Ranked) -> dict[str, float]:
    """How far scores have shrunk against the float model's, or into how few steps, where that can be seen."""
    known = exam.known[0]
    outputs = exam.deployed(known).outputs
    scores = parts_of(exam.manifest.head.name, outputs).flat_scores()
    steps = statistics.distinct(scores)
    few = scores.size >= _MANY and steps <= _STEPS
    expected = sum(item.score for item in known.expect) / len(known.expect) if known.expect else 0.0
    share = lower.scores[0].support / expected if expected else 1.0
    differs = exam.reference_likeness is not None and exam.reference_likeness < relations.ALIKE_BITWISE
    if not (few or (differs and share < _COMPRESSED)):
        return {}
    made = {"different score values": steps, "of": scores.size}
    return made | ({"float model's scores": round(expected, 3), "share that is left": round(share, 3)} if expected else {})
