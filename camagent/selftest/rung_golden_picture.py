"""Pictures with a known answer through the whole chain; where they fail, one assumption is changed at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from camagent.errors import BackendError, LabelCountMismatch
from camagent.selftest import geometry, raw, relations, showing, statistics, structure, thresholds
from camagent.selftest.examination import Examination, OutOfBudget, moved
from camagent.selftest.ladder import Outcome
from camagent.selftest.margin import Score, mean
from camagent.selftest.memory_order import exhausts
from camagent.selftest.naming import cause, of_search, verify_variant
from camagent.selftest.report import MOST_IN_A_SET, Cause, Tell, Trial, Value
from camagent.selftest.rung_backend import of_error
from camagent.selftest.search import Search, search

_WORKS = 0.5  # share of what should be seen that is seen: weak, but not blind
# a model that sees nothing in noise may answer all noise alike
_DOUBTFUL = ("dtype-mismatch", "stale-inference-state", "constant-output")
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
            return Outcome("fail" if mended else "pass", measured, tuple(self._verified(mended, scores)))
        causes, found = self._explain(scores, tell)
        weak = all(score.share >= _WORKS and not score.clutter and score.sane > _WORKS for score in scores)
        if weak and not any(one.fix_verified for one in causes):
            exam.model_trusted = True
            other = relations.weakened(exam, {"seen": [round(score.share, 2) for score in scores]})
            note = {"note": "it sees some of what it should"}
            return Outcome("warn", {**measured, **note}, (other,) if other else (), _trials(found))
        return Outcome("fail", measured, (*self._verified(mended, scores), *causes), _trials(found))

    def _really_stuck(self) -> Cause | None:
        """One answer to two inputs, and the golden picture is right: it may be the first answer for ever."""
        exam = self._exam
        stuck = next((one for one in exam.suspects if one.id in ("stale-inference-state", "constant-output")), None)
        if stuck is None:
            return None
        first, other = exam.known[0], exam.held_back()[0]
        same = statistics.same(exam.deployed(first).outputs, exam.run(other, exam.manifest).outputs)
        return stuck if same else None

    def _verified(self, mended: Sequence[Cause], scores: Sequence[Score]) -> list[Cause]:
        """Causes of a wrong shape: their fix has been in force all along, so the pictures say whether it helps."""
        return [replace(one, fix_verified=all(score.back for score in scores)) for one in mended]

    def _explain(self, scores: Sequence[Score], tell: Tell) -> tuple[list[Cause], Search | None]:
        exam = self._exam
        certain = self._certain()
        if certain is not None:
            return [certain], None
        found = search(exam, tell)
        if not found.winners() and (last := self._last_resort()) is not None:
            return [last], found
        lower = thresholds.candidate(exam, scores)
        winners = found.winners()
        if lower is not None and (not winners or mean(winners[0].scores) < mean(lower.scores) + thresholds.CLEARLY):
            verified = verify_variant(exam, lower.variant, lower.scores)
            return [thresholds.named(exam, lower, winners, verified)], found
        named = self._refined(of_search(exam, found))
        return (named or [self._unexplained(found)]), found

    def _certain(self) -> Cause | None:
        """What the numbers give away without a variant."""
        exam = self._exam
        plain = [one for one in exam.suspects if one.change is None and one.id not in _DOUBTFUL]
        if plain:
            return plain[0]
        runs, head = [exam.deployed(known).outputs for known in exam.known], exam.manifest.head.name
        readable = exam.why_unreadable(exam.known[0]) is None
        best = [exam.best_score(known) for known in exam.known]
        return (
            raw.nothing_at_all(runs)
            or (raw.integers(head, runs) if readable else None)
            or (raw.silent_scores(head, runs, best) if readable else None)
            or relations.explain(exam)
        )

    def _last_resort(self) -> Cause | None:
        """What is only certain once no variant has brought anything back."""
        exam = self._exam
        stuck = next((one for one in exam.suspects if one.id in ("stale-inference-state", "constant-output")), None)
        shaped = geometry.explain(exam)
        if shaped is None and exam.why_unreadable(exam.known[0]) is None:
            shaped = geometry.drifted(exam)
        runs = [exam.deployed(known).outputs for known in exam.known]
        return stuck or shaped or self._by_look() or raw.floored(exam.manifest, runs)

    def _by_look(self) -> Cause | None:
        """Padding between rows loses the end of an output, so nothing may come back; the rest looks like the family again."""
        exam = self._exam
        run = exam.deployed(exam.known[0])
        now = structure.signature(exam.manifest, run.outputs)
        if now >= structure.STRANGE or exam.why_unreadable(exam.known[0]) is not None:
            return None
        ways = {words: name for output in run.outputs for words, name, _ in exhausts(output)}
        looks = {words: structure.signature(exam.manifest, moved(run, words).outputs) for words in ways}
        best = max(looks, key=lambda words: looks[words], default="")
        if not best or looks[best] < now + structure.JUMP:
            return None
        evidence = {"outputs": best, "looks like the head's family": f"{now:.0%} -> {looks[best]:.0%}"}
        others = ("output-transposed", "output-stride-or-layout")
        return cause(ways[best], evidence, others=others, margin=0.8)

    def _refined(self, named: list[Cause]) -> list[Cause]:
        """What the outputs or an earlier rung say besides: another name for the same thing."""
        exam = self._exam
        runs = [exam.deployed(known).outputs for known in exam.known]
        background = raw.all_background(exam.manifest.head.name, runs)
        if background is not None:
            return [replace(named[0], alternatives=_with(named[0], background.id)), *named[1:]] if named else [background]
        dtype = next((one for one in exam.suspects if one.id == "dtype-mismatch"), None)
        if dtype is None:
            return named
        if not named:
            return [dtype]
        first = named[0]
        proof = {**dtype.evidence, **first.evidence}
        return [
            cause(dtype.id, proof, others=(first.id, *first.alternatives), change=first.change, verified=first.fix_verified)
        ]

    def _unexplained(self, found: Search) -> Cause:
        """No contract brings the answer back: the model, its weights or its arithmetic; a device cannot tell which."""
        exam = self._exam
        unreadable = exam.why_unreadable(exam.known[0])
        if unreadable is not None:
            proof = {"what": unreadable.what, **unreadable.evidence}
            if isinstance(unreadable, LabelCountMismatch):
                return cause("class-count-mismatch", proof, others=("head-family-mismatch",), margin=1.0)
            return cause("head-family-mismatch", proof, others=("output-transposed", "class-count-mismatch"), margin=1.0)
        best = max((entry.margin for entry in found.ranked), default=-1.0)
        evidence: dict[str, Value] = {"variants tried": len(found.ranked), "best margin": round(best, 3)}
        if exam.reference_likeness is not None:
            evidence["likeness to the stored outputs"] = round(exam.reference_likeness, 4)
        others = ("int8-calibration-bad", "mean-std-wrong")
        return relations.weakened(exam, evidence) or cause("wrong-or-untrained-weights", evidence, others=others, ask=True)

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
