"""Which head reads a model's outputs: every one that fits is tried on pictures whose content somebody has named.

The measure is the self-test's (margin.py). Heads are read as they are first; only where none of them brings the known answer
back are their params changed, one, then two. Two heads that read the same boxes off the same numbers are one answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from camagent.errors import CodedError, HeadMismatch, HeadUndecided
from camagent.frame import Classes, ClassMap, Detections, Letterbox, Outcome, Scene
from camagent.golden import expectations
from camagent.pipeline import HEADS, FilterRule, HeadFit, TensorSpec, Workbench, fits, head_of, prepare, read, task_of
from camagent.selftest import axis_head, axis_input
from camagent.selftest.axis_head import replaced
from camagent.selftest.known import Known
from camagent.selftest.margin import NOTHING, Score, floor_of, judge, mean
from camagent.selftest.param_table import PARAMS
from camagent.selftest.structure import near_cells, scores_possible
from firmware_pkg.manifest import HeadSpec, InputSpec, Manifest

TIE = 0.06  # margins that are closer say the same
_SAME = 1.0  # pixels by which boxes that are the same may differ
_KEPT = 4  # ways to prepare the input that are looked at more closely

Unreadable = (CodedError, ValueError, IndexError, TypeError, FloatingPointError)  # this head reads these outputs not at all


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What one reading makes of the known pictures. `seen`: per picture, in words."""

    manifest: Manifest
    scores: tuple[Score, ...]
    seen: tuple[str, ...]
    outcomes: tuple[Outcome | None, ...]

    @property
    def back(self) -> bool:
        """The known answer came back on every picture."""
        return bool(self.scores) and all(score.back for score in self.scores)

    @property
    def margin(self) -> float:
        """The mean over the pictures, -1..1."""
        return mean(self.scores)

    @property
    def head(self) -> str:
        """The head with its params, in words."""
        params = ", ".join(f"{key} = {value}" for key, value in self.manifest.head.params.items())
        return self.manifest.head.name + (f" ({params})" if params else "")


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    letterbox: Letterbox
    outputs: tuple[NDArray[Any], ...]


def find(bench: Workbench, draft: Manifest, known: Sequence[Known], task: str | None = None) -> tuple[Sight, tuple[str, ...]]:
    """The reading that sees what it should on every picture, and other heads' names that read the very same.

    Args:
        bench: the open model.
        draft: everything but the head.
        known: pictures with what is declared to be on them.
        task: heads of other tasks are left out.

    Raises:
        HeadMismatch: no head fits the outputs.
        HeadUndecided: none sees what it should, or several do and see different things.
        BackendError: the model fails on a picture.
    """
    runs = _infer(bench, draft, known)
    found = fitting(draft, runs[0].outputs)
    names = [fit.name for fit in found if fit.fits and task in (None, task_of(fit.name))]
    if not names:
        raise _none_fits(found, runs[0].outputs)
    return choose(_read_all(draft, names, known, runs), known)


def fitting(draft: Manifest, outputs: Sequence[NDArray[Any]]) -> tuple[HeadFit, ...]:
    """Every head against outputs as they came out, under the draft's size and labels."""
    specs = [TensorSpec(f"output{index}", array.shape, str(array.dtype)) for index, array in enumerate(outputs)]
    return fits(specs, draft.input.width, draft.input.height, len(draft.labels))


def choose(sights: Sequence[Sight], known: Sequence[Known]) -> tuple[Sight, tuple[str, ...]]:
    """As `find`, of readings that are at hand. Raises HeadUndecided."""
    able = sorted((one for one in sights if one.back), key=lambda one: -one.margin)
    if not able:
        raise _undecided("no head that fits the model's outputs sees on the golden pictures what is declared", sights, known)
    best = able[0]
    rivals = [one for one in able[1:] if one.margin >= best.margin - TIE and one.manifest.head.name != best.manifest.head.name]
    if strangers := [one for one in rivals if not _same(one, best)]:
        what = "more than one head sees on the golden pictures what is declared"
        raise _undecided(what, [best, *strangers], known)
    return best, tuple(dict.fromkeys(one.manifest.head.name for one in rivals))


def explain(bench: Workbench, draft: Manifest, known: Sequence[Known]) -> tuple[Sight, tuple[str, ...]]:
    """As `find`, where how the input is prepared is not known either: usual scales, both colour orders, letterbox and stretch.

    Some twenty inferences on the first picture; the best ways are looked at on all. Raises as `find`.
    """
    names: list[str] = []
    first, sights = known[:1], list[Sight]()
    for spec in preparations(draft.input):
        contract = replaced(draft, input=spec)
        runs = _infer(bench, contract, first)
        if not sights:
            found = fitting(draft, runs[0].outputs)
            names = [fit.name for fit in found if fit.fits]
            if not names:
                raise _none_fits(found, runs[0].outputs)
        sights += [_sight(_with_head(contract, name), first, runs) for name in names]
    sights.sort(key=lambda one: (-one.back, -one.margin))
    specs = list(dict.fromkeys(one.manifest.input for one in sights))[:_KEPT]
    closer: list[Sight] = []
    for spec in specs:
        contract = replaced(draft, input=spec)
        closer += _read_all(contract, names, known, _infer(bench, contract, known))
    return choose(closer, known)


def preparations(spec: InputSpec) -> Iterator[InputSpec]:
    """The declared way to prepare a picture, then the usual ones."""
    tried: list[InputSpec] = []
    norms = [(spec.scale, spec.mean, spec.std)]
    if spec.dtype != "uint8":
        norms += [(one.scale, one.mean, one.std) for one in axis_input.CONVENTIONS]
    for scale, mean_, std in norms:
        for color in (spec.color, "bgr" if spec.color == "rgb" else "rgb"):
            for resize in dict.fromkeys((spec.resize, "letterbox", "stretch")):
                reverse = color == "bgr" and (scale, mean_, std) != norms[0]  # conventions are written in R, G, B
                m, s = (mean_[::-1], std[::-1]) if reverse else (mean_, std)
                made = msgspec.structs.replace(spec, scale=scale, mean=m, std=s, color=color, resize=resize)
                if made not in tried:
                    tried.append(made)
                    yield made


def _infer(bench: Workbench, draft: Manifest, known: Sequence[Known]) -> list[_Run]:
    runs = []
    for one in known:
        prepared = prepare(one.frame, draft.input)
        runs.append(_Run(prepared.letterbox, bench.infer(prepared.tensor)))
    return runs


def _read_all(draft: Manifest, names: Sequence[str], known: Sequence[Known], runs: Sequence[_Run]) -> list[Sight]:
    """Heads as they are; where none sees what it should, with other params."""
    plain = [_with_head(draft, name) for name in names]
    sights = [_sight(manifest, known, runs) for manifest in plain]
    for variants in (axis_head.params, axis_head.double):
        if any(one.back for one in sights):
            break
        sights += [_sight(one.manifest, known, runs) for manifest in plain for one in variants(manifest, runs[0].outputs)]
    return sights


def _with_head(draft: Manifest, name: str) -> Manifest:
    return replaced(draft, head=HeadSpec(name=name), task=task_of(name))


def _sight(manifest: Manifest, known: Sequence[Known], runs: Sequence[_Run]) -> Sight:
    rows = [_look(manifest, one, run) for one, run in zip(known, runs, strict=True)]
    return Sight(manifest, tuple(row[0] for row in rows), tuple(row[1] for row in rows), tuple(row[2] for row in rows))


def _look(manifest: Manifest, known: Known, run: _Run) -> tuple[Score, str, Outcome | None]:
    iou, floor = manifest.thresholds.nms_iou, floor_of(manifest)
    try:
        head = head_of(manifest, run.outputs)
        score = judge(read(head, run.outputs, run.letterbox, FilterRule(floor, iou)), known, manifest)
        shown = read(head, run.outputs, run.letterbox, FilterRule(manifest.thresholds.min_score, iou)).outcome
        if manifest.head.name in PARAMS:  # families whose structure is known
            possible = scores_possible(manifest, run.outputs)
            score = score.doubted(possible=possible, near=near_cells(manifest, run.outputs, floor))
    except Unreadable as exc:
        return NOTHING, f"cannot read the outputs: {exc}", None
    return score, _words(shown, manifest, known, score), shown


def _words(outcome: Outcome, manifest: Manifest, known: Known, score: Score) -> str:
    found = expectations(outcome, manifest.label_names, manifest.thresholds.min_score, known.frame)
    counts = Counter(item.label for item in found)
    listed = ", ".join(f"{count} {label}" for label, count in counts.most_common(4)) or "nothing"
    more = f" and {len(counts) - 4} other labels" if len(counts) > 4 else ""
    doubt = ", which is not credible" if counts and not score.back and score.share >= 1 else ""
    return listed + more + doubt


def _same(one: Sight, other: Sight) -> bool:
    return all(_alike(a, b) for a, b in zip(one.outcomes, other.outcomes, strict=True))


def _alike(one: Outcome | None, other: Outcome | None) -> bool:
    if isinstance(one, Scene) and isinstance(other, Scene):
        return _alike(one.detections, other.detections) and _alike(one.areas, other.areas)
    if isinstance(one, Detections) and isinstance(other, Detections):
        if len(one.scores) != len(other.scores):
            return False
        close = np.allclose(one.boxes, other.boxes, atol=_SAME) and np.allclose(one.scores, other.scores, atol=0.01)
        return bool(close and (one.class_ids == other.class_ids).all() and len(one.masks) == len(other.masks))
    if isinstance(one, ClassMap) and isinstance(other, ClassMap):
        return bool(np.array_equal(one.ids, other.ids))
    if isinstance(one, Classes) and isinstance(other, Classes):
        return bool(np.allclose(one.scores, other.scores, atol=0.01))
    return False


def _none_fits(found: Sequence[HeadFit], outputs: Sequence[NDArray[Any]]) -> HeadMismatch:
    shapes = ", ".join("x".join(map(str, output.shape)) for output in outputs)
    known = ", ".join(HEADS)
    return HeadMismatch(
        "no head fits the model's outputs with these labels",
        evidence={"outputs": shapes, "heads": known} | {fit.name: fit.why for fit in found if "labels" in fit.why},
        fix="give the label list that the model was trained with; 'camagent model inspect' says what each head wants",
    )


def _undecided(what: str, sights: Sequence[Sight], known: Sequence[Known]) -> HeadUndecided:
    best: dict[str, Sight] = {}
    for one in sorted(sights, key=lambda one: (-one.back, -one.margin)):
        best.setdefault(one.manifest.head.name, one)
    declared = "; ".join(f"{_short(one)}: {', '.join(f'{n} {label}' for label, n in one.declared.items())}" for one in known)
    evidence = {"declared": declared}
    for one in best.values():
        pairs = zip(known, one.seen, strict=True)
        evidence[f"head {one.head}"] = "sees " + "; ".join(f"{_short(picture)}: {seen}" for picture, seen in pairs)
    return HeadUndecided(
        what, evidence=evidence,
        fix="check --color, --scale, --mean, --std, --resize and --min-score ('camagent model inspect --golden' tries the "
        "usual ones), add golden pictures with more on them, or name the head",
    )  # fmt: skip


def _short(known: Known) -> str:
    return known.name.rpartition("/")[2]
