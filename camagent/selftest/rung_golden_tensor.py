"""The very tensor of the day the bundle was built, into the backend alone: same answer as then, and does it listen at all?"""

from __future__ import annotations

from camagent.errors import BackendError
from camagent.selftest import raw, statistics
from camagent.selftest.examination import Arrays, Examination, OutOfBudget, textured
from camagent.selftest.known import Known
from camagent.selftest.ladder import Outcome
from camagent.selftest.report import Cause, Tell, TensorFacts, Value
from camagent.selftest.rung_backend import of_error

_ALIKE = 0.98  # cosine; int8 rounds, another runtime adds differently


class GoldenTensorRung:
    """Runs the stored input once, once more, and another input: determinism, constancy, and likeness to the stored outputs."""

    id = "golden-tensor"

    def __init__(self, exam: Examination) -> None:
        self._exam = exam
        self._tensors: list[TensorFacts] = []

    def run(self, tell: Tell) -> Outcome:
        """Three inferences at most."""
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
        first, again = exam.infer(first_input), exam.infer(first_input)
        other = exam.infer(textured(first_input.shape, str(first_input.dtype), first_input, seed=2))
        measured: dict[str, Value] = {
            "deterministic": statistics.same(first, again),
            "follows its input": not statistics.same(first, other),
        }
        found = [raw.invalid(first), raw.stuck(first, other), raw.fickle(first, again)]
        suspects: list[Cause] = [suspect for suspect in found if suspect is not None]
        exam.suspects += suspects
        if known is None or reference is None:
            measured["reference"] = "none in the bundle"
            return Outcome("warn" if suspects else "pass", measured)
        likeness = _likeness(first, reference.outputs)
        measured |= {"picture": known.name, "cosine": [round(value, 4) for value in likeness]}
        exam.reference_likeness = min(likeness, default=0.0)
        exam.reference_outputs = first
        return Outcome("pass" if exam.reference_likeness >= _ALIKE and not suspects else "warn", measured)

    def _fits(self, known: Known) -> bool:
        assert known.reference is not None
        stored = known.reference.input
        wanted = self._exam.open().inputs[0]
        fits = stored.ndim == len(wanted.shape) and str(stored.dtype) == wanted.dtype
        return fits and all(have in (None, side) for have, side in zip(wanted.shape, stored.shape, strict=True))


def _likeness(found: Arrays, wanted: Arrays) -> list[float]:
    if len(found) != len(wanted):
        return [0.0]
    return [statistics.cosine(one, two) for one, two in zip(found, wanted, strict=True)]
