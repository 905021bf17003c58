"""One loaded model under any contract: the steps of a frame's way one by one, for whoever changes one assumption at a time.

`steps.Steps` is the same way under the one manifest that is in force. Here the manifest is an argument, the tensors are kept,
and a runtime that hangs does not take its caller with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from camagent.backends import Backend, BackendOptions, Cautious, open_backend
from camagent.errors import BackendError
from camagent.filters import FilterRule
from camagent.frame import Candidates, Frame, Letterbox, Outcome, Prepared, StageCounts, TensorSpec
from camagent.heads import HEADS, Head, HeadContext, Sighting, build_head
from camagent.preprocess import Preprocessor
from camagent.steps import outcome_of
from firmware_pkg.manifest import InputSpec, Manifest

OPEN_S, INFER_S, CLOSE_S = 120.0, 30.0, 10.0
Arrays = tuple[NDArray[Any], ...]
T = TypeVar("T")


class BackendHung(BackendError):
    """The runtime did not come back."""

    code = "BACKEND_HUNG"


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What a contract makes of one picture's outputs.

    `candidates`: before NMS and filters, network pixels; None for maps and classifications.
    """

    outcome: Outcome
    counts: StageCounts
    candidates: Candidates | None


class Tensors(Protocol):
    """Specs and inference; see `Workbench`."""

    @property
    def inputs(self) -> Sequence[TensorSpec]: ...  # noqa: D102
    @property
    def outputs(self) -> Sequence[TensorSpec]: ...  # noqa: D102
    def infer(self, tensor: NDArray[Any]) -> Arrays: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Workbench:
    """A model in a thread of its own; a call that takes too long raises BackendHung, and the thread is left behind."""

    def __init__(
        self, backend: str, model: bytes, options: BackendOptions, *, infer_s: float = INFER_S, open_s: float = OPEN_S
    ) -> None:
        """Opens the model. Raises BackendError, BackendHung."""
        self._calls: SimpleQueue[tuple[Callable[[], Any], SimpleQueue[Any]] | None] = SimpleQueue()
        self._infer_s = infer_s
        self._hung = False  # a runtime that did not come back once is not waited for again
        self._thread = threading.Thread(target=self._serve, name="workbench", daemon=True)
        self._thread.start()
        self._backend: Backend = self._call(lambda: open_backend(backend, model, options), open_s)
        self.inputs: Sequence[TensorSpec] = self._backend.inputs
        self.outputs: Sequence[TensorSpec] = self._backend.outputs
        self.warnings: Sequence[str] = self._backend.warnings if isinstance(self._backend, Cautious) else ()

    def infer(self, tensor: NDArray[Any]) -> Arrays:
        """Outputs, copied: some runtimes use theirs again. Raises BackendError, also for outputs that are none."""

        def run() -> Arrays:
            found = self._backend.infer(tensor)
            if found is None or any(output is None for output in found):
                raise BackendError(
                    "the runtime gave no outputs", evidence={"returned": "None", "expected": f"{len(self.outputs)} outputs"},
                    fix="check the runtime's return codes and its log",
                )  # fmt: skip
            return tuple(np.array(output) for output in found)

        return self._call(run, self._infer_s)

    def close(self) -> None:
        """Frees the model; waits for it, since a backend may have a process and a folder to take away."""
        self._calls.put((self._backend.close, SimpleQueue()))
        self._calls.put(None)
        if not self._hung:
            self._thread.join(CLOSE_S)

    def _call(self, work: Callable[[], T], timeout_s: float) -> T:
        answers: SimpleQueue[Any] = SimpleQueue()
        self._calls.put((work, answers))
        try:
            failed, value = answers.get(timeout=0 if self._hung else timeout_s)
        except Empty:
            self._hung = True
            raise BackendHung(
                "the runtime does not come back",
                evidence={"waited": f"{timeout_s:g} s", "expected": "an answer within a second or two"},
                fix="restart the device; update driver and runtime",
            ) from None
        if failed is not None:
            raise failed
        done: T = value
        return done

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            work, answers = call
            try:
                answers.put((None, work()))
            except BackendError as exc:
                answers.put((exc, None))
            except BaseException as exc:  # noqa: BLE001  handed to the caller as what it is: a runtime's failure
                answers.put((_as_backend_error(exc), None))


def prepare(frame: Frame, spec: InputSpec) -> Prepared:
    """The network's input under this contract, in memory of its own."""
    prepared = Preprocessor(spec).prepare(frame)
    return Prepared(prepared.tensor.copy(), prepared.letterbox, prepared.pixels.copy())


def head_of(manifest: Manifest, outputs: Sequence[NDArray[Any]], names: Sequence[str] = ()) -> Head:
    """The manifest's decoder for outputs of these very shapes. Raises HeadMismatch or LabelCountMismatch."""
    titles = list(names) + [f"output{index}" for index in range(len(names), len(outputs))]
    specs = [TensorSpec(name, array.shape, str(array.dtype)) for name, array in zip(titles, outputs, strict=False)]
    spec = manifest.input
    context = HeadContext(spec.width, spec.height, len(manifest.labels), specs, manifest.head.params)
    return build_head(manifest.head.name, context)


def read(head: Head, outputs: Sequence[NDArray[Any]], letterbox: Letterbox, rule: FilterRule) -> Reading:
    """Outputs -> what would be published under `rule`."""
    with np.errstate(all="ignore"):  # strange values are what is being looked for
        decoded = head.decode(outputs, rule.min_score)
        sifted = outcome_of(decoded, letterbox, rule)
    boxes = decoded.candidates if isinstance(decoded, Sighting) else decoded
    return Reading(sifted.outcome, sifted.counts, boxes if isinstance(boxes, Candidates) else None)


def heads_for(task: str) -> list[str]:
    """Names of the decoders whose answers belong to this task."""
    return [name for name, (_, _, own) in HEADS.items() if own == task]


def _as_backend_error(exc: BaseException) -> BackendError:
    return BackendError(
        "the runtime failed in a way of its own",
        evidence={"raised": f"{type(exc).__name__}: {exc}", "expected": "outputs, or a BackendError"},
        fix="check the runtime and its log",
    )
