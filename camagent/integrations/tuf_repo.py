"""Bundles from a TUF repository: what a camera takes of it, by hand or by itself. See firmware_pkg/tuf_client.py for a look.

The repository's root of trust is the camera's own: newer roots that it shows go through the same rules as `trust install`, and
what is downloaded through the same verification as every bundle. Nothing here can make an unverified bundle run.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from camagent import __version__
from camagent.errors import Busy, CodedError
from camagent.integrations.turned_away import PASSING, TurnedAway
from camagent.service import Origin, Tell
from firmware_pkg.addresses import Prefix
from firmware_pkg.catalog import Listed, Wish, choose
from firmware_pkg.errors import NotListed, RepositoryInvalid
from firmware_pkg.order import Limits, Listener, Rules
from firmware_pkg.slots import Slots
from firmware_pkg.tuf_client import Anchor, Kept, Network, Site, View, When, looking
from signing import trust
from signing.errors import printable
from signing.refusals import TrustMissing
from signing.trust import TrustRoot
from signing.trust_time import Clock

SETTING = "fleet.tuf.url"
CHUNK = 64 * 1024
WAIT_S = 5.0  # for a look that is going on


class Device(Protocol):
    """What is asked of the agent: bundles.Bundles, by way of fetching.AgentDevice."""

    def roots(self) -> tuple[TrustRoot, ...]:
        """All that are known."""
        ...

    def time(self) -> Clock:
        """What is known of the time."""
        ...

    def slots(self, name: str) -> Slots:
        """What is stored of a name."""
        ...

    def install_trust(self, roots: Sequence[bytes], origin: Origin) -> Mapping[str, Any]:
        """See Service."""
        ...

    def install(self, source: BinaryIO, origin: Origin, tell: Tell, *, force: bool) -> dict[str, Any]:
        """See Service."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What does not change from one look to the next."""

    state_dir: Path
    device: str
    require_clock: bool = False
    listener: Listener | None = None
    ca_file: Path | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a check of one name came to."""

    name: str
    version: str | None  # the one that was taken; None: nothing newer
    result: Mapping[str, Any] | None = None
    refusal: CodedError | None = None


class Repository:
    """One repository on behalf of one camera. Any thread may call; one look at a time."""

    def __init__(self, prefix: Prefix, device: Device, surroundings: Surroundings, stop: threading.Event) -> None:
        """`prefix`: the folder that holds metadata/ and targets/; nothing outside it is asked for."""
        self.shown = prefix.url.shown
        self._origin = Origin("tuf", prefix.url.authority)
        self._device, self._about, self._site = device, surroundings, Site.of(prefix.url)
        folder = surroundings.state_dir / "tuf" / hashlib.sha256(str(prefix.url).encode()).hexdigest()[:16]
        self._kept, self._away = Kept(folder), TurnedAway(folder / "turned-away")
        rules = Rules(
            allowed=(prefix,), setting=SETTING, listener=surroundings.listener, ca_file=surroundings.ca_file,
            limits=surroundings.limits,
        )  # fmt: skip
        self._network = Network(rules, stop)

    def bring(self, name: str, asked_by: Origin, tell: Tell, *, force: bool = False) -> dict[str, Any]:
        """By hand: the best version of one name is fetched and installed; `unchanged` where nothing newer is listed.

        Raises:
            NotListed: nothing of that name, or nothing that fits here.
            Refused: see firmware_pkg.tuf_client.looking and Service.install.
        """
        origin = replace(self._origin, who=f"{self._origin.who}, asked by {asked_by.who}")
        tell({"state": "asking the repository"})
        with self._look(origin) as view:
            slots = self._device.slots(name)
            wish = self._wish(name, slots)
            chosen = choose(view.listed, wish if not force else replace(wish, refused=()))
            if chosen is None:
                return self._nothing(name, view, wish, slots)
            return self._install(view, chosen, origin, tell, force=force)

    def check(self, names: Sequence[str], tell: Callable[[View], None]) -> Iterator[Taken]:
        """By itself: every name in turn. What was turned away or taken back is not fetched again until another is listed.

        `tell` hears of the repository's state. Raises as `bring` for the repository; what an install refuses is in Taken.
        """
        with self._look(self._origin) as view:
            tell(view)
            self._away.forget_all_but(one.sha256 for one in view.listed)
            for name in names:
                slots = self._device.slots(name)
                wish = self._wish(name, slots)
                chosen = choose(view.listed, replace(wish, refused={*wish.refused, *self._not_again(slots)}))
                if chosen is None:
                    yield Taken(name, None)
                    continue
                try:
                    result = self._install(view, chosen, self._origin, lambda _: None, force=False)
                except CodedError as exc:
                    self._away.note(chosen.sha256, self._circumstances(), exc)
                    yield Taken(name, chosen.about.version, refusal=exc)
                else:
                    yield Taken(name, chosen.about.version, result)

    def _not_again(self, slots: Slots) -> set[str]:
        """What was turned away here, and what is stored and does not run: somebody has gone back from it."""
        left = {ref.digest for ref in slots.stored} if slots.running else set()
        return {*self._away.under(self._circumstances()), *left}

    @contextmanager
    def _look(self, origin: Origin) -> Iterator[View]:
        if not _LOOK.acquire(timeout=WAIT_S):
            raise Busy("a repository is being looked into", evidence={"asked by": origin.who}, fix="try again in a minute")
        try:
            anchor, new = self._anchor()
            try:
                with looking(self._site, self._kept, anchor, self._when(), self._network) as view:
                    self._take_roots(new, origin)
                    yield view
            finally:
                self._take_roots(new, origin)
        finally:
            _LOOK.release()

    def _anchor(self) -> tuple[Anchor, list[bytes]]:
        """The root in force; newer ones must follow it by the rules of every root, and are collected."""
        known = list(self._device.roots())
        trust.chain(known, ())  # a device that trusts nobody yet says so, and what to do there
        new: list[bytes] = []

        def admit(data: bytes, name: str) -> None:
            root = _read_root(data, name)
            trust.chain(known, [root])
            known.append(root)
            new.append(data)

        return Anchor(trust.in_force(known).data, admit), new

    def _take_roots(self, new: list[bytes], origin: Origin) -> None:
        """Newer roots come into force before anything is judged by them, also where the rest of the repository is refused."""
        if new:
            roots = tuple(new)
            new.clear()
            self._device.install_trust(roots, origin)

    def _when(self) -> When:
        return When(self._device.time(), self._about.require_clock)

    def _wish(self, name: str, slots: Slots) -> Wish:
        running = slots.running
        return Wish(
            name=name, device=self._about.device, running=running.version if running else None,
            rollback_index=slots.rollback_index, refused=frozenset(slots.refused),
        )  # fmt: skip

    def _install(self, view: View, chosen: Listed, origin: Origin, tell: Tell, *, force: bool) -> dict[str, Any]:
        target = view.find(chosen.path)
        assert target is not None, "it was listed a moment ago"

        def progress(done: int) -> None:
            tell({"progress": {"done": done, "of": target.length}})

        with view.open(target, progress) as source:
            try:
                return self._device.install(source, origin, tell, force=force)
            except CodedError as exc:
                if exc.code not in PASSING:
                    _read_to_the_end(source)
                raise

    def _nothing(self, name: str, view: View, wish: Wish, slots: Slots) -> dict[str, Any]:
        offered = [one for one in view.listed if one.about.name == name]
        fits_somehow = choose(offered, replace(wish, running=None, refused=()))
        running = slots.running
        if fits_somehow is None or running is None:
            versions = ", ".join(f"{one.about.version} for {'/'.join(one.about.compatible)}" for one in offered)
            raise NotListed(
                f"the repository lists no version of {printable(name, 48)} for this device",
                evidence={"listed": versions or "nothing of that name", "device": wish.device or "unknown",
                          "rollback index here": wish.rollback_index, "refused before": str(len(wish.refused))},
                fix="publish one with 'camagent bundle publish'; what was refused before is taken again with --force",
            )  # fmt: skip
        return {
            "name": name, "version": running.version, "digest": running.digest, "outcome": "unchanged",
            "listed": max(offered, key=lambda one: one.version).about.version,
        }  # fmt: skip

    def _circumstances(self) -> str:
        """Under which a refusal holds: another root, camagent or device may judge the same bytes differently."""
        return f"root {trust.in_force(self._device.roots()).version}, camagent {__version__}, {self._about.device}"


def _read_root(data: bytes, name: str) -> TrustRoot:
    """Raises RepositoryInvalid for what is no root at all: many web servers answer with a page where a file is missing."""
    try:
        return trust.read_root(data, name)
    except TrustMissing as exc:
        raise RepositoryInvalid(
            f"the repository gives out something under {name} that is no root",
            evidence={"found": exc.evidence.get("found", exc.what), "expected": "a root.json, or status 404"},
            fix="let the web server answer with 404 where a file is missing, not with a page",
        ) from exc


def _read_to_the_end(source: BinaryIO) -> None:
    """A refusal is about the bundle that is listed only if that is what came. Raises DownloadFailed where it is not."""
    while source.read(CHUNK):
        pass


_LOOK = threading.Lock()  # the kept metadata is one folder per repository, and this process alone writes it

__all__ = ["Device", "Repository", "Surroundings", "Taken"]
