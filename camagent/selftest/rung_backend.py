"""Does the model open, and does it take what the contract gives it?"""

from __future__ import annotations

import re
from dataclasses import replace

from camagent.errors import BackendError
from camagent.selftest import axis_input
from camagent.selftest.causes import CAUSES
from camagent.selftest.examination import Examination
from camagent.selftest.ladder import Outcome
from camagent.selftest.naming import cause
from camagent.selftest.report import Cause, Change, Tell, Value

# what runtimes say -> what it means; the first that fits. RKNN's messages are documented in shared
# reference/empty_detection_faults.md section 1.
_WORDS: tuple[tuple[str, str], ...] = (
    (r"hung|come back", "npu-hung"),
    (r"version|not match", "runtime-version-mismatch"),
    (r"submit", "npu-submit-failed"),
    (r"malloc|memory|alloc|\b-4\b", "memory-exhausted"),
    (r"permission|denied|EACCES", "npu-permission-denied"),
    (r"no backend|cannot be loaded|no module|librknnrt|runtime that it needs", "npu-runtime-missing"),
    (r"no such device|ENODEV|no npu", "npu-absent"),
    (r"magic|protobuf|parse|truncated|cannot load|damaged|whole", "model-file-bad"),
    (r"\bNone\b|return|-1\b|failed", "npu-submit-failed"),
)


class BackendRung:
    """Opens the model and compares its declared input with the manifest's."""

    id = "backend"

    def __init__(self, exam: Examination) -> None:
        self._exam = exam

    def run(self, tell: Tell) -> Outcome:
        """No inference."""
        tell("opening the model")
        exam = self._exam
        try:
            bench = exam.open()
        except BackendError as exc:
            return Outcome("fail", {"code": exc.code, "what": exc.what, **exc.evidence}, (of_error(exc),))
        artifact = exam.case.bundle.artifact
        measured: dict[str, Value] = {
            "backend": artifact.backend, "bytes": len(exam.case.bundle.model),
            "inputs": [f"{spec.name} {_sides(spec.shape)} {spec.dtype}" for spec in bench.inputs],
            "outputs": [f"{spec.name} {_sides(spec.shape)} {spec.dtype}" for spec in bench.outputs],
        }  # fmt: skip
        measured |= {"versions": list(bench.warnings)} if bench.warnings else {}
        if axis_input.allowed(exam.manifest.input, bench.inputs):
            return Outcome("warn" if bench.warnings else "pass", measured)
        return self._misfit(measured)

    def _misfit(self, measured: dict[str, Value]) -> Outcome:
        exam = self._exam
        inputs = exam.open().inputs
        spec = exam.manifest.input
        shape = (1, 3, spec.height, spec.width) if spec.layout == "nchw" else (1, spec.height, spec.width, 3)
        measured["manifest"] = f"{_sides(shape)} {spec.dtype} ({spec.layout})"
        evidence = {"manifest": measured["manifest"], "model": "; ".join(measured["inputs"])}
        variant = axis_input.from_model(exam.manifest, inputs)
        if variant is None:
            return Outcome("fail", measured, (cause("aux-input-wrong", evidence, others=("model-file-bad",), ask=True),))
        exam.follow(variant.manifest)
        change = Change(manifest=variant.manifest, words=variant.words)
        bytes_wanted = inputs[0].dtype == "uint8" and exam.case.bundle.manifest.input.dtype != "uint8"
        others = ("preprocess-also-in-graph", "dtype-mismatch") if bytes_wanted else ()
        proof = {**evidence, "change": variant.words}
        exam.suspects.append(cause(variant.cause, proof, others=others, change=change, margin=1.0))
        return Outcome("fail", measured)


def of_error(exc: BackendError) -> Cause:
    """What a runtime's failure stands for."""
    named = exc.code.lower().replace("_", "-")  # where the backend itself knows why, its code is the cause's name
    said = " ".join([exc.code, exc.what, *(str(value) for value in exc.evidence.values())])
    by_words = (name for words, name in _WORDS if re.search(words, said, re.IGNORECASE))
    evidence = {"what": exc.what, **exc.evidence}
    if named in CAUSES:
        return replace(cause(named, evidence, margin=1.0), fix=exc.fix)
    return cause(next(by_words, "model-file-bad"), {"the runtime says": exc.what, **exc.evidence}, margin=1.0)


def _sides(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if side is None else str(side) for side in shape)
