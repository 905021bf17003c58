"""The very tensor of the day the bundle was built, into the backend alone: same answer as then, and does it listen at all?"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from camagent.errors import BackendError
from camagent.pipeline import prepare
from camagent.selftest import raw, relations, statistics, truncation
from camagent.selftest.examination import Arrays, Examination, OutOfBudget, textured
from camagent.selftest.known import Known
from camagent.selftest.ladder import Outcome
from camagent.selftest.report import Cause, Tell, TensorFacts, Value
from camagent.selftest.rung_backend import of_error


class GoldenTensorRung:
    """Runs the stored input once, once more, and another input: determinism, constancy, and likeness to the stored outputs."""

    id = "golden-tensor"

    def __init__(self, exam: Examination) -> None:
        self._exam = exam
        self._tensors: list[TensorFacts] = []

    def run(self, tell: Tell) -> Outcome:
        """Two inferences where all is well, one of which the next rung needs as well; up to six where it is not."""
        exam = self._exam
        if not exam.opened:
            return Outcome("skip", {"why": "no model runs"})
        tell("the golden tensor")
        known = next((known for known in exam.known if known.reference is not None and self._fits(known)), None)
        try:
            return self._compare(known)
        except BackendError as exc:
            return Outcome("fail", {"code": exc.code, "what": exc.what, **exc.evidence}, (of_error(exc),))
        except OutOfBudget:
            return Outcome("skip", {"why": "no inference is left"})

    def _compare(self, known: Known | None) -> Outcome:
        exam = self._exam
        spec = exam.manifest.input
        shape = (1, 3, spec.height, spec.width) if spec.layout == "nchw" else (1, spec.height, spec.width, 3)
        reference = known.reference if known else None
        first_input = reference.input if reference else textured(shape, spec.dtype, None)
        first, again = exam.infer(first_input), self._again(known, first_input)
        other = exam.infer(textured(first_input.shape, str(first_input.dtype), first_input, 2))
        exam.noise_outputs = other
        stuck = self._stuck(first_input, other) if statistics.same(first, other) else None
        measured: dict[str, Value] = {"deterministic": statistics.same(first, again), "follows its input": stuck is None}
        suspects = [one for one in (raw.invalid(first), stuck, raw.fickle(first, again)) if one is not None]
        exam.suspects += suspects
        if known is None or reference is None:
            measured["reference"] = "none in the bundle"
            return Outcome("warn" if suspects else "pass", measured)
        likeness = relations.likeness(exam.manifest.head.name, first, reference.outputs)
        measured |= {"picture": known.name, "likeness": {part: round(value, 4) for part, value in likeness.items()}}
        exam.reference_likeness = min(likeness.values(), default=0.0)
        exam.reference_known, exam.reference_outputs = known, first
        return Outcome("pass" if exam.reference_likeness >= relations.ALIKE and not suspects else "warn", measured)

    def _again(self, known: Known | None, tensor: NDArray[Any]) -> Arrays:
        """The same input once more: the golden picture itself, where it still gives the stored tensor bit for bit."""
        if known is not None and statistics.same([prepare(known.frame, self._exam.manifest.input).tensor], [tensor]):
            return self._exam.deployed(known).outputs
        return self._exam.infer(tensor)

    def _stuck(self, tensor: NDArray[Any], other: Arrays) -> Cause | None:
        """A third input: does it get the answer of the two before it, too?"""
        another = self._exam.infer(textured(tensor.shape, str(tensor.dtype), tensor, 3))
        stuck = raw.stuck(other, another)
        return None if stuck is None else truncation.explain(self._exam, tensor) or stuck

    def _fits(self, known: Known) -> bool:
        assert known.reference is not None
        stored = known.reference.input
        return self._exam.open().inputs[0].takes(stored.shape, str(stored.dtype))
