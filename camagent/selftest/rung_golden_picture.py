"""Pictures with a known answer through the whole chain; where they fail, one assumption is changed at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from camagent.errors import BackendError
from camagent.selftest import raw, relations, thresholds
from camagent.selftest.examination import Examination, OutOfBudget
from camagent.selftest.ladder import Outcome
from camagent.selftest.margin import Score, mean
from camagent.selftest.naming import cause, of_search, verify_variant
from camagent.selftest.report import MOST_IN_A_SET, Cause, Tell, Trial, Value
from camagent.selftest.rung_backend import of_error
from camagent.selftest.search import Search, search

_WORKS = 0.5  # share of what should be seen that is seen: weak, but not blind
_TRIALS = 40  # rows of the variants table


class GoldenPictureRung:
    """Sees what it should, or says why not."""

    id = "golden-picture"

    def __init__(self, exam: Examination) -> None:
        self._exam = exam

    def run(self, tell: Tell) -> Outcome:
        """One inference per picture where all is well; else as many as the search needs."""
        exam = self._exam
        if not exam.opened:
            return Outcome("skip", {"why": "no model runs"})
        usable = [known for known in exam.known if known.wanted]
        if not usable:
            return self._without(tell)
        tell("the golden pictures")
        try:
            return self._judge(tell)
        except BackendError as exc:
            return Outcome("fail", {"code": exc.code, "what": exc.what, **exc.evidence}, (of_error(exc),))
        except OutOfBudget:
            return Outcome("warn", {"why": "no inference is left"}, undecided="the budget of inferences is used up")

    def _judge(self, tell: Tell) -> Outcome:
        exam = self._exam
        runs = [exam.deployed(known) for known in exam.known]
        scores = [exam.score(exam.manifest, known, run) for known, run in zip(exam.known, runs, strict=True)]
        measured: dict[str, Value] = {
            "pictures": [
                {
                    "name": known.name,
                    "seen": round(score.share, 3),
                    "support": round(score.support, 3),
                    "boxes too many": score.clutter,
                }
                for known, score in zip(exam.known, scores, strict=True)
            ],
            "threshold": exam.manifest.thresholds.min_score,
        }
        mended = [suspect for suspect in exam.suspects if suspect.change is not None]
        if all(score.back for score in scores):
            exam.model_trusted = not mended
            return Outcome("fail" if mended else "pass", measured, tuple(self._verified(mended, scores)))
        causes, found = self._explain(scores, tell)
        weak = all(score.share >= _WORKS and not score.clutter for score in scores)
        if weak and not any(one.fix_verified for one in causes):
            exam.model_trusted = True
            return Outcome("warn", {**measured, "note": "it sees some of what it should"}, trials=_trials(found))
        return Outcome("fail", measured, (*self._verified(mended, scores), *causes), _trials(found))

    def _verified(self, mended: Sequence[Cause], scores: Sequence[Score]) -> list[Cause]:
        """Causes of a wrong shape: their fix has been in force all along, so the pictures say whether it helps."""
        return [replace(one, fix_verified=all(score.back for score in scores)) for one in mended]

    def _explain(self, scores: Sequence[Score], tell: Tell) -> tuple[list[Cause], Search | None]:
        exam = self._exam
        runs = [exam.deployed(known).outputs for known in exam.known]
        head = exam.manifest.head.name
        plain = [suspect for suspect in exam.suspects if suspect.change is None]
        best = [exam.best_score(known) for known in exam.known]
        certain = plain or [one for one in (raw.nothing_at_all(runs), raw.silent_scores(head, runs, best)) if one is not None]
        if certain:
            return certain[:1], None
        related = relations.explain(exam)
        if related is not None:
            return [related], None
        found = search(exam, tell)
        lower = thresholds.candidate(exam, scores)
        winners = found.winners()
        if lower is not None and (not winners or mean(winners[0].scores) < mean(lower.scores) + thresholds.CLEARLY):
            verified = verify_variant(exam, lower.variant, lower.scores)
            return [thresholds.named(exam, lower, winners, verified)], found
        named = of_search(exam, found)
        background = raw.all_background(head, runs)
        if background is not None:
            return [
                background if not named else replace(named[0], alternatives=_with(named[0], background.id)),
                *named[1:],
            ], found
        return (named or [self._unexplained(found)]), found

    def _unexplained(self, found: Search) -> Cause:
        """No contract brings the answer back: the model, its weights or its arithmetic; a device cannot tell which."""
        exam = self._exam
        best = max((entry.margin for entry in found.ranked), default=-1.0)
        evidence: dict[str, Value] = {"variants tried": len(found.ranked), "best margin": round(best, 3)}
        if exam.reference_likeness is not None:
            evidence["cosine to the stored outputs"] = round(exam.reference_likeness, 4)
        trusted = any(known.expect for known in exam.known)
        if trusted and exam.reference_likeness is not None and exam.reference_likeness < relations.ALIKE:
            return relations.weakened(exam, evidence)
        return cause("wrong-or-untrained-weights", evidence, others=("int8-calibration-bad", "mean-std-wrong"), ask=True)

    def _without(self, tell: Tell) -> Outcome:
        """No known answer: only what numbers alone give away."""
        exam = self._exam
        plain = [suspect for suspect in exam.suspects if suspect.change is None]
        reason = "; ".join(exam.problems) or "the bundle has no golden picture with objects on it"
        measured: dict[str, Value] = {"why": reason}
        del tell
        if plain:
            return Outcome("fail", measured, tuple(plain[:1]))
        why = "without a golden picture nothing says what the model should see: build the bundle with --golden"
        return Outcome("skip", {**measured, "advice": why}, tuple(one for one in exam.suspects))


def _with(named: Cause, other: str) -> tuple[str, ...]:
    return (other, *named.alternatives)[: MOST_IN_A_SET - 1] if other not in named.alternatives else named.alternatives


def _trials(found: Search | None) -> tuple[Trial, ...]:
    if found is None:
        return ()
    return tuple(
        Trial(entry.variant.axis, entry.variant.cause, entry.margin, entry.variant.words) for entry in found.ranked[:_TRIALS]
    )
