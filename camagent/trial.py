"""A bundle on trial, as the running process sees it: workers count, the agent's own thread asks for the verdict.

DESIGN section 7: confirmed after 600 inferred frames and 60 s; failed after three inference errors in a row, or at once when
its backend does not open. A dark, empty or absent camera infers nothing, so it neither confirms nor fails anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import Lock

from camagent.errors import CodedError
from firmware_pkg.errors import TrialFailed
from firmware_pkg.slots import Ref

CONFIRM_FRAMES = 600
CONFIRM_S = 60.0
ERRORS_IN_A_ROW = 3


class Trial:
    """One bundle's trial in one process. Methods may be called from any thread."""

    def __init__(self, name: str, ref: Ref, monotonic: Callable[[], float]) -> None:
        """`monotonic`: seconds that never step."""
        self.name, self.ref = name, ref
        self.failure: CodedError | None = None
        self.confirmed = False
        self._monotonic = monotonic
        self._lock = Lock()
        self._frames = 0
        self._began: float | None = None
        self._in_a_row: Counter[str] = Counter()

    def inferred(self, camera: str) -> None:
        """One frame went through the model."""
        with self._lock:
            self._began = self._monotonic() if self._began is None else self._began
            self._frames += 1
            self._in_a_row[camera] = 0

    def erred(self, camera: str, error: CodedError) -> bool:
        """One frame did not; True when that was one too many, and the trial has failed."""
        with self._lock:
            self._in_a_row[camera] += 1
            in_a_row = self._in_a_row[camera]
        if in_a_row < ERRORS_IN_A_ROW:
            return False
        self.fail(
            TrialFailed(
                f"{self.name} {self.ref.version} failed on {in_a_row} frames in a row on camera {camera}",
                evidence={"errors in a row": in_a_row, "allowed": ERRORS_IN_A_ROW - 1, "last": f"{error.code}: {error.what}"}
                | dict(error.evidence),
                fix="run it on a picture of that camera with 'camagent infer', mend it, and install it as a new version",
            )
        )
        return True

    def fail(self, refusal: CodedError) -> None:
        """The model cannot be used at all; the first reason stays."""
        with self._lock:
            self.failure = self.failure or refusal

    @property
    def passed(self) -> bool:
        """True when it has looked long enough without failing."""
        with self._lock:
            if self.failure or self._began is None:
                return False
            return self._frames >= CONFIRM_FRAMES and self._monotonic() - self._began >= CONFIRM_S

    def progress(self) -> dict[str, float]:
        """How far it is, for `bundle/state`."""
        with self._lock:
            seconds = 0.0 if self._began is None else self._monotonic() - self._began
            return {"frames": self._frames, "of_frames": CONFIRM_FRAMES, "seconds": round(seconds, 1), "of_seconds": CONFIRM_S}


def unworkable(exc: BaseException) -> TrialFailed:
    """What came out of the model could not be decoded, filtered or published."""
    return TrialFailed(
        "the model's answer could not be worked on",
        evidence={"cause": f"{type(exc).__name__}: {exc}"},
        fix="run it with 'camagent infer' on a workstation, mend it, and install it as a new version",
    )
