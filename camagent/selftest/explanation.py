"""Golden pictures fail: from the numbers, then from variants, to causes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from camagent.errors import LabelCountMismatch
from camagent.selftest import axis_head, geometry, provider, raw, relations, statistics, structure, thresholds, truncation
from camagent.selftest.examination import Examination, moved
from camagent.selftest.graph_evidence import SCALED
from camagent.selftest.margin import Score, mean
from camagent.selftest.memory_order import exhausts
from camagent.selftest.naming import cause, of_search, verify_variant
from camagent.selftest.report import MOST_IN_A_SET, Cause, Tell, Value
from camagent.selftest.search import Search, search

STUCK = ("stale-inference-state", "constant-output")
_SOME = 0.03  # a score: calibration leaves something, weights that were never trained do not
_LOOKS = 0.5  # like its family, at least, in another order
_OTHER_NUMBERS = frozenset(
    {"board-differs-from-simulator", "wrong-or-untrained-weights", "int8-calibration-bad", "constant-output", "fp16-overflow"}
)
_DOUBTFUL = ("dtype-mismatch", *STUCK)  # a model that sees nothing in noise may answer all noise alike


def explain(exam: Examination, scores: Sequence[Score], tell: Tell) -> tuple[list[Cause], Search | None]:
    """Causes, upstream first, and the search that led to them where one was needed. Raises OutOfBudget, BackendError."""
    named, found = _explain(exam, scores, tell)
    return [_by_versions(exam, one) for one in named], found


def _explain(exam: Examination, scores: Sequence[Score], tell: Tell) -> tuple[list[Cause], Search | None]:
    """See above.

    Numbers come first, for they cost nothing: what they give away needs no variant. Then the search; then, where no variant
    brings the answer back, what is only certain by that.
    """
    certain = provider.explain(exam) or _certain(exam)
    if certain is not None:
        return [certain], None
    found = search(exam, tell)
    winners = found.winners()
    if not winners and (last := _last_resort(exam)) is not None:
        return [last], found
    if winners and winners[0].variant.guessed and (shaped := _shaped(exam)) is not None:
        return [shaped], found
    lower = thresholds.candidate(exam, scores)
    if lower is not None and (not winners or mean(winners[0].scores) < mean(lower.scores) + thresholds.CLEARLY):
        verified = verify_variant(exam, lower.variant, lower.scores)
        return [thresholds.named(exam, lower, winners, verified)], found
    named = _refined(exam, of_search(exam, found))
    if named and named[0].fix_verified is False and winners[0].variant.manifest.input == exam.manifest.input:
        # no other reading changes what the very same tensor gives
        other = relations.weakened(exam, named[0].evidence)
        named = [other] if other is not None else named
    return (named or [_unexplained(exam, found)]), found


def _certain(exam: Examination) -> Cause | None:
    """What the numbers give away without a variant."""
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


def _last_resort(exam: Examination) -> Cause | None:
    """What is only certain once no variant has brought anything back."""
    stuck = next((one for one in exam.suspects if one.id in STUCK), None)
    noise = exam.noise_outputs
    if stuck is not None and noise is not None:  # what answers a picture otherwise than noise does listen
        stuck = stuck if all(statistics.same(noise, exam.deployed(known).outputs) for known in exam.known) else None
    runs = [exam.deployed(known).outputs for known in exam.known]
    return stuck or _shaped(exam) or _by_look(exam) or raw.floored(exam.manifest, runs)


def _shaped(exam: Examination) -> Cause | None:
    """Boxes that are wrong in a telling way."""
    found = geometry.explain(exam)
    return found or (geometry.drifted(exam) if exam.why_unreadable(exam.known[0]) is None else None)


def _by_look(exam: Examination) -> Cause | None:
    """Padding between rows loses the end of an output, so nothing may come back; the rest looks like the family again."""
    run = exam.deployed(exam.known[0])
    now = structure.signature(exam.manifest, run.outputs)
    if now >= structure.STRANGE or exam.why_unreadable(exam.known[0]) is not None:
        return None
    ways = {words: name for output in run.outputs for words, name, _ in exhausts(output)}
    looks = {words: structure.signature(exam.manifest, moved(run, words).outputs) for words in ways}
    best = max(looks, key=lambda words: looks[words], default="")
    if not best or looks[best] < max(now + structure.JUMP, _LOOKS):
        return None
    evidence = {"outputs": best, "looks like the head's family": f"{now:.0%} -> {looks[best]:.0%}"}
    others = ("output-transposed", "output-stride-or-layout")
    return cause(ways[best], evidence, others=others, margin=0.8)


def _refined(exam: Examination, named: list[Cause]) -> list[Cause]:
    """What the outputs or an earlier rung say besides: another name for the same thing."""
    runs = [exam.deployed(known).outputs for known in exam.known]
    background = raw.all_background(exam.manifest.head.name, runs)
    if background is not None and not named:
        return [background]
    if background is not None:
        named = [replace(named[0], alternatives=_with(named[0], background.id)), *named[1:]]
    dtype = next((one for one in exam.suspects if one.id == "dtype-mismatch"), None)
    if dtype is None and named and named[0].id in SCALED:
        dtype = truncation.explain(exam, exam.deployed(exam.known[0]).tensor)
    if dtype is None:
        return named
    if not named:
        return [dtype]
    first = named[0]
    proof = {**dtype.evidence, **first.evidence}
    return [cause(dtype.id, proof, others=(first.id, *first.alternatives), change=first.change, verified=first.fix_verified)]


def _unexplained(exam: Examination, found: Search) -> Cause:
    """No contract brings the answer back: the model, its weights or its arithmetic; a device cannot tell which."""
    unreadable = exam.why_unreadable(exam.known[0])
    if unreadable is not None:
        proof = {"what": unreadable.what, **unreadable.evidence}
        if isinstance(unreadable, LabelCountMismatch):
            outputs = exam.deployed(exam.known[0]).outputs
            fitting = [
                one.manifest.head.name
                for one in axis_head.other_heads(exam.manifest, outputs)
                if axis_head.fits(one.manifest, outputs)
            ]
            proof |= {"heads that take these outputs with these labels": ", ".join(fitting) or "none"}
            first, second = "class-count-mismatch", "head-family-mismatch"
            first, second = (second, first) if fitting else (first, second)
            return cause(first, proof, others=(second,), margin=1.0)
        return cause("head-family-mismatch", proof, others=("output-transposed", "class-count-mismatch"), margin=1.0)
    best = max((entry.margin for entry in found.ranked), default=-1.0)
    evidence: dict[str, Value] = {"variants tried": len(found.ranked), "best margin": round(best, 3)}
    if exam.reference_likeness is not None:
        evidence["likeness to the stored outputs"] = round(exam.reference_likeness, 4)
    other = relations.weakened(exam, evidence)
    if other is not None:
        return other
    names = ("wrong-or-untrained-weights", "int8-calibration-bad", "mean-std-wrong")
    quantised = raw.on_a_grid(exam.manifest.head.name, exam.deployed(exam.known[0]).outputs)
    if quantised and max(exam.best_score(known) for known in exam.known) >= _SOME:
        names = (names[1], names[0], names[2])
    return cause(names[0], evidence, others=names[1:], ask=True)


def _by_versions(exam: Examination, named: Cause) -> Cause:
    """Other numbers than the float model's, on a runtime that itself says its versions do not go together."""
    warnings = exam.open().warnings
    if named.id not in _OTHER_NUMBERS or not warnings or named.fix_verified:
        return named
    proof = {"versions": list(warnings), **named.evidence}
    return cause("runtime-version-mismatch", proof, others=(named.id, *named.alternatives), margin=named.margin, ask=True)


def _with(named: Cause, other: str) -> tuple[str, ...]:
    return (other, *named.alternatives)[: MOST_IN_A_SET - 1] if other not in named.alternatives else named.alternatives
