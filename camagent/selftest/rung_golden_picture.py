"""Pictures with a known answer through the whole chain; where they fail, one assumption is changed at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from camagent.errors import BackendError
from camagent.selftest import erasure, raw, relations, showing, statistics, stored_input
from camagent.selftest.examination import Examination, OutOfBudget
from camagent.selftest.explanation import STUCK, explain
from camagent.selftest.ladder import Outcome
from camagent.selftest.margin import Score, mean
from camagent.selftest.mask_branch import masks_lost
from camagent.selftest.naming import of_search
from camagent.selftest.report import Cause, Tell, Trial, Value
from camagent.selftest.rung_backend import of_error
from camagent.selftest.search import PICTURES, Ranked, Search
from camagent.selftest.thresholds import CLEARLY

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
        if not exam.known:
            return self._without(tell)
        tell("the golden pictures")
        try:
            found = self._judge(tell)
            shown = showing.golden(exam, found.causes)
            self._go_on(found.causes)
            return replace(found, exhibits=shown.exhibits, histograms=shown.histograms, tensors=shown.tensors)
        except BackendError as exc:
            return Outcome("fail", {"code": exc.code, "what": exc.what, **exc.evidence}, (of_error(exc),))
        except OutOfBudget:
            return Outcome("warn", {"why": "no inference is left"}, undecided="the budget of inferences is used up")

    def _go_on(self, causes: Sequence[Cause]) -> None:
        """Under a fix that was verified the rungs that follow can be climbed: what lies behind the first fault shows, too."""
        made = next((one.change.manifest for one in causes if one.fix_verified and one.change and one.change.manifest), None)
        if made is not None:
            self._exam.follow(made)
            self._exam.model_trusted = self._exam.under_fix = True

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
            stuck = self._really_stuck()
            if stuck is not None:
                return Outcome("fail", measured, (stuck,))
            exam.model_trusted = not mended
            hollow = masks_lost(exam)
            if hollow is not None:
                return Outcome("fail", measured, (*self._verified(mended, scores), hollow))
            causes = self._verified(mended, scores) or self._otherwise_then(scores) or self._beside(tell)
            return Outcome("fail" if causes else "pass", measured, tuple(causes))
        scores = self._failing_first(scores)
        causes, found = explain(exam, scores, tell)
        weak = all(score.share >= _WORKS and not score.clutter and score.sane > _WORKS for score in scores)
        if weak and not any(one.fix_verified for one in causes):
            exam.model_trusted = True
            floor = raw.floored(exam.manifest, [exam.deployed(known).outputs for known in exam.known])
            other = floor or relations.weakened(exam, {"seen": [round(score.share, 2) for score in scores]})
            note = {"note": "it sees some of what it should"}
            return Outcome("warn", {**measured, **note}, (other,) if other else (), _trials(found))
        return Outcome("fail", measured, (*self._verified(mended, scores), *causes), _trials(found))

    def _failing_first(self, scores: Sequence[Score]) -> list[Score]:
        """Variants are chosen by pictures that need one; those that do without are held back."""
        order = sorted(range(len(scores)), key=lambda index: scores[index].back)
        self._exam.known = tuple(self._exam.known[index] for index in order)
        return [scores[index] for index in order]

    def _otherwise_then(self, scores: Sequence[Score]) -> list[Cause]:
        """All is seen; but the stored tensor was made by another contract, and by that one all is seen far better."""
        exam = self._exam
        for variant in stored_input.variants(exam.manifest, exam.known):
            ranked = Ranked(variant, tuple(exam.try_out(variant, exam.known[:PICTURES])))
            if ranked.back and mean(ranked.scores) >= mean(scores[:PICTURES]) + CLEARLY:
                return of_search(exam, Search(tuple(scores[:PICTURES]), (ranked,)))
        return []

    def _beside(self, tell: Tell) -> list[Cause]:
        """All labels are seen; do their boxes lie on the objects?"""
        tell("painting over what was found")
        found = erasure.explain(self._exam)
        return [] if found is None else [found]

    def _really_stuck(self) -> Cause | None:
        """One answer to two inputs, and the golden picture is right: it may be the first answer for ever."""
        exam = self._exam
        stuck = next((one for one in exam.suspects if one.id in STUCK), None)
        if stuck is None:
            return None
        first, other = exam.known[0], exam.held_back()[0]
        same = statistics.same(exam.deployed(first).outputs, exam.run(other, exam.manifest).outputs)
        return stuck if same else None

    def _verified(self, mended: Sequence[Cause], scores: Sequence[Score]) -> list[Cause]:
        """Causes of a wrong shape: their fix has been in force all along, so the pictures say whether it helps."""
        return [replace(one, fix_verified=all(score.back for score in scores)) for one in mended]

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


def _trials(found: Search | None) -> tuple[Trial, ...]:
    if found is None:
        return ()
    return tuple(
        Trial(entry.variant.axis, entry.variant.cause, entry.margin, entry.variant.words) for entry in found.ranked[:_TRIALS]
    )
