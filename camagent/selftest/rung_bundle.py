"""Is there a model that may run here? The refusal of a bundle is told as it is: its code, its evidence, its fix."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from camagent import npu
from camagent.config import Camera
from camagent.errors import CodedError, InputError, StateError
from camagent.pipeline import UsableBundle
from camagent.selftest.causes import CAUSES
from camagent.selftest.ladder import Outcome
from camagent.selftest.report import Cause, Status, Tell, Value
from firmware_pkg.errors import ArtifactTarget, NotStored


class BundleRung:
    """Loads what is in force for a camera; `bundle` holds it afterwards, None where nothing may run."""

    id = "bundle"

    def __init__(
        self, camera: Camera, load: Callable[[Camera], UsableBundle], trust: Callable[[], Mapping[str, Value]], *, allowed: bool
    ) -> None:
        """`trust`: facts about the root in force, as `health` has them. `allowed`: agent.allow_unsigned."""
        self.bundle: UsableBundle | None = None
        self._camera, self._load, self._trust, self._allowed = camera, load, trust, allowed

    def run(self, tell: Tell) -> Outcome:
        """Every signature and digest is checked anew, as at every load."""
        tell(f"verifying the bundle of camera {self._camera.name}")
        measured: dict[str, Value] = {"bundle": self._camera.bundle or "none configured", **self._root()}
        try:
            self.bundle = self._load(self._camera)
        except CodedError as exc:
            return refused(exc, measured)
        made = self.bundle
        measured |= {
            "name": made.manifest.name, "version": made.manifest.version, "signature": made.signature,
            "backend": made.artifact.backend, "digest": made.digest[:12],
        }  # fmt: skip
        warn = made.signature == "unsigned" or self._allowed or measured.get("warning")
        if self._allowed:
            measured["allow_unsigned"] = "bundles without a verified signature may run here"
        status: Status = "warn" if warn else "pass"
        return Outcome(status, measured)

    def _root(self) -> dict[str, Value]:
        try:
            facts = self._trust()
        except CodedError as exc:
            return {"root": None, "warning": f"{exc.code}: {exc.what}"}
        return {key: facts[key] for key in ("root", "warning") if facts.get(key) is not None} or {"root": None}


def refused(exc: CodedError, measured: Mapping[str, Value]) -> Outcome:
    """What a bundle that may not run means. A disk that cannot be read accuses no bundle."""
    said = {**measured, "code": exc.code, "what": exc.what}
    if isinstance(exc, StateError):
        return Outcome("fail", {**said, "fix": exc.fix}, undecided=exc.what)
    if isinstance(exc, ArtifactTarget) and (absent := _no_npu(exc)):
        return Outcome("fail", said, (absent,))
    return Outcome("fail", said, (_cause("no-bundle" if isinstance(exc, InputError | NotStored) else "bundle-refused", exc),))


def _no_npu(exc: ArtifactTarget) -> Cause | None:
    """Only a model for an NPU is wanted or there, and this machine has none: that is what is wrong, not the bundle."""
    offered = exc.evidence.get("bundle has", "").split(", ")
    wanted = exc.evidence.get("configured backend") == "rknn" or all(one.startswith("rknn ") for one in offered)
    board = npu.look()
    if not wanted or board.cores or board.files:
        return None
    known = CAUSES["npu-absent"]
    evidence = {"what": "no NPU on this device", **board.evidence(), **exc.evidence}
    return Cause("npu-absent", known.layer, known.fix, evidence, ("bundle-refused",))


def _cause(name: str, exc: CodedError) -> Cause:
    known = CAUSES[name]
    return Cause(name, known.layer, exc.fix or known.fix, {"code": exc.code, "what": exc.what, **exc.evidence})
