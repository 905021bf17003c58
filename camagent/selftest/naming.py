"""Findings -> causes: the words, the evidence, what else it may be, and whether the proposed change brings objects back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from camagent.errors import BackendError
from camagent.selftest.axis_head import Variant
from camagent.selftest.causes import CAUSES
from camagent.selftest.examination import Examination, OutOfBudget
from camagent.selftest.graph_evidence import beginning, weighed
from camagent.selftest.margin import Score, mean
from camagent.selftest.report import MOST_IN_A_SET, Cause, Change
from camagent.selftest.search import Ranked, Search

_HELD = 0.6  # share of the support that must come back on pictures that nobody looked at


def cause(
    name: str, evidence: Mapping[str, Any], *, others: Sequence[str] = (), change: Change | None = None,
    verified: bool | None = None, margin: float = 0.0, ask: bool = False,
) -> Cause:  # fmt: skip
    """A cause by its id, with the catalogue's words. `ask`: this device cannot decide it, so say what to send."""
    known = CAUSES[name]
    alternatives = tuple(dict.fromkeys(other for other in others if other != name))[: MOST_IN_A_SET - 1]
    send = tuple(dict.fromkeys(CAUSES[one].ask for one in (name, *alternatives) if CAUSES[one].ask)) if ask else ()
    return Cause(name, known.layer, known.fix, dict(evidence), alternatives, verified, send, change, margin)


def of_search(exam: Examination, found: Search) -> list[Cause]:
    """The winner of a search as causes, one per changed assumption, its fix tried on pictures that were held back."""
    winners = found.winners()
    if not winners:
        return []
    best = winners[0]
    verified = verify(exam, best)
    lead = best.margin - max([entry.margin for entry in found.ranked if entry not in winners], default=-1.0)
    rivals = [entry.variant.cause for entry in winners[1:] if not entry.variant.more]
    evidence: dict[str, Any] = {
        "margin before": round(mean(found.before), 3), "margin after": round(best.margin, 3),
        "seen before": _seen(found.before), "seen after": _seen(best.scores),
    }  # fmt: skip
    steps = [(best.variant.cause, best.variant.words.split("; ")[0])]
    steps += [(more.cause, more.words) for more in best.variant.more]
    sayable = not (best.variant.intake or best.variant.exhaust)  # no manifest can say how memory is to be read
    change = Change(manifest=best.variant.manifest, words=best.variant.words) if sayable else None
    made = []
    graph = beginning(exam.case.bundle)
    steps, alike = _merged(steps)
    for index, (name, words) in enumerate(dict.fromkeys(steps)):
        others = () if index else (*alike, *best.variant.others, *(rivals if len(steps) == 1 else ()))
        (first, *rest), told = weighed((name, *others), graph, exam.manifest.input, best.variant.manifest.input)
        proof = {"change": words, **told, **evidence}
        made.append(cause(first, proof, others=rest, change=change, verified=verified, margin=lead))
    return made


def _merged(steps: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """Head and label count changed together are one thing: a column that one family has and the other has not."""
    names = [name for name, _ in steps]
    if names == ["objectness-assumed", "class-count-mismatch"]:
        return [("objectness-assumed", "; ".join(words for _, words in steps))], ("head-family-mismatch",)
    if names == ["objectness-assumed"]:
        return [("head-family-mismatch", steps[0][1])], ("objectness-assumed",)
    return steps, ()


def verify(exam: Examination, ranked: Ranked) -> bool | None:
    """Whether the change also brings back pictures that it was not chosen by; None when no inference is left."""
    return verify_variant(exam, ranked.variant, ranked.scores)


def verify_variant(exam: Examination, variant: Variant, scores: Sequence[Score]) -> bool | None:
    """As `verify`, for scores that are at hand."""
    pictures = exam.held_back()
    try:
        held = exam.try_out(variant, pictures)
    except (OutOfBudget, BackendError):
        return None
    support = sum(score.support for score in scores) / max(1, len(scores))
    return all(score.back or (score.share > 0 and score.support >= _HELD * support) for score in held)


def _seen(scores: Sequence[Score]) -> str:
    return ", ".join(f"{score.share:.0%} at {score.support:.2f}" for score in scores)
