"""The bundles on the camera's disk: `<folder>/<name>/<digest>.cambundle`, and `<folder>/<name>/slots.json`: which one runs.

A stored bundle is the very container that was verified, its signatures included, so trust is asked anew at every load. A file
is durable under its final name before slots.json speaks of it, and slots.json speaks of it no more before the file goes: a
power cut at any moment leaves at most files that nobody speaks of, and the next start removes them.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, BinaryIO

from firmware_pkg import disk, slots_file
from firmware_pkg import slots as table
from firmware_pkg.errors import NotStored, StateError, UnsafePath
from firmware_pkg.slots import Attempt, Ref, Refusal, Slots
from firmware_pkg.verify import VerifiedBundle
from signing.errors import printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STAGING, SUFFIX = ".staging", ".cambundle"
HEADROOM = 256 * 1024  # bytes that an install leaves free, so that what it changes can still be written down

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Staged(io.FileIO):
    """A new file in the staging folder, to be written from front to end. Its errors are refusals: NoSpace, StateError."""

    def __init__(self, path: Path, size: int | None) -> None:
        """`size`: bytes that are to come, None where nobody knows; for messages."""
        self.path = path
        self._expected = size
        with disk.refusing(path.parent, size):
            super().__init__(disk.create(path), "wb")

    def write(self, data: ReadableBuffer, /) -> int:
        """Writes all of it, not as much as fits."""
        view = memoryview(data).cast("B")
        with disk.refusing(self.path.parent, self._expected):
            disk.write_all(self.fileno(), view)
        return len(view)

    def settle(self) -> None:
        """The bytes are on disk once this returns. Raises UnsafePath where the path leads to another file by now."""
        with disk.refusing(self.path.parent, self._expected):
            os.fsync(self.fileno())
            own, there = os.fstat(self.fileno()), self.path.lstat()
        if (own.st_dev, own.st_ino) != (there.st_dev, there.st_ino):
            raise UnsafePath(
                "somebody put another file into the staging folder",
                evidence={"path": self.path, "expected inode": own.st_ino, "found": there.st_ino},
                fix="find out who writes to the state directory: only the agent's user may",
            )


class Store:
    """Exactly one process owns a store (the agent's lock sees to that); within it, any thread may call. No model, no pixels.

    Methods raise NoSpace or StateError where the disk does not take it (nothing has changed then), StateError for a slots.json
    that is damaged or from a newer agent, and NotStored for a name that is none.
    """

    def __init__(self, folder: Path, boot_id: str, now: Callable[[], float]) -> None:
        """`folder`: state_dir/bundles. `now`: seconds since 1970."""
        self._folder = folder
        self._boot_id = boot_id
        self._now = now
        self._lock = RLock()
        self._attempts: dict[tuple[str, str], Attempt] = {}  # of this process, by name and digest

    # -- start --------------------------------------------------------------------------------------------------------

    def recover(self) -> list[str]:
        """Puts right what a power cut or kill -9 has left; what the operator should know, in sentences. To be called first.

        What a killed process had no time to fsync is durable before anybody acts on it.
        """
        with self._lock, disk.refusing(self._folder):
            disk.make_folder(self._folder)
            staging = self._folder / STAGING
            staging.mkdir(disk.FOLDER_MODE, exist_ok=True)
            for path in staging.iterdir():
                path.unlink()
            return [sentence for folder in self._folders() for sentence in _recover(folder)]

    # -- what is there ------------------------------------------------------------------------------------------------

    def names(self) -> tuple[str, ...]:
        """Every name of which something is known, in order."""
        with self._lock, disk.refusing(self._folder):
            return tuple(folder.name for folder in self._folders() if slots_file.exists(folder))

    def slots(self, name: str) -> Slots:
        """What is known of a name; empty where nothing is."""
        with self._lock:
            return slots_file.load(self._of(name))

    def open(self, name: str, digest: str) -> BinaryIO:
        """The container of a stored bundle, to be verified while it is read. Raises NotStored where it is not there."""
        path = self._file(name, digest)
        with disk.refusing(path.parent):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError as exc:
                if exc.errno not in (errno.ENOENT, errno.ELOOP):
                    raise
                raise NotStored(
                    f"a bundle of {name} is not in the store",
                    evidence={"digest": digest, "path": path, "error": exc.strerror},
                    fix="bring it with 'camagent bundle install' or 'bundle push'",
                ) from exc
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return os.fdopen(fd, "rb")
        os.close(fd)
        raise StateError(f"{path} is no file", evidence={"expected": "a file that the store made"}, fix="move it away")

    # -- in -----------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def stage(self, size: int | None = None) -> Iterator[Staged]:
        """A file for a bundle on its way in; it vanishes unless `install` takes it.

        `size` in bytes, None where it is not known. Where that does not fit, bundles that nobody needs go first, oldest first.
        """
        staging = self._folder / STAGING
        with self._lock, disk.refusing(self._folder, size):
            self._make_room((size or 0) + HEADROOM)
        staged = Staged(staging / secrets.token_hex(16), size)
        try:
            yield staged
        finally:
            staged.close()
            with disk.refusing(staging):
                staged.path.unlink(missing_ok=True)

    def install(self, staged: Staged, verified: VerifiedBundle, *, force: bool = False) -> Slots:
        """Stores a verified bundle and puts it on trial. Raises RollbackRefused, TrialFailed: see slots.installed."""
        ref = self._ref(verified)
        change = partial(table.installed, ref=ref, now=ref.stored_at, force=force)
        return self._take(staged, verified, change)

    def _ref(self, verified: VerifiedBundle) -> Ref:
        manifest = verified.manifest
        return Ref(
            digest=verified.digest,
            version=manifest.version,
            rollback_index=manifest.rollback_index,
            created=manifest.created,
            size=verified.size,
            stored_at=self._now(),
        )

    def _take(self, staged: Staged, verified: VerifiedBundle, change: Callable[[Slots], Slots]) -> Slots:
        name, written = verified.manifest.name, os.fstat(staged.fileno()).st_size
        if written != verified.size:
            raise StateError(
                "what was staged is not what was verified",
                evidence={"staged": f"{written} bytes", "verified": f"{verified.size} bytes"},
                fix="install it again",
            )
        final = self._file(name, verified.digest)
        with self._lock, disk.refusing(final.parent, verified.size):
            before = slots_file.load(final.parent)
            after = change(before)
            staged.settle()
            disk.make_folder(final.parent)
            if verified.signers or not final.exists():  # an unsigned copy never takes the place of a signed one
                disk.place(staged.path, final)
            try:
                slots_file.save(final.parent, after)
            except BaseException:
                if before.ref(verified.digest) is None:
                    final.unlink(missing_ok=True)
                raise
            return self.prune(name)

    # -- the transition table: each returns the new state -------------------------------------------------------------

    def activate(self, name: str, version: str | None = None, *, force: bool = False) -> Slots:
        """A stored version goes on trial. Raises NotStored, RollbackRefused, TrialFailed: see slots.activated."""
        return self._change(name, lambda state: table.activated(state, version, self._now(), force=force))

    def attempt(self, name: str, digest: str) -> Slots:
        """To be called before the bundle on trial is loaded. One record per process: it dies at most once."""
        with self._lock:
            if (name, digest) in self._attempts:
                return self.slots(name)
            attempt = Attempt(boot_id=self._boot_id, time=self._now())
            state = self._change(name, lambda state: table.attempted(state, digest, attempt))
            if state.trial and attempt in state.trial.attempts:
                self._attempts[name, digest] = attempt
            return state

    def stop_cleanly(self, name: str) -> Slots:
        """This process ends, or lets go of the bundle on trial, as it should: its attempt is no death."""
        with self._lock:
            for key in [key for key in self._attempts if key[0] == name]:
                attempt = self._attempts[key]
                self._change(name, partial(table.stopped_cleanly, attempt=attempt))
                del self._attempts[key]
            return self.slots(name)

    def judge_at_start(self, name: str) -> Slots:
        """Ends a trial that has killed too many processes. To be called once, before the first `attempt`."""
        return self._change(name, lambda state: table.judged_at_start(state, self._now()))

    def mark_tested(self, name: str, digest: str) -> Slots:
        """The bundle on trial has passed its golden check."""
        return self._change(name, lambda state: table.tested(state, digest))

    def shelve(self, name: str, digest: str) -> Slots:
        """No camera uses that name: the bundle on trial stays stored, without a trial that nobody would end."""
        with self._lock:
            self.stop_cleanly(name)
            return self._change(name, lambda state: table.shelved(state, digest))

    def fail(self, name: str, digest: str, refusal: Refusal) -> Slots:
        """The bundle on trial has failed."""
        return self._change(name, lambda state: table.failed(state, digest, refusal))

    def confirm(self, name: str, digest: str) -> Slots:
        """The bundle on trial has proved itself."""
        return self._change(name, lambda state: table.confirmed(state, digest))

    def roll_back(self, name: str) -> Slots:
        """Back to the last confirmed bundle before this one. Raises NotStored, RollbackRefused: see slots.rolled_back."""
        return self._change(name, table.rolled_back)

    def drop(self, name: str, digest: str, refusal: Refusal) -> Slots:
        """This bundle may not run any more; it stays stored."""
        return self._change(name, lambda state: table.dropped(state, digest, refusal))

    def note(self, name: str, refusal: Refusal) -> Slots:
        """A bundle of this name was turned away; a name of which nothing is known stays unknown."""
        with self._lock:
            return self._change(name, lambda state: table.noted(state, refusal)) if name in self.names() else Slots()

    def prune(self, name: str, keep: int = table.SPARE) -> Slots:
        """Removes bundles that are neither in use nor among the `keep` others that were stored last."""
        with self._lock:
            return self._remove(name, table.prunable(self.slots(name), keep))

    def _change(self, name: str, change: Callable[[Slots], Slots]) -> Slots:
        with self._lock:
            folder = self._of(name)
            before = slots_file.load(folder)
            after = change(before)
            return before if after is before else slots_file.save(folder, after)

    # -- the files ----------------------------------------------------------------------------------------------------

    def _make_room(self, needed: int) -> None:
        free, spare = disk.free_bytes(self._folder), self._spare()
        if free + sum(ref.size for _, ref in spare) < needed:
            raise disk.no_space(self._folder, needed)
        for name, ref in spare:
            if disk.free_bytes(self._folder) >= needed:
                return
            self._remove(name, (ref,))

    def _spare(self) -> list[tuple[str, Ref]]:
        """What could go if it had to, oldest first. A name whose state cannot be read keeps what it has; `slots` tells."""
        spare = []
        for folder in self._folders():
            with contextlib.suppress(StateError):
                spare += [(folder.name, ref) for ref in table.prunable(slots_file.load(folder), 0)]
        return sorted(spare, key=lambda item: item[1].stored_at)

    def _remove(self, name: str, refs: tuple[Ref, ...]) -> Slots:
        state = self._change(name, lambda state: table.pruned(state, [ref.digest for ref in refs]))
        with disk.refusing(self._of(name)):
            for ref in refs:  # no fsync: a file that comes back is one that nobody speaks of
                self._file(name, ref.digest).unlink(missing_ok=True)
        return state

    def _folders(self) -> list[Path]:
        if not self._folder.exists():
            return []
        return sorted(path for path in self._folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())

    def _of(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise NotStored(f"{printable(name)!r} is no bundle's name", fix="see 'camagent bundle list'")
        return self._folder / name

    def _file(self, name: str, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise NotStored(f"{printable(digest)!r} is no bundle's digest", fix="see 'camagent bundle list --json'")
        return self._of(name) / f"{digest}{SUFFIX}"


def _recover(folder: Path) -> list[str]:
    """One name's folder. Raises OSError."""
    disk.sweep(folder)
    try:
        state = slots_file.load(folder)
    except StateError as exc:  # this name only: the others run, and whoever asks for this one is told by `slots`
        return [f"{exc.what}: {exc.fix}"]
    files = {path.stem: path for path in folder.glob(f"*{SUFFIX}")}
    for digest in files.keys() - {ref.digest for ref in state.stored}:
        files[digest].unlink()
    if not slots_file.exists(folder):
        if not any(folder.iterdir()):
            folder.rmdir()
        return []
    disk.fsync_folder(folder)
    gone = [ref for ref in state.stored if ref.digest not in files]
    if gone:
        slots_file.save(folder, table.lost(state, [ref.digest for ref in gone]))
    return [f"the file of {folder.name} {printable(ref.version)} is gone from {folder}" for ref in gone]
