"""What an agent can be asked about bundles and trust, by whichever way the question comes in: implements `Service`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from camagent.audit import Happening
from camagent.clock import Clock, SystemClock
from camagent.config import Config
from camagent.errors import Busy, CodedError, Refusal
from camagent.live import CamerasToTell, Live
from camagent.owner import Owner, acquire, act_as_owner
from camagent.service import Origin, SelfTester, SelfTestWish, Tell
from camagent.trust_desk import TrustDesk
from firmware_pkg import verify as verifier
from firmware_pkg.checklist import Checklist
from firmware_pkg.errors import NotStored
from firmware_pkg.slots import Ref, Slots
from firmware_pkg.slots import Refusal as LastRefusal
from firmware_pkg.store import Staged
from firmware_pkg.verify import VerifiedBundle
from signing import trust

if TYPE_CHECKING:
    from camagent.integrations.tuf_repo import Repository


@dataclass(frozen=True, slots=True)
class NoCameras:
    """Without a daemon nobody runs anything."""

    def renew(self, name: str) -> None:
        """Nobody to tell."""

    def release(self, name: str) -> None:
        """Nobody to tell."""


class Bundles:
    """Any thread may call; one install, activate or rollback at a time."""

    def __init__(
        self, config: Config, clock: Clock, cameras: CamerasToTell, changed: Callable[[], None] = lambda: None
    ) -> None:
        """Opens store and trust, changes nothing. `changed` hears of every new state, in any thread. Raises StateError."""
        self.activity: dict[str, Any] | None = None  # what is being done right now, for `bundle/state`
        self.about: Callable[[], dict[str, Any]] = dict  # what a running agent adds to `status`
        self.tester: SelfTester | None = None  # of a running agent
        self.trust = TrustDesk(config, clock)
        self.live = Live(self.trust, clock, cameras)
        self._clock, self._changed = clock, changed
        self._turned_away: dict[str, LastRefusal] = {}  # under names that a camera uses and the store does not know yet
        self._job = threading.Lock()

    def follow(self, config: Config) -> None:
        """A new configuration of the same agent is in force."""
        self.trust.config = config
        self.trust.recover()

    def status(self) -> dict[str, Any]:
        """Bundles and trust; a running agent adds its health."""
        return {"trust": self.trust.facts(), "activity": self.activity, **self.bundles(), **self.about()}

    def install(self, source: BinaryIO, origin: Origin, tell: Tell, *, force: bool = False) -> dict[str, Any]:
        """See Service.install."""
        with self._one_job("install", origin):
            checklist = Checklist(lambda step: tell({"step": step.report()}))
            try:
                self._doing("verifying", "", tell)
                verified, slots = self._store_it(source, origin, checklist, force=force)
                name = verified.manifest.name
                self._note("install", name, slots.ref(verified.digest), origin, signers=verified.signers)
                self._doing("testing", name, tell)
                slots = self.live.try_out(name, slots, checklist)
                if not self._is_used(name):
                    slots = self.live.shelve(name, verified.digest)
            except CodedError as exc:
                self._refused(checklist, exc, origin)
                raise
            return self._answer(name, slots, verified.digest)

    def fetch(self, name: str, url: str, origin: Origin, tell: Tell, *, force: bool = False) -> dict[str, Any]:
        """See Service.fetch."""
        section = self.trust.config.fleet.tuf
        ca_file = section.ca_file if url == section.url else None
        return self.repository(url, threading.Event(), ca_file=ca_file).bring(name, origin, tell, force=force)

    def repository(self, url: str, stop: threading.Event, *, ca_file: Path | None = None) -> Repository:
        """A TUF repository on behalf of this agent. Raises ConfigError for an address that is none."""
        from camagent.integrations.counter import open_repository  # noqa: PLC0415  tuf's client, for those who use it

        return open_repository(self, url, stop, ca_file=ca_file)

    def activate(self, name: str, version: str | None, origin: Origin, tell: Tell, *, force: bool = False) -> dict[str, Any]:
        """See Service.activate."""
        with self._one_job("activate", origin):
            checklist = Checklist(lambda step: tell({"step": step.report()}))
            try:
                slots = self.live.store.activate(name, version, force=force)
                self._note("activate", name, slots.running, origin)
                self._doing("testing", name, tell)
                slots = self.live.try_out(name, slots, checklist)
                if not self._is_used(name):
                    self.live.let_go(name)
            except CodedError as exc:
                self._refused(checklist, exc, origin, name, version)
                raise
            assert slots.running is not None
            return self._answer(name, slots, slots.running.digest)

    def rollback(self, name: str, origin: Origin, tell: Tell) -> dict[str, Any]:
        """See Service.rollback."""
        with self._one_job("rollback", origin):
            self._doing("rolling-back", name, tell)
            try:
                slots = self.live.roll_back(name)
            except CodedError as exc:
                self.live.audit.note("refuse", name=name, code=exc.code, origin=origin)
                raise
            assert slots.running is not None
            self._note("rollback", name, slots.running, origin)
            return {"name": name, "version": slots.running.version, "digest": slots.running.digest, "outcome": "current"}

    def bundles(self) -> dict[str, Any]:
        """See Service.bundles."""
        found = {name: Slots(last_refusal=refusal).state_body() for name, refusal in self._turned_away.items()}
        for name in self.live.store.names():
            trial = self.live.trials.get(name)
            progress = {"progress": trial.progress()} if trial else {}
            found[name] = self.live.store.slots(name).state_body() | progress
        return {"bundles": found}

    def install_trust(self, roots: Sequence[bytes], origin: Origin, *, dry_run: bool = False) -> dict[str, Any]:
        """See Service.install_trust."""
        change = self.trust.change(roots, origin)
        losing = self.live.losing(change.after)
        current = change.in_force
        if not dry_run:
            self.trust.store.offer(change.new, first=origin.on_this_machine)
            self.live.audit.note("trust", version=str(current.version), origin=origin)
            self.live.revoke(losing)
            for name in {camera.bundle for camera in self.trust.config.camera}:
                self.live.cameras.renew(name)  # what was refused for want of this root may run now
            self._changed()
        return {
            "in_force": current.version,
            "added": [root.version for root in change.new],
            "expires": current.expires.timestamp(),
            "revoked": sorted(trust.trusted_keys(change.after).revoked),
            "losing": [{"name": lost.name, "version": lost.ref.version} for lost in losing],
        }

    def selftest(self, wish: SelfTestWish, origin: Origin, tell: Tell) -> dict[str, Any]:
        """See Service.selftest."""
        if self.tester is None:
            raise Refusal("no agent runs that could test itself", fix="call 'camagent selftest -c camagent.toml'")
        return self.tester.run(wish, origin, tell)

    @contextmanager
    def _one_job(self, what: str, origin: Origin) -> Iterator[None]:
        if not self._job.acquire(blocking=False):
            now = self.activity or {}
            raise Busy(
                f"{what}: another bundle is being worked on",
                evidence={"now": f"{now.get('state', 'starting')} {now.get('name', '')}".strip(), "asked by": origin.who},
                fix="try again when it is done; 'camagent bundle list' shows how far it is",
            )
        try:
            yield
        finally:
            self.activity = None
            self._job.release()
            self._changed()

    def _doing(self, state: str, name: str, tell: Tell) -> None:
        self.activity = {"state": state, "name": name, "since": self._clock.wall()}
        tell({"state": state})
        self._changed()

    def _store_it(self, source: BinaryIO, origin: Origin, checklist: Checklist, *, force: bool) -> tuple[VerifiedBundle, Slots]:
        """Verifies while it stores; what is refused leaves nothing behind but the reason."""
        store = self.live.store
        policy = replace(self.trust.to_install(origin), stored_index=lambda name: store.slots(name).rollback_index)
        with ExitStack() as stack:
            staged: list[Staged] = []

            def keep(verified: VerifiedBundle) -> BinaryIO:
                staged.append(stack.enter_context(store.stage(sum(verified.manifest.files.values()))))
                return cast("BinaryIO", staged[0])

            verified = verifier.verify(source, policy, checklist, keep=keep)
            slots = store.install(staged[0], verified, force=force)
        if verified.roots:
            self.trust.store.offer(verified.roots, first=False)
            self.live.audit.note("trust", version=str(verified.roots[-1].version), origin=origin)
            self.live.revoke(self.live.losing(self.trust.store.known()))
        return verified, slots

    def _refused(
        self, checklist: Checklist, exc: CodedError, origin: Origin, name: str = "", version: str | None = None
    ) -> None:
        """The refusal stands in the checklist, in the audit log, and under the bundle's name where that name is known here."""
        if checklist.refusal is None:
            checklist.refused(exc)
        claimed = {step.id: step.measured for step in checklist.steps}["container"]
        name, version = name or str(claimed.get("name", "")), version or str(claimed.get("version", ""))
        self.live.audit.note("refuse", name=name or None, version=version or None, code=exc.code, origin=origin)
        if isinstance(exc, NotStored):
            return  # a slip of whoever asked, no bundle was turned away
        refusal = LastRefusal.of(exc, version, self._clock.wall())
        if name in self.live.store.names():
            self.live.store.note(name, refusal)
        elif self._is_used(name):
            self._turned_away[name] = refusal

    def _is_used(self, name: str) -> bool:
        return any(camera.bundle == name for camera in self.trust.config.camera)

    def _note(self, event: Happening, name: str, ref: Ref | None, origin: Origin, signers: Sequence[str] = ()) -> None:
        version, digest = (ref.version, ref.digest) if ref else (None, None)
        self.live.audit.note(event, name=name, version=version, digest=digest, signers=signers, origin=origin)

    def _answer(self, name: str, slots: Slots, digest: str) -> dict[str, Any]:
        ref = slots.ref(digest)
        answer: dict[str, Any] = {"name": name, "version": ref.version if ref else None, "digest": digest}
        if not self._is_used(name):
            hint = f'no camera uses it yet: write bundle = "{name}" into a [[camera]] section of camagent.toml'
            return answer | {"outcome": "stored", "hint": hint}
        return answer | {"outcome": "trial" if slots.trial else "current"}


def with_waiting(facts: Mapping[str, Any], waiting: Mapping[str, str]) -> dict[str, Any]:
    """What the store says of each name, and of those that a camera waits for, why; names that the store does not know too."""
    nothing = Slots().state_body()
    known = {name: facts.get(name, nothing) for name in {*facts, *waiting}}
    return {name: {**body, "waiting": waiting[name]} if name in waiting else body for name, body in known.items()}


@contextmanager
def own_alone(config: Config) -> Iterator[tuple[Owner, Bundles]]:
    """The store without a daemon: as the owner of `state_dir`, under its lock. Raises StateError where a daemon has it."""
    state_dir = config.agent.state_dir
    act_as_owner(state_dir)
    owner = acquire(state_dir)
    try:
        bundles = Bundles(config, SystemClock(), NoCameras())
        bundles.live.recover()
        try:
            yield owner, bundles
        finally:
            bundles.live.close()
    finally:
        owner.release()


@contextmanager
def open_alone(config: Config) -> Iterator[Bundles]:
    """The same for those who only ask for bundles."""
    with own_alone(config) as (_, bundles):
        yield bundles
