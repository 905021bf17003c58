"""Which stored bundle is in force for each name: loaded, tried, confirmed or taken back. DESIGN section 7 has the table.

Owns the store in this process. Any thread may call; what cameras run is told to them through `CamerasToTell`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from camagent import golden, models, vitals
from camagent.audit import Audit, Happening
from camagent.backends import BackendOptions, installed, on_device
from camagent.clock import Clock
from camagent.config import Camera
from camagent.errors import CodedError, InputError, NpuHung
from camagent.models import UsableBundle, both_fit
from camagent.trial import Trial
from camagent.trust_desk import TrustDesk
from firmware_pkg import verify as verifier
from firmware_pkg.checklist import STEP_OF, Checklist
from firmware_pkg.disk import boot_id
from firmware_pkg.errors import NoSpace, NotStored, Refused, RefusedBefore, StateError
from firmware_pkg.slots import Ref, Refusal, Slots
from firmware_pkg.store import Store
from signing.trust import TrustRoot

log = logging.getLogger("camagent")

GOLDEN_S = 300.0  # opening the model and every golden picture, on a slow device

# refusals of a confirmed bundle after which another one runs: it is not theirs any more, or it is not what it was
_LOST_STEPS = frozenset({"container", "lengths", "digests", "signature", "signer", "threshold"})
_NO_FAULT = (StateError, NoSpace, NpuHung)  # the disk's or the device's: nothing is wrong with a bundle then
_NOT_LOST = frozenset(
    {"TRUST_MISSING", "UNSIGNED_NOT_ALLOWED", "TRUST_ROTATION"}
)  # the configuration's fault, not the bundle's


class LongStep(Protocol):
    """Announces a step that takes its time, in a thread that is not watched otherwise; see Watchdog.step."""

    def __call__(self, name: str, within_s: float, doing: str, *, on_device: bool = False) -> AbstractContextManager[None]:
        """Around the step."""
        ...


def _unwatched(name: str, within_s: float, doing: str, *, on_device: bool = False) -> AbstractContextManager[None]:
    del name, within_s, doing, on_device
    return nullcontext()


class CamerasToTell(Protocol):
    """Whoever runs models. Every method may be called from any thread and returns at once."""

    def renew(self, name: str) -> None:
        """Another bundle of that name is in force, or perhaps."""
        ...

    def release(self, name: str) -> None:
        """Close the models of that name: memory is needed for testing the next one; a `renew` follows."""
        ...


@dataclass(frozen=True, slots=True)
class Lost:
    """A stored bundle that no longer verifies."""

    name: str
    ref: Ref
    refusal: Refused


class Live:
    """See the module's docstring."""

    def __init__(self, trust: TrustDesk, clock: Clock, cameras: CamerasToTell) -> None:
        """Opens the store, changes nothing. Raises StateError."""
        state_dir = trust.config.agent.state_dir
        self.trust = trust
        self.cameras = cameras
        self.store = Store(state_dir / "bundles", boot_id(), clock.wall)
        self.audit = Audit(state_dir / "audit.jsonl", clock)
        self.trials: dict[str, Trial] = {}
        self.long_step: LongStep = _unwatched  # a running agent's watchdog hears what takes its time
        self._given_up: set[str] = set()  # digests that failed, which a full disk could not be told
        self._clock = clock
        self._one_at_a_time = threading.RLock()

    def recover(self) -> None:
        """At start: clears up after a power cut, and ends trials whose attempts are used up. Raises StateError."""
        self.trust.recover()
        for sentence in self.store.recover():
            log.warning("store: %s", sentence)
        for name in self.store.names():
            before, after = self.store.slots(name), self.store.judge_at_start(name)
            if before.trial is not None and after.trial is None and after.last_refusal is not None:
                refusal = after.last_refusal
                log.error("bundle %s %s is taken back: %s", name, refusal.version, refusal.what)
                self.audit.note("refuse", name=name, version=refusal.version, code=refusal.code, origin="start")

    def load(self, camera: Camera) -> UsableBundle:
        """The bundle in force for a camera. Raises Refused, InputError or StateError."""
        if models.is_path(camera.bundle):
            return self._load_file(Path(camera.bundle), camera.backend)
        name = camera.bundle
        with self._one_at_a_time:
            while True:
                slots = self.store.slots(name)
                if slots.running is None and self._fall_back(name, logging.DEBUG):  # asked every few seconds
                    slots = self.store.slots(name)
                running = slots.running
                if running is None:
                    raise _nothing_to_run(camera, slots)
                if slots.trial and slots.safe and slots.trial.digest in self._given_up:
                    return self._load_ref(name, slots.safe, camera.backend)
                try:
                    return self._load_stored(name, slots, running, camera.backend)
                except _NO_FAULT as exc:
                    if slots.trial is None or slots.safe is None:
                        raise
                    log.error("bundle %s %s cannot be tried now. %s", name, running.version, exc.render())  # noqa: TRY400
                    return self._load_ref(name, slots.safe, camera.backend)
                except Refused as exc:
                    if slots.trial is None and not _is_lost(exc):
                        raise
                    self.take_back(name, running, exc)

    def in_force(self, camera: Camera) -> UsableBundle:
        """The same with its golden pictures, for a self-test: nothing is begun, tried or taken back. Raises as `load`."""
        if models.is_path(camera.bundle):
            return self._load_file(Path(camera.bundle), camera.backend, golden=True)
        with self._one_at_a_time:
            slots = self.store.slots(camera.bundle)
            running = slots.running
            if slots.trial and slots.safe and slots.trial.digest in self._given_up:
                running = slots.safe
            if running is None:
                raise _nothing_to_run(camera, slots)
            return self._load_ref(camera.bundle, running, camera.backend, golden=True)

    def try_out(self, name: str, slots: Slots, checklist: Checklist) -> Slots:
        """What the store has just put on trial: golden pictures first, then the cameras take it over.

        Raises:
            CodedError: GoldenFailed, BackendError, HeadMismatch ..: the model is no good. It is taken back already, and the
                cameras have not seen it.
        """
        running = slots.running
        if slots.trial is None or running is None:
            checklist.skipped("golden", "this very bundle is confirmed here")
            return slots
        with self._one_at_a_time:
            try:
                self._begin(name, slots)
                self._test(name, running, checklist)
            except _NO_FAULT:
                raise
            except CodedError as exc:
                self.take_back(name, running, exc)
                raise
        self.cameras.renew(name)
        return self.store.slots(name)

    def shelve(self, name: str, digest: str) -> Slots:
        """No camera uses that name: what has just been tested is kept for when one does. Raises StateError."""
        with self._one_at_a_time:
            self.trials.pop(name, None)
            return self.store.shelve(name, digest)

    def let_go(self, name: str) -> None:
        """No camera uses that name: its trial waits until one does, and no death of this process is its. Raises StateError."""
        with self._one_at_a_time:
            self.trials.pop(name, None)
            self.store.stop_cleanly(name)

    def roll_back(self, name: str) -> Slots:
        """Raises NotStored, RollbackRefused."""
        with self._one_at_a_time:
            slots = self.store.roll_back(name)
            self.trials.pop(name, None)
        self.cameras.renew(name)
        return slots

    def failed(self, bundle: UsableBundle, reason: CodedError) -> None:
        """Any thread: a bundle on trial is no good. It is taken back at the next `tick`."""
        if bundle.trial is not None:
            bundle.trial.fail(reason)

    def tick(self) -> bool:
        """The agent's thread, often: ends trials that have failed or lasted long enough. True when one ended."""
        ended = False
        for name, trial in list(self.trials.items()):
            if trial.failure is not None:
                self.take_back(name, trial.ref, trial.failure)
                ended = True
            elif trial.passed:
                self._confirm(name, trial)
                ended = True
        return ended

    def take_back(self, name: str, ref: Ref, reason: CodedError) -> None:
        """The bundle fails its trial, or is lost after it was confirmed; what is left of that name runs instead."""
        lost = isinstance(reason, Refused) and _is_lost(reason)
        if ref.digest not in self._given_up:
            log.error("bundle %s %s is taken back. %s", name, ref.version, reason.render())
        with self._one_at_a_time:
            slots = self.store.slots(name)
            refusal = Refusal.of(reason, ref.version, self._clock.wall())
            try:
                if lost or slots.trial is None or slots.trial.digest != ref.digest:
                    self.store.drop(name, ref.digest, refusal)
                else:
                    self.store.fail(name, ref.digest, refusal)
            except _NO_FAULT:
                if ref.digest not in self._given_up:  # the disk does not take it down; the cameras let go of it all the same
                    self._given_up.add(ref.digest)
                    self.cameras.renew(name)
                raise
            self._given_up.discard(ref.digest)
            self.trials.pop(name, None)
            if self.store.slots(name).running is None:
                self._fall_back(name)
        event: Happening = "revoke" if lost else "refuse"
        self.audit.note(event, name=name, version=ref.version, digest=ref.digest, code=reason.code, origin="agent")
        self.cameras.renew(name)

    def losing(self, roots: Sequence[TrustRoot]) -> list[Lost]:
        """Stored bundles that would not verify under these roots."""
        policy = self.trust.to_load(roots)
        lost = []
        for name in self.store.names():
            for ref in self.store.slots(name).stored:
                try:
                    with self.store.open(name, ref.digest) as source:
                        verifier.load(source, policy, lambda _: ())
                except StateError:
                    raise
                except Refused as exc:
                    if _is_lost(exc):
                        lost.append(Lost(name, ref, exc))
        return lost

    def revoke(self, lost: Sequence[Lost]) -> None:
        """Takes back what is lost, and runs the newest that still verifies in its place."""
        with self._one_at_a_time:  # as one change: a camera that loads meanwhile would take back what is next in the list
            for item in lost:
                self.take_back(item.name, item.ref, item.refusal)

    def close(self) -> None:
        """A clean stop is no death. Raises StateError."""
        for name in list(self.trials):
            self.store.stop_cleanly(name)
        self.trials.clear()

    def _begin(self, name: str, slots: Slots) -> Trial | None:
        """The running trial of this name; a new one leaves its attempt record on disk before anything is loaded."""
        if slots.trial is None or slots.running is None:
            return None
        trial = self.trials.get(name)
        if trial is None or trial.ref.digest != slots.trial.digest:
            self.store.attempt(name, slots.trial.digest)
            trial = self.trials[name] = Trial(name, slots.running, self._clock.monotonic)
        return trial

    def _load_stored(self, name: str, slots: Slots, running: Ref, backend: str) -> UsableBundle:
        trial = self._begin(name, slots)
        if slots.trial is not None and not slots.trial.tested:
            self._test(name, running, Checklist())
        return replace(self._load_ref(name, running, backend), trial=trial)

    def _load_ref(self, name: str, ref: Ref, backend: str, *, golden: bool = False) -> UsableBundle:
        with self.store.open(name, ref.digest) as source:
            return self._load_from(source, backend, golden=golden)

    def _load_file(self, path: Path, backend: str, *, golden: bool = False) -> UsableBundle:
        try:
            with path.open("rb") as source:
                return self._load_from(source, backend, golden=golden, whole=True)
        except OSError as exc:
            raise InputError(
                f"the bundle {path} cannot be read: {exc.strerror}",
                evidence={"file": path},
                fix="name a .cambundle file that exists",
            ) from exc

    def _load_from(self, source: BinaryIO, backend: str, *, golden: bool, whole: bool = False) -> UsableBundle:
        policy, device = self.trust.to_load(), self.trust.device
        return models.load(source, policy, backends=installed(), backend=backend, device=device, golden=golden, whole=whole)

    def _test(self, name: str, ref: Ref, checklist: Checklist) -> None:
        """Opens the model and shows it its golden pictures. Raises CodedError."""
        config = self.trust.config
        backend = next((camera.backend for camera in config.camera if camera.bundle == name), "auto")
        made = self._load_ref(name, ref, backend, golden=True)
        if not both_fit(vitals.memory_available(), len(made.model)):
            log.warning("bundle %s: memory does not hold two models; its cameras pause while the new one is tested", name)
            self.cameras.release(name)
        device = on_device(made.artifact.backend)
        with self.long_step(f"golden-{name}", GOLDEN_S, f"testing {name} {ref.version} on golden pictures", on_device=device):
            measured = golden.test(made, BackendOptions.of(config))
        self.store.mark_tested(name, ref.digest)
        checklist.passed("golden", **measured)

    def _confirm(self, name: str, trial: Trial) -> None:
        with self._one_at_a_time:
            self.store.confirm(name, trial.ref.digest)
            trial.confirmed = True
            self.trials.pop(name, None)
        self.trust.store.raise_floor(datetime.fromisoformat(trial.ref.created))
        log.info("bundle %s %s is confirmed", name, trial.ref.version)
        self.audit.note("confirm", name=name, version=trial.ref.version, digest=trial.ref.digest, origin="agent")

    def _fall_back(self, name: str, level: int = logging.INFO) -> bool:
        """Nothing of that name is confirmed (any more): the best that is stored and verifies goes on trial, if there is one."""
        policy = self.trust.to_load()
        for ref in self.store.slots(name).candidates():
            try:
                with self.store.open(name, ref.digest) as source:
                    verifier.load(source, policy, lambda _: ())
                self.store.activate(name, ref.version)
            except StateError:
                raise
            except Refused as exc:
                log.log(level, "bundle %s %s cannot take its place: %s", name, ref.version, exc.what)
            else:
                self.audit.note("activate", name=name, version=ref.version, digest=ref.digest, origin="agent")
                return True
        return False


def _is_lost(exc: Refused) -> bool:
    if isinstance(exc, NotStored):  # its file is gone
        return True
    return STEP_OF.get(exc.code) in _LOST_STEPS and exc.code not in _NOT_LOST


def _nothing_to_run(camera: Camera, slots: Slots) -> NotStored | Refused:
    evidence: dict[str, object] = {"camera": camera.name, "bundle": camera.bundle}
    last = slots.last_refusal
    if last is not None:
        evidence["last refused"] = f"{last.version}: {last.code}: {last.what}"
        return RefusedBefore(
            last.code,
            f"camera {camera.name}: no bundle {camera.bundle!r} is left that may run",
            evidence=evidence,
            fix=last.fix,
        )
    return NotStored(
        f"camera {camera.name}: there is no bundle {camera.bundle!r} in the store",
        evidence=evidence,
        fix=f"install one of that name: camagent bundle install {camera.bundle}.cambundle -c camagent.toml",
    )
