"""How far a bundle came: one line per thing that is judged, each passed, doubted, refused or not asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from signing.errors import CodedError, printable

Status: TypeAlias = Literal["pass", "warn", "fail", "skip"]
Value: TypeAlias = str | int | float | bool | None

# in the order in which they are shown; DESIGN section 7 says which of several refusals speaks
STEPS = (
    "container", "lengths", "digests", "signature", "signer", "threshold", "trust-expiry", "clock", "device", "runtime",
    "rollback-index", "golden",
)  # fmt: skip

STEP_OF: Mapping[str, str] = MappingProxyType({
    "UNSAFE_PATH": "container", "MANIFEST_INVALID": "container", "BUNDLE_TRUNCATED": "container", "SIZE_LIMIT": "lengths",
    "FILE_MISSING": "digests", "EXTRA_FILE": "digests", "LINE_ENDINGS_CHANGED": "digests", "PAYLOAD_DIGEST_MISMATCH": "digests",
    "SIGNATURE_MISSING": "signature", "UNSIGNED_NOT_ALLOWED": "signature", "SIGNATURE_FORMAT": "signature",
    "FORMAT_UNSUPPORTED": "signature", "SIGNATURE_ENCODING": "signature", "SIGNATURE_INVALID": "signature",
    "KEY_TYPE_UNSUPPORTED": "signer", "UNTRUSTED_SIGNER": "signer", "SIGNER_REVOKED": "signer", "TRUST_MISSING": "signer",
    "TRUST_ROTATION": "signer", "THRESHOLD_NOT_MET": "threshold", "TRUST_EXPIRED": "trust-expiry",
    "BUNDLE_EXPIRED": "clock", "CLOCK_UNTRUSTED": "clock", "DEVICE_MISMATCH": "device", "ARTIFACT_TARGET": "device",
    "RUNTIME_TOO_OLD": "runtime", "ROLLBACK_REFUSED": "rollback-index",
})  # fmt: skip
_NO_STEP = frozenset({"NOT_STORED", "STATE_UNUSABLE", "NO_SPACE", "DOWNLOAD_FAILED"})  # of the place, not of the bundle
LAST = "golden"  # where a refusal stands that is the model's: its golden pictures, its head, its labels, its backend


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the checklist. `measured` holds what was looked at, small and printable."""

    id: str
    status: Status
    measured: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))

    def report(self) -> dict[str, Any]:
        """As JSON: `{"id", "status", "measured"}`."""
        return {"id": self.id, "status": self.status, "measured": dict(self.measured)}


class Checklist:
    """Records the steps of one verification; `tell` hears of each as it is decided. Belongs to one thread."""

    def __init__(self, tell: Callable[[Step], None] | None = None) -> None:
        self.refusal: CodedError | None = None
        self._tell = tell
        self._steps: dict[str, Step] = {}

    def passed(self, step: str, **measured: Value) -> None:
        """The bundle is right in this."""
        self._note(step, "pass", measured)

    def warned(self, step: str, **measured: Value) -> None:
        """Doubtful, and not refused for it."""
        self._note(step, "warn", measured)

    def skipped(self, step: str, why: str) -> None:
        """Nobody asked, or it cannot be asked here."""
        self._note(step, "skip", {"why": why})

    def refused(self, refusal: CodedError) -> None:
        """The bundle is refused; the step that its code belongs to shows both sides, where it is the bundle's fault."""
        self.refusal = refusal
        if refusal.code in _NO_STEP:
            return
        measured = {"code": refusal.code, "what": refusal.what, **refusal.evidence, "fix": refusal.fix}
        self._note(STEP_OF.get(refusal.code, LAST), "fail", measured)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step in order; those that were not reached are skipped."""
        reached = "not reached" if self.refusal else "not asked"
        return tuple(self._steps.get(step) or Step(step, "skip", {"why": reached}) for step in STEPS)

    def report(self) -> dict[str, Any]:
        """The body of `bundle verify --json`."""
        return {
            "schema": "camagent.verify/1",
            "accepted": self.refusal is None,
            "code": self.refusal.code if self.refusal else None,
            "steps": [step.report() for step in self.steps],
        }

    def _note(self, step: str, status: Status, measured: Mapping[str, Value]) -> None:
        shown = {
            printable(key, 64): printable(value, 1000) if isinstance(value, str) else value for key, value in measured.items()
        }
        made = self._steps[step] = Step(step, status, MappingProxyType(shown))
        if self._tell:
            self._tell(made)
