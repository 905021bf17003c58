"""What the model's rungs share: the open model, the pictures with known answers, and what was inferred on them so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.errors import CodedError, HeadMismatch, LabelCountMismatch
from camagent.frame import Frame, Letterbox
from camagent.pipeline import FilterRule, Reading, Workbench, head_of, prepare, read
from camagent.selftest.axis_head import Variant
from camagent.selftest.axis_input import allowed
from camagent.selftest.case import Case
from camagent.selftest.known import Known, held_back, known_pictures
from camagent.selftest.ladder import Count
from camagent.selftest.margin import NOTHING, Score, floor_of, judge
from camagent.selftest.memory_order import INTAKES, exhausts
from camagent.selftest.report import Cause
from camagent.selftest.structure import STRANGE, boxes_possible, near_cells, scores_possible, signature
from firmware_pkg.manifest import Manifest

Arrays = tuple[NDArray[Any], ...]


class OutOfBudget(Exception):
    """No inference is left: what has been found so far has to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One picture through preprocessing and model."""

    tensor: NDArray[Any]
    letterbox: Letterbox
    outputs: Arrays


class Examination:
    """One case under examination. `suspects` are causes that rungs have found in numbers; later rungs read them."""

    def __init__(self, case: Case, count: Count) -> None:
        """Reads the known pictures; opens no model yet."""
        self.case = case
        self.count = count
        self.manifest: Manifest = case.bundle.manifest  # the contract that the rungs go by; a wrong shape is mended on the way
        found, self.problems = known_pictures(case.bundle)
        # a picture with nothing on it cannot come back; an answer that was read from nonsense is none
        self.known = tuple(_sound(known, self.manifest) for known in found if known.wanted)
        self.suspects: list[Cause] = []
        self.live: tuple[tuple[Frame, Run], ...] = ()  # stored live frames that have been inferred
        self.reference_likeness: float | None = None  # cosine of today's outputs and the stored ones for the stored input
        self.reference_known: Known | None = None  # the picture of that stored input
        self.reference_outputs: Arrays | None = None  # today's
        self.noise_outputs: Arrays | None = None  # the answer to an input that is no picture
        self.under_fix = False  # a verified fix is in force in memory
        self.model_trusted = False  # the model sees its golden pictures: what is missing is lost elsewhere
        self._bench: Workbench | None = None
        self._deployed: dict[str, Run] = {}
        self._held_back: tuple[Known, ...] | None = None

    def open(self) -> Workbench:
        """The model, opened once. Raises BackendError."""
        if self._bench is None:
            artifact = self.case.bundle.artifact
            self._bench = Workbench(artifact.backend, self.case.bundle.model, self.case.options)
        return self._bench

    def close(self) -> None:
        """Frees the model."""
        if self._bench is not None:
            self._bench.close()

    @property
    def opened(self) -> bool:
        """True where a model runs."""
        return self._bench is not None

    def held_back(self) -> tuple[Known, ...]:
        """Pictures that no variant is chosen by: those beyond the first two, and a mirrored copy of the fullest."""
        if self._held_back is None:
            fullest = sorted(self.known, key=lambda known: -known.wanted)[:1]
            self._held_back = (*self.known[2:], *map(held_back, fullest))
        return self._held_back

    def infer(self, tensor: NDArray[Any], bench: Workbench | None = None) -> Arrays:
        """One inference, of the model as it is deployed or on another bench. Raises OutOfBudget, BackendError."""
        if not self.count.take():
            raise OutOfBudget
        return (bench or self.open()).infer(tensor)

    def run(self, known: Known, manifest: Manifest, intake: str = "", bench: Workbench | None = None) -> Run:
        """A picture under any contract. Raises OutOfBudget, BackendError."""
        prepared = prepare(known.frame, manifest.input)
        tensor = INTAKES[intake][2](prepared.tensor) if intake else prepared.tensor
        return Run(tensor, prepared.letterbox, self.infer(tensor, bench))

    def deployed(self, known: Known) -> Run:
        """A picture under the contract in force; inferred once. Raises OutOfBudget, BackendError."""
        if known.name not in self._deployed:
            self._deployed[known.name] = self.run(known, self.manifest)
        return self._deployed[known.name]

    def follow(self, manifest: Manifest) -> None:
        """Another contract is in force from here on."""
        self.manifest = manifest
        self._deployed.clear()

    def read(self, manifest: Manifest, run: Run, rule: FilterRule | None = None) -> Reading:
        """Outputs under any contract, at the floor unless a rule says otherwise. Raises HeadMismatch, LabelCountMismatch."""
        names = [spec.name for spec in self.open().outputs]
        rule = rule or FilterRule(floor_of(manifest), manifest.thresholds.nms_iou)
        return read(head_of(manifest, run.outputs, names), run.outputs, run.letterbox, rule)

    def score(self, manifest: Manifest, known: Known, run: Run, exhaust: str = "") -> Score:
        """How well the answer came back; nothing at all where the head cannot read these outputs."""
        run = moved(run, exhaust) if exhaust else run
        try:
            found = judge(self.read(manifest, run), known, manifest)
            possible = scores_possible(manifest, run.outputs) and boxes_possible(manifest, run.outputs)
            near = near_cells(manifest, run.outputs, floor_of(manifest))
        except (
            CodedError,
            ValueError,
            IndexError,
            TypeError,
            FloatingPointError,
        ):  # this reading fits these outputs not at all
            return NOTHING
        return found.doubted(possible=possible, near=near)

    def why_unreadable(self, known: Known) -> CodedError | None:
        """What the deployed head says of these outputs; None where it reads them."""
        try:
            self.read(self.manifest, self.deployed(known))
        except (HeadMismatch, LabelCountMismatch) as exc:
            return exc
        except (CodedError, ValueError, IndexError, TypeError) as exc:
            return HeadMismatch(
                "the head cannot read the outputs", evidence={"cause": f"{type(exc).__name__}: {exc}"}, fix="name another head"
            )
        return None

    def best_score(self, known: Known) -> float:
        """The best score of the deployed contract on a picture, 0 where the head cannot read the outputs."""
        try:
            return self.read(self.manifest, self.deployed(known)).counts.score_max
        except (CodedError, ValueError, IndexError, TypeError):  # told by `score` as nothing seen
            return 0.0

    def try_out(self, variant: Variant, pictures: Sequence[Known]) -> list[Score]:
        """A contract on several pictures, an inference each. Raises OutOfBudget, BackendError."""
        manifest = variant.manifest
        if not allowed(manifest.input, self.open().inputs):
            return [NOTHING for _ in pictures]
        as_deployed = manifest.input == self.manifest.input and not variant.intake
        runs = [self.deployed(known) if as_deployed else self.run(known, manifest, variant.intake) for known in pictures]
        return [self.score(manifest, known, run, variant.exhaust) for known, run in zip(pictures, runs, strict=True)]


def _sound(known: Known, manifest: Manifest) -> Known:
    """Without the stored answer where the stored outputs do not look like the head's at all."""
    if known.reference is None or not known.expect:
        return known
    try:
        outputs = known.reference.outputs
        possible = scores_possible(manifest, outputs) and boxes_possible(manifest, outputs)
        sound = possible and signature(manifest, outputs) >= STRANGE
    except (ValueError, IndexError):  # not even the shapes are this head's
        sound = False
    return known if sound else replace(known, expect=())


def moved(run: Run, exhaust: str) -> Run:
    """The run with its outputs in the memory order that `exhaust` names; those that have no such order stay as they are."""
    outputs = []
    for output in run.outputs:
        ways = {words: made for words, _, made in exhausts(output)}
        outputs.append(ways.get(exhaust, output))
    return Run(run.tensor, run.letterbox, tuple(outputs))


def textured(shape: tuple[int, ...], dtype: str, like: NDArray[Any] | None, seed: int = 1) -> NDArray[Any]:
    """An input that is no picture but has a picture's range: zeros upset some decoders."""
    rng = np.random.default_rng(seed)
    if like is not None and like.size:
        low, high = float(like.min()), float(like.max())
        return (low + rng.random(shape) * (high - low)).astype(dtype)
    return (rng.integers(0, 256, shape) if dtype == "uint8" else rng.random(shape)).astype(dtype)
