"""One assumption changed at a time, then two: which contract brings the known answers back, and what else would.

The outputs are read anew as often as it pays (no inference); inputs are prepared anew within the budget. Variants are ranked
by margin over the pictures; the simplest of those that are equally good is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from camagent.errors import BackendError
from camagent.selftest import axis_head, axis_input, stored_input
from camagent.selftest.axis_head import Variant
from camagent.selftest.examination import Examination, OutOfBudget, Run, moved
from camagent.selftest.known import Known
from camagent.selftest.margin import NOTHING, Score, mean
from camagent.selftest.memory_order import EXCHANGED, INTAKES, exhausts
from camagent.selftest.report import Tell
from camagent.selftest.structure import JUMP, STRANGE, scores_possible, signature

PICTURES = 2  # that variants are chosen by; the others are held back
_TIE = 0.06  # margins that are closer say the same
_STEP = 0.04  # what every further changed assumption must bring
_FACT = 0.1
_KEPT = 4  # inputs that go into the second round


@dataclass(frozen=True, slots=True)
class Ranked:
    """A variant and how it did on the search pictures."""

    variant: Variant
    scores: tuple[Score, ...]

    @property
    def margin(self) -> float:
        """Mean over the pictures, less a little for every further change; what was measured first, what was guessed last."""
        facts = self.variant.measured - self.variant.guessed
        return mean(self.scores) - _STEP * len(self.variant.more) + _FACT * facts

    @property
    def back(self) -> bool:
        """The known answer came back on every picture."""
        return bool(self.scores) and all(score.back for score in self.scores)


@dataclass(frozen=True, slots=True)
class Search:
    """What came of it. `ranked`: best first; `before`: the deployed contract on the same pictures."""

    before: tuple[Score, ...]
    ranked: tuple[Ranked, ...]
    exhausted: bool = False

    def winners(self) -> tuple[Ranked, ...]:
        """Those that bring the answer back, as good as the best of them; best first."""
        able = [entry for entry in self.ranked if entry.back and entry.margin > mean(self.before)]
        return tuple(entry for entry in able if entry.margin >= able[0].margin - _TIE)


def search(exam: Examination, tell: Tell) -> Search:
    """Ranks every reading of the outputs, then inputs, then shifted labels. Raises BackendError."""
    pictures = exam.known[:PICTURES]
    runs = [exam.deployed(known) for known in pictures]
    before = tuple(exam.score(exam.manifest, known, run) for known, run in zip(pictures, runs, strict=True))
    tell("reading the outputs in other ways")
    ranked = _read_anew(exam, pictures, runs)
    exhausted = False
    if not any(_helps(entry, before) for entry in ranked):
        try:
            ranked += _prepare_anew(exam, pictures, tell)
        except OutOfBudget:
            exhausted = True
    if not any(_helps(entry, before) for entry in ranked):  # last: a wrong contract may well say one label for everything
        ranked += [_rank(exam, variant, pictures, runs) for variant in axis_head.shifted_labels(exam.manifest, _said(exam))]
    return Search(before, _sorted(ranked), exhausted)


def _helps(entry: Ranked, before: Sequence[Score]) -> bool:
    """It brings the answer back, and not because nothing is missing on these pictures."""
    return entry.back and not all(score.back for score in before)


def _read_anew(exam: Examination, pictures: Sequence[Known], runs: Sequence[Run]) -> list[Ranked]:
    """Params, families, label counts, memory orders; then two of them at once."""
    manifest, outputs = exam.manifest, runs[0].outputs
    said = _said(exam)

    def rank(variants: Iterable[Variant]) -> list[Ranked]:
        return [_rank(exam, variant, pictures, runs) for variant in variants]

    families = list(axis_head.other_heads(manifest, outputs))
    counted = list(axis_head.counted_labels(manifest, outputs, said))
    ranked = rank([*axis_head.params(manifest, outputs), *counted, *families, *_memory_orders(exam, runs[0])])
    if any(entry.back for entry in ranked):
        return ranked
    ranked += rank(axis_head.double(manifest, outputs))
    for other in families:
        labels = axis_head.counted_labels(other.manifest, outputs, said)
        ranked += rank(other.then(variant) for variant in (*axis_head.params(other.manifest, outputs), *labels))
    for one in counted:
        ranked += rank(one.then(variant) for variant in axis_head.params(one.manifest, outputs))
    return ranked


def _said(exam: Examination) -> list[str]:
    """Labels that somebody says are on a known picture."""
    return list(dict.fromkeys(label for known in exam.known for label in known.declared))


def _memory_orders(exam: Examination, run: Run) -> Iterator[Variant]:
    """Outputs whose memory was taken for another order: only where these numbers have their family's look then, not now."""
    manifest = exam.manifest
    now, sane = signature(manifest, run.outputs), scores_possible(manifest, run.outputs)
    for words, cause in {words: cause for output in run.outputs for words, cause, _ in exhausts(output)}.items():
        if words == EXCHANGED:
            telling = exam.why_unreadable(exam.known[0]) is not None or bool(exam.known[0].expect)
        else:
            then = moved(run, words).outputs
            looks = signature(manifest, then)
            mended = not sane and looks >= max(now, STRANGE) and scores_possible(manifest, then)
            telling = mended or (now < STRANGE and looks >= now + JUMP)
        if telling:
            others = tuple(other for other in ("output-stride-or-layout", "output-transposed") if other != cause)
            others += ("seg-all-background",) if manifest.head.name == "semantic" else ()
            yield Variant(f"V:out-layout {words}", cause, manifest, f"outputs: {words}", others, exhaust=words)


def _rank(exam: Examination, variant: Variant, pictures: Sequence[Known], runs: Sequence[Run]) -> Ranked:
    scores = (exam.score(variant.manifest, known, run, variant.exhaust) for known, run in zip(pictures, runs, strict=True))
    return Ranked(variant, tuple(scores))


def _prepare_anew(exam: Examination, pictures: Sequence[Known], tell: Tell) -> list[Ranked]:
    """One change, then two, until the answer comes back on every picture; only the best of a round see the other pictures."""
    rounds = (
        ("preparing the input in other ways", _singles),
        ("another scale and another colour order at once", _norms_and_colors),
        ("the input's memory in another order", _memory_of_input),
        ("two changes at once", _extended),
    )
    found: list[Ranked] = []
    for words, variants in rounds:
        tell(words)
        tried = _sorted(_try_all(exam, variants(exam, found), pictures[:1], [entry.variant for entry in found]))
        found += _completed(exam, tried, pictures[1:])
        if any(entry.back for entry in found):
            break
    return found


def _completed(exam: Examination, tried: Sequence[Ranked], others: Sequence[Known]) -> list[Ranked]:
    if not others:
        return list(tried)
    best = [replace(one, scores=(*one.scores, *exam.try_out(one.variant, others))) for one in tried[:_KEPT]]
    unseen = tuple(NOTHING for _ in others)
    return best + [replace(one, scores=(*one.scores, *unseen)) for one in tried[_KEPT:]]


def _singles(exam: Examination, found: Sequence[Ranked]) -> Iterator[Variant]:
    del found
    manifest = exam.manifest
    yield from stored_input.variants(exam.manifest, exam.known)
    yield from axis_input.colors(manifest)
    yield from axis_input.norms(manifest)
    yield from axis_input.placements(manifest)
    yield from axis_input.shapes(manifest, exam.open().inputs)


def _norms_and_colors(exam: Examination, found: Sequence[Ranked]) -> Iterator[Variant]:
    del found
    for norm in axis_input.norms(exam.manifest):
        yield from map(norm.then, axis_input.colors(norm.manifest))


def _memory_of_input(exam: Examination, before: Sequence[Ranked]) -> Iterator[Variant]:
    del before
    told = axis_input.layout_is_told(exam.open().inputs)  # the manifest's layout is the model's, then: strides are ignored
    for name, (cause, others, _) in INTAKES.items():
        first, *rest = (*others, cause) if told and cause == "layout-nchw-nhwc" else (cause, *others)
        yield Variant(f"V:memory {name}", first, exam.manifest, f"the tensor's memory: {name}", tuple(rest), intake=name)


def _extended(exam: Examination, found: Sequence[Ranked]) -> Iterator[Variant]:
    """The two best so far, each with every further change of the input."""
    for entry in _sorted(found)[:2]:
        manifest, then = entry.variant.manifest, entry.variant.then
        yield from map(then, axis_input.placements(manifest))
        yield from map(then, axis_input.shapes(manifest, exam.open().inputs))
        yield from map(then, axis_input.colors(manifest))
        yield from map(then, axis_input.norms(manifest))


def _try_all(
    exam: Examination, variants: Iterable[Variant], pictures: Sequence[Known], before: Iterable[Variant]
) -> list[Ranked]:
    """Each distinct input once, read as deployed; where that fails, in the other ways, for the outputs are at hand."""
    found: list[Ranked] = []
    tried = [(exam.manifest, ""), *((one.manifest, one.intake) for one in before)]
    for variant in variants:
        if (variant.manifest, variant.intake) in tried or not axis_input.allowed(variant.manifest.input, exam.open().inputs):
            continue
        tried.append((variant.manifest, variant.intake))
        runs = _runs(exam, variant, pictures)
        if runs is None:
            continue
        plain = _rank(exam, variant, pictures, runs)
        found.append(plain)
        if not plain.back:
            outputs = runs[0].outputs
            readings = (*axis_head.params(exam.manifest, outputs), *axis_head.other_heads(exam.manifest, outputs))
            others = (_rank(exam, variant.beside(reading), pictures, runs) for reading in readings)
            found += [entry for entry in others if entry.back]
    return found


def _runs(exam: Examination, variant: Variant, pictures: Sequence[Known]) -> list[Run] | None:
    """None where a size was guessed and the model, for all its free sides, does not run at it."""
    try:
        return [exam.run(known, variant.manifest, variant.intake) for known in pictures]
    except BackendError:
        if variant.guessed:
            return None
        raise


def _sorted(ranked: Iterable[Ranked]) -> tuple[Ranked, ...]:
    return tuple(sorted(ranked, key=lambda entry: (-entry.back, -entry.margin)))
