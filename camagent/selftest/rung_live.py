"""Stored live frames through a model that is known to work: is anything seen, and if not, what is wrong with the picture?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from camagent.errors import BackendError, HeadMismatch, LabelCountMismatch
from camagent.frame import Frame
from camagent.pipeline import rgb_frame, rgb_pixels
from camagent.selftest import axis_live, showing, statistics
from camagent.selftest.examination import Examination, OutOfBudget
from camagent.selftest.ladder import Outcome
from camagent.selftest.looked import Looked, look
from camagent.selftest.margin import iou
from camagent.selftest.masks import MASKED, masked_share
from camagent.selftest.naming import cause
from camagent.selftest.report import Cause, Tell, Trial, Value
from camagent.selftest.rung_backend import of_error
from camagent.selftest.statistics import PictureFacts

FRAMES = 6  # that are looked at
_MOSTLY = 4  # frames without anything, of those that are looked at
_HELD, _CONFIRM = 3, 2  # so many other frames a way is tried on, and on so many it must hold: things come and go
_SMALL, _SAME_LEVELS = 32, 2.0  # pixels of a side, and levels: noise is averaged away
_DARK_MEAN, _FLAT = 15.0, 3.0
_SHEAR_GAIN, _SHEAR_PIXELS = 0.2, 2
_MID_GREY, _NEAR_GREY = 128, 16  # what a decoder shows where it has nothing
_DULL = 3.0  # and its chroma, noise included
_GREY, _FADED = 50.0, 0.5  # levels, and share of the known pictures' colour: infrared leaves less; asphalt alone is grey too
_APART, _PLACES = 0.3, 3  # IoU of two places, and how many it takes to tell
_HINT = 0.5  # of the threshold: scores that come so near to it, again and again, are something that is nearly seen
_GAIN = 0.3  # by how much a way must raise the best score: on empty scenes real networks rise by up to 0.28
_ONE_OPINION = 2  # times the gain that a way must have where all frames show the same
_MORE_THINGS = 0.02  # share of a map that is not background: enough to blame the picture for


class LiveRung:
    """Nothing is accused that does not come back when it is undone, on frames that it was not chosen by."""

    id = "live"

    def __init__(self, exam: Examination) -> None:
        self._exam = exam

    def run(self, tell: Tell) -> Outcome:
        """One inference per frame where something is seen."""
        exam = self._exam
        frames = exam.case.live.frames[:FRAMES] if exam.case.live else ()
        if not frames or not exam.opened:
            return Outcome("skip", {"why": "no live frames" if exam.opened else "no model runs"})
        tell("live frames")
        facts = [statistics.picture_facts(rgb_pixels(frame, statistics.LOOK)) for frame in frames]
        measured = _measured(facts) | ({"under": "the fix above, in memory"} if exam.under_fix else {})
        try:
            looked = [look(exam, frame) for frame in frames]
        except BackendError as exc:
            return Outcome("fail", {**measured, "code": exc.code, "what": exc.what}, (of_error(exc),))
        except OutOfBudget:
            return Outcome("skip", {**measured, "why": "no inference is left"})
        except (
            HeadMismatch,
            LabelCountMismatch,
            ValueError,
            IndexError,
        ) as exc:  # told by the golden rung
            return Outcome("skip", {**measured, "why": f"the outputs cannot be read: {exc}"})
        exam.live = tuple((one.frame, one.run) for one in looked)
        shown = showing.live(exam, exam.live)
        measured |= {"frames seen on": sum(one.seen for one in looked), "best scores": [round(one.best, 3) for one in looked]}
        unseen = [one for one in looked if not one.seen]
        classified = exam.manifest.task == "classify"  # it names something on every picture, a flat one too
        if len(unseen) == len(looked) or (classified and _picture_cause(facts, damaged=0)):
            found = self._nothing(looked, facts, measured, tell)
        elif len(unseen) >= _MOSTLY and exam.model_trusted:
            found = self._seldom(unseen, measured, tell)
        else:
            found = Outcome("pass", measured)
        return replace(found, exhibits=shown.exhibits, histograms=shown.histograms)

    def _nothing(
        self, looked: Sequence[Looked], facts: Sequence[PictureFacts], measured: dict[str, Value], tell: Tell
    ) -> Outcome:
        exam = self._exam
        plain = self._masked() or _picture_cause(facts, damaged=self._damaged())
        if plain is not None:
            return Outcome("fail", measured, (plain,))
        if not exam.model_trusted:
            return Outcome("warn", {**measured, "note": "nothing is seen; mend the model first, then run again"})
        tell("undoing what may be wrong with the picture")
        try:
            found, trials = self._undo(looked)
        except (BackendError, OutOfBudget) as exc:
            return Outcome("warn", {**measured, "why": f"stopped: {exc or 'no inference is left'}"})
        if found is not None:
            return Outcome("fail", measured, (found,), trials)
        hint = self._nearly(looked, facts)
        if hint is not None:
            return Outcome("warn", measured, (hint,), trials)
        note = "every stage works and nothing is seen: stand in view and watch the best scores rise"
        return Outcome("pass", {**measured, "reason": "healthy-empty", "walk test": note}, trials=trials)

    def _seldom(self, unseen: Sequence[Looked], measured: dict[str, Value], tell: Tell) -> Outcome:
        """Something is seen now and then: a picture that is wrong only weakens. Named where undoing it helps on every other."""
        tell("undoing what may be wrong with the picture")
        try:
            found, trials = self._undo(unseen)
        except (BackendError, OutOfBudget):
            return Outcome("pass", measured)
        return Outcome("fail", measured, (found,), trials) if found else Outcome("pass", measured, trials=trials)

    def _masked(self) -> Cause | None:
        """Privacy masks that leave next to nothing of the picture."""
        camera = self._exam.case.camera
        share = masked_share(camera) if camera is not None else 0.0
        if share < MASKED:
            return None
        evidence = {"masked share of the picture": round(share, 3), "expected": f"less than {MASKED:g}"}
        return cause("mask-or-motion-gate", evidence, margin=1.0)

    def _damaged(self) -> int:
        live = self._exam.case.live
        return live.facts.decoder_errors + live.facts.corrupt if live else 0

    def _undo(self, looked: Sequence[Looked]) -> tuple[Cause | None, tuple[Trial, ...]]:
        """Every way on the frame that comes nearest to something; what helps must hold on the others, too."""
        ranked = sorted(looked, key=lambda one: -one.best)
        first, others = ranked[0], ranked[1 : 1 + _HELD]
        task = self._exam.manifest.task
        ways = axis_live.ways(statistics.picture_facts(rgb_pixels(first.frame, statistics.LOOK)), task)
        tried = [(undo, *self._best(first, undo)) for undo in ways]
        before = first.best
        trials = tuple(Trial(undo.axis, undo.cause, best, undo.fix) for undo, _, best in tried)
        still = _still(first.frame, [one.frame for one in others])
        gain = (_MORE_THINGS if task == "segment" else _GAIN) * (_ONE_OPINION if still else 1)
        able = [(best, undo) for undo, seen, best in tried if seen and best >= before + gain]
        if still and task == "segment":
            return None, trials  # a map makes something of any ground; one picture many times over proves nothing
        for best, undo in sorted(able, key=lambda entry: -entry[0]):
            if not self._holds(undo, others):
                continue  # chance, on the frame that it was chosen by
            rivals = tuple(other.cause for gain, other in able if other.cause != undo.cause and gain >= best - 0.05)
            evidence = {"best score before": round(before, 3), "best score after": round(best, 3), "change": undo.fix,
                        "threshold": self._exam.manifest.thresholds.min_score}  # fmt: skip
            verified = True if others and not still else None
            return cause(undo.cause, evidence, others=rivals, verified=verified, margin=best - before), trials
        return None, trials

    def _holds(self, undo: axis_live.Undo, others: Sequence[Looked]) -> bool:
        """Whether a way helps on most of the other frames, too; no more of them are tried than it takes to know."""
        wanted = min(_CONFIRM, len(others))
        helped = 0
        for left, one in zip(range(len(others), 0, -1), others, strict=True):
            if helped >= wanted or helped + left < wanted:
                break
            helped += self._best(one, undo)[0]
        return helped >= wanted

    def _best(self, before: Looked, undo: axis_live.Undo) -> tuple[bool, float]:
        """Whether anything is seen then, and the best score of all views."""
        views = undo.change(rgb_pixels(before.frame), before.place)
        found = [(view, look(self._exam, rgb_frame(view.pixels))) for view in views]
        return any(one.seen and view.may_be(one.place) for view, one in found), max(one.best for _, one in found)

    def _nearly(self, looked: Sequence[Looked], facts: Sequence[PictureFacts]) -> Cause | None:
        """Something is there again and again, and never enough: this scene is not what the model was trained on."""
        threshold = self._exam.manifest.thresholds.min_score
        near = sum(one.best >= _HINT * threshold for one in looked)
        if near * 2 < len(looked) or not _moves(looked):
            return None
        evidence = {"best scores": [round(one.best, 3) for one in looked], "threshold": threshold}
        golden = [statistics.picture_facts(rgb_pixels(known.frame, statistics.LOOK)).colour for known in self._exam.known]
        then, now = (float(np.median(values or [0.0])) for values in (golden, [fact.colour for fact in facts]))
        evidence["colour of the golden pictures, and now"] = f"{then:.0f}, {now:.0f}"
        grey = now < min(_GREY, _FADED * then)
        name, other = ("night-ir-domain", "view-domain") if grey else ("view-domain", "night-ir-domain")
        return cause(name, evidence, others=(other,), ask=True)


def _still(first: Frame, others: Sequence[Frame]) -> bool:
    """Whether the other frames show the very same: then they are no second opinion."""
    small = rgb_pixels(first, _SMALL).astype(np.float32)
    return all(float(np.abs(small - rgb_pixels(other, _SMALL)).mean()) < _SAME_LEVELS for other in others)


def _moves(looked: Sequence[Looked]) -> bool:
    """Whether what is nearly seen is now here, now there; a spot that looks like something does not move."""
    places = [np.array(one.place) for one in looked if one.place is not None]
    if len(places) < _PLACES:
        return False
    apart = [float(iou(first, second[None])[0]) < _APART for first, second in pairwise(places)]
    return sum(apart) * 2 >= len(apart)


def _picture_cause(facts: Sequence[PictureFacts], *, damaged: int) -> Cause | None:
    """What the pixels alone give away; `damaged`: what the decoder complained of while they were taken."""
    mean, spread = (float(np.median(values)) for values in ([f.luma_mean for f in facts], [f.luma_spread for f in facts]))
    if mean < _DARK_MEAN or spread < _FLAT:
        wanted = f"a mean above {_DARK_MEAN:g} and some contrast"
        evidence: dict[str, Value] = {"luma mean": round(mean, 1), "luma spread": round(spread, 1), "expected": wanted}
        if damaged and abs(mean - _MID_GREY) < _NEAR_GREY and float(np.median([fact.chroma for fact in facts])) < _DULL:
            evidence |= {"damaged": damaged, "luma of a picture that was never received": _MID_GREY}
            return cause("missing-reference-grey", evidence, others=("packet-loss-smear",), margin=1.0)
        return cause("lens-dark-or-covered", evidence, margin=1.0)
    usual = Counter(fact.shear for fact in facts).most_common(1)[0]
    least = _SHEAR_GAIN if usual[1] < len(facts) else _SHEAR_GAIN / 2  # the same in every frame needs less to be believed
    shears = [fact.shear for fact in facts if abs(fact.shear) >= _SHEAR_PIXELS and fact.shear_gain >= least]
    if len(shears) * 2 > len(facts):
        evidence = {"every row is shifted by": int(np.median(shears)), "expected": 0}
        return cause("row-stride-ignored", evidence, others=("frame-geometry-wrong",), margin=1.0)
    return None


def _measured(facts: Sequence[PictureFacts]) -> dict[str, Value]:
    def median(name: str) -> float:
        return round(float(np.median([getattr(fact, name) for fact in facts])), 2)

    names = {"luma mean": "luma_mean", "luma spread": "luma_spread", "chroma": "chroma", "row shift": "shear"}
    return {words: median(name) for words, name in names.items()}
