"""The trust roots that this camera has ever known, `<folder>/<N>.root.json`, and the time before which it cannot be.

`agent.trust` is only the first root, put there by a person or an image. All versions are kept, the highest is in force, and its
number never goes down. Which root may follow which is signing.trust's business, which time counts signing.trust_time's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Literal

import msgspec

from firmware_pkg import disk
from firmware_pkg.errors import StateError
from signing import limits, trust, trust_time
from signing.errors import CodedError, printable
from signing.refusals import TrustRotation
from signing.trust import TrustRoot

FLOOR = "floor.json"

_ROOT = re.compile(r"([1-9][0-9]{0,9})\.root\.json")


class _Floor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    floor: datetime
    schema: Literal[1] = 1


_DECODER = msgspec.json.Decoder(_Floor)  # built at import, see manifest.py


class TrustStore:
    """Thread-safe; one process writes (the agent's lock sees to that). Whether a root has expired is the caller's question.

    `known` and `floor` only read; `recover`, `offer` and `raise_floor` write, and raise NoSpace or StateError where the disk
    does not take it: what was written before that stands, and is a sound chain.
    """

    def __init__(self, folder: Path, first: Path | None, built: datetime) -> None:
        """`folder`: state_dir/trust. `first`: agent.trust's file. `built`: when this agent was built; no clock shows less."""
        self._folder = folder
        self._first = first
        self._built = built
        self._lock = RLock()
        self._known: tuple[TrustRoot, ...] | None = None
        self._warning: CodedError | None = None
        self._recovered = False

    def recover(self) -> tuple[CodedError, ...]:
        """To be called first by whoever owns state_dir: sweeps litter, keeps agent.trust's root if it is the first or the next.

        What comes back are warnings: agent.trust was not taken, and the stored roots stay in force.

        Raises:
            StateError: a stored file is damaged, or one is missing between two others.
            TrustMissing, SizeLimit, KeyTypeUnsupported, TrustRotation: no root is stored, and agent.trust's is not usable.
        """
        with self._lock:
            if self._folder.exists():
                with disk.refusing(self._folder):
                    disk.sweep(self._folder)
                    disk.fsync_folder(self._folder)  # what a killed process had no time for
            self._known = None
            known, stored = self.known(), len(self._stored())
            for root in known[stored:]:
                self._write(root.name, root.data)
            self._recovered = True
            return (self._warning,) if self._warning else ()

    def known(self) -> tuple[TrustRoot, ...]:
        """All roots, lowest first; the last is in force. Empty where nobody is trusted yet. Raises as `recover`."""
        with self._lock:
            if self._known is None:
                stored = self._stored()
                self._known = (*stored, *self._adopted(stored))
            return self._known

    def forecast(self, roots: Sequence[TrustRoot], *, first: bool = False) -> tuple[TrustRoot, ...]:
        """What `offer` would add. Raises as signing.trust.chain."""
        return trust.chain(self.known(), roots, first=first)

    def offer(self, roots: Sequence[TrustRoot], *, first: bool = False) -> tuple[TrustRoot, ...]:
        """Keeps those roots that follow the one in force, and says which these are. `first`: see signing.trust.chain.

        Raises:
            TrustMissing, TrustRotation, SizeLimit: nothing was kept.
        """
        with self._lock:
            if not self._recovered:
                self.recover()
            added = self.forecast(roots, first=first)
            for root in added:  # ascending, each durable before the next: a power cut leaves a shorter chain, never a gap
                self._write(root.name, root.data)
                self._known = (*self.known(), root)
            return added

    # -- the clock's floor --------------------------------------------------------------------------------------------

    @property
    def floor(self) -> datetime:
        """No time before this one can be the right one. Raises StateError where the file is damaged."""
        with self._lock:
            return max(self._built, self._stored_floor() or self._built)

    def raise_floor(self, *dates: datetime) -> datetime:
        """Things of these dates were verified *and confirmed*: the new floor."""
        with self._lock:
            before = self.floor
            after = trust_time.raise_floor(before, *dates)
            if after > before:
                self._write(FLOOR, msgspec.json.encode(_Floor(after.astimezone(UTC))))
            return after

    def _stored_floor(self) -> datetime | None:
        path = self._folder / FLOOR
        with disk.refusing(path):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return None
        try:
            floor = _DECODER.decode(data).floor
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise _damaged(path, str(exc), "move it away; the floor is then this agent's build time again") from exc
        if floor.tzinfo is None:
            raise _damaged(path, "a time without its zone", "move it away; the floor is then this agent's build time again")
        return floor

    # -- the files ----------------------------------------------------------------------------------------------------

    def _write(self, name: str, data: bytes) -> None:
        with disk.refusing(self._folder, len(data)):
            disk.make_folder(self._folder)
            disk.write_atomic(self._folder / name, data)

    def _stored(self) -> tuple[TrustRoot, ...]:
        with disk.refusing(self._folder):
            names = [path.name for path in self._folder.iterdir()] if self._folder.exists() else []
        numbers = sorted(int(found[1]) for name in names if (found := _ROOT.fullmatch(name)))
        roots = tuple(self._stored_root(self._folder / f"{number}.root.json", number) for number in numbers)
        if not roots:
            return ()
        try:
            trust.chain(roots[:1], roots[1:])
        except CodedError as exc:
            raise _damaged(self._folder, exc.what, _PUT_BACK) from exc
        return roots

    def _stored_root(self, path: Path, number: int) -> TrustRoot:
        with disk.refusing(path):
            data = _read(path)
        try:
            root = trust.read_root(data, path.name)
        except CodedError as exc:
            raise _damaged(path, exc.what, _PUT_BACK) from exc
        if root.version != number:
            raise _damaged(path, f"root {root.version}", _PUT_BACK)
        return root

    def _adopted(self, stored: tuple[TrustRoot, ...]) -> tuple[TrustRoot, ...]:
        """agent.trust's root where it is the first or the next one; an older one is left aside."""
        self._warning = None
        if self._first is None:
            return ()
        try:
            with disk.refusing(self._first):
                try:
                    data = _read(self._first)
                except FileNotFoundError:
                    return ()
            return trust.chain(stored, [trust.read_root(data, printable(self._first))], first=True)
        except CodedError as exc:
            if not stored:
                raise
            self._warning = TrustRotation(
                f"the trust root of the configuration was not taken: {exc.what}",
                evidence={"file": self._first, "in force": stored[-1].name} | dict(exc.evidence),
                fix=f"{exc.fix}; root {stored[-1].version} stays in force meanwhile",
            )
            return ()


_PUT_BACK = "put the original file back: every root.json was signed once and is on the machine that made it"


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(limits.ROOT_BYTES + 1)


def _damaged(path: Path, found: str, fix: str) -> StateError:
    return StateError(f"{path} is damaged: {printable(found)}", evidence={"file": path, "found": printable(found)}, fix=fix)
