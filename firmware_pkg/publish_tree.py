"""The folder of a TUF repository on the machine that publishes: what lies in it, and how a new state gets in.

    metadata/  N.root.json, N.targets.json, N.snapshot.json, timestamp.json     what a web server gives out
    targets/   NAME/<sha256>.NAME-VERSION.cambundle
    draft/     targets.json: a list that still lacks signatures. Nobody fetches it

A file under a numbered or digested name is written once and never changed; timestamp.json alone is replaced, and last. Whoever
is interrupted before that leaves the former state in force, with files beside it that nobody speaks of.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp  # type: ignore[attr-defined]

from firmware_pkg import disk
from firmware_pkg.errors import RepositoryInvalid, RepositorySignature, StateError
from signing import limits, trust
from signing.errors import printable
from signing.trust import TrustRoot

Role = TypeVar("Role", Root, Snapshot, Targets, Timestamp)
CHUNK = 1024 * 1024
_NUMBERED = re.compile(r"([1-9][0-9]{0,9})\.(root|snapshot|targets)\.json")
_FROM_ITS_FOLDER = "publish from the folder in which the repository was made, or into an empty one"
_PUBLIC_FILE, _PUBLIC_FOLDER = 0o644, 0o755


class Tree:
    """One process at a time: see `alone`. Methods raise NoSpace or StateError where the disk does not take it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metadata, self.targets = folder / "metadata", folder / "targets"
        self.draft = folder / "draft" / "targets.json"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps a second publisher out, and removes what a killed one left half-written. Raises StateError."""
        with disk.refusing(self.folder):
            for folder in (self.folder, self.metadata, self.targets, self.draft.parent):
                folder.mkdir(_PUBLIC_FOLDER, parents=True, exist_ok=True)
            held = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._lock(held)
            with disk.refusing(self.folder):
                for folder in (self.metadata, self.targets, self.draft.parent):
                    disk.sweep(folder)
            yield
        finally:
            os.close(held)

    def _lock(self, held: int) -> None:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise StateError(
                f"another publisher is at work in {self.folder}",
                evidence={"folder": self.folder, "expected": "one publisher at a time"},
                fix="try again when it is done",
            ) from exc

    # -- what is there ------------------------------------------------------------------------------------------------

    def roots(self) -> tuple[TrustRoot, ...]:
        """The roots that the repository shows, lowest first. Raises Refused for a damaged one."""
        numbers = sorted(number for number, role in self._numbered() if role == Root.type)
        return tuple(trust.read_root(self.read(f"{number}.root.json"), f"{number}.root.json") for number in numbers)

    def highest(self, role: str) -> int:
        """The highest number of that role's files; 0 where there is none."""
        return max((number for number, name in self._numbered() if name == role), default=0)

    def timestamp(self, roots: Sequence[TrustRoot]) -> Timestamp | None:
        """The state in force; None in an empty repository. Raises RepositoryInvalid, RepositorySignature."""
        if not (self.metadata / "timestamp.json").exists():
            return None
        return self._load("timestamp.json", Timestamp, roots).signed

    def snapshot(self, version: int, roots: Sequence[TrustRoot]) -> Snapshot:
        """Raises RepositoryInvalid, RepositorySignature."""
        return self._load(f"{version}.snapshot.json", Snapshot, roots).signed

    def listing(self, version: int, roots: Sequence[TrustRoot]) -> Metadata[Targets]:
        """Raises RepositoryInvalid, RepositorySignature: nobody who was ever trusted has signed this list."""
        return self._load(f"{version}.targets.json", Targets, roots)

    def is_signed(self, name: str, role: type[Role], root: TrustRoot) -> bool:
        """Whether the keys that `root` names have signed it. Raises RepositoryInvalid."""
        return signed_by(_parse(self.read(name), name, role), root)

    def drafted(self) -> Metadata[Targets] | None:
        """A list that waits for signatures. Raises RepositoryInvalid."""
        if not self.draft.exists():
            return None
        with disk.refusing(self.draft):
            return _parse(self.draft.read_bytes(), "draft/targets.json", Targets)

    def file_of(self, path: str, sha256: str) -> Path:
        """Where a target lies."""
        folder, _, name = path.rpartition("/")
        return self.targets / folder / f"{sha256}.{name}"

    def _numbered(self) -> list[tuple[int, str]]:
        with disk.refusing(self.metadata):
            names = [path.name for path in self.metadata.iterdir()]
        return [(int(found[1]), found[2]) for name in names if (found := _NUMBERED.fullmatch(name))]

    def read(self, name: str) -> bytes:
        """A metadata file. Raises RepositoryInvalid where it is not there."""
        path = self.metadata / name
        with disk.refusing(path):
            try:
                return path.read_bytes()
            except FileNotFoundError as exc:
                evidence = {"missing": path, "expected": "what timestamp.json leads to"}
                raise RepositoryInvalid(f"{name} is not there", evidence=evidence, fix=_FROM_ITS_FOLDER) from exc

    def _load(self, name: str, role: type[Role], roots: Sequence[TrustRoot]) -> Metadata[Role]:
        made = _parse(self.read(name), name, role)
        for root in reversed(roots):  # a list stays good when its signer leaves; only what nobody ever signed is an intruder's
            if signed_by(made, root):
                return made
        evidence = {
            "signatures": " ".join(sorted(made.signatures)) or "none",
            "expected": f"keys of root {roots[-1].version} or before",
        }
        raise RepositorySignature(
            f"{name} is not signed by anybody who was ever trusted", evidence=evidence, fix=_FROM_ITS_FOLDER
        )

    # -- what is put in -----------------------------------------------------------------------------------------------

    def write(self, name: str, data: bytes) -> None:
        """A metadata file, durable and readable for everybody. What has its name and content already is left alone."""
        self._put(self.metadata / name, data)

    def write_draft(self, data: bytes) -> None:
        """Replaces the draft."""
        self._put(self.draft, data)

    def end_draft(self) -> None:
        """The draft was published, or another takes its place."""
        with disk.refusing(self.draft):
            self.draft.unlink(missing_ok=True)

    def _put(self, path: Path, data: bytes) -> None:
        with disk.refusing(path.parent, len(data)):
            if path.exists() and path.read_bytes() == data:
                return
            disk.write_atomic(path, data)
            path.chmod(_PUBLIC_FILE)

    @contextlib.contextmanager
    def staged(self, source: Path, progress: Callable[[int], None]) -> Iterator[tuple[Path, str]]:
        """A copy of a file in targets/, durable, and its SHA-256; it goes unless `place` was called."""
        fresh = self.targets / f"{disk.UNFINISHED}{os.getpid()}-{source.name[-60:]}"
        digest, done = hashlib.sha256(), 0
        try:
            with disk.refusing(self.targets, source.stat().st_size):
                fresh.unlink(missing_ok=True)
                with source.open("rb") as file, os.fdopen(disk.create(fresh), "wb") as copy:
                    while part := file.read(CHUNK):
                        copy.write(part)
                        digest.update(part)
                        done += len(part)
                        progress(done)
                    copy.flush()
                    os.fsync(copy.fileno())
            yield fresh, digest.hexdigest()
        finally:
            fresh.unlink(missing_ok=True)

    def place(self, staged: Path, path: str, sha256: str) -> None:
        """Gives a staged file its name."""
        final = self.file_of(path, sha256)
        with disk.refusing(final.parent):
            final.parent.mkdir(_PUBLIC_FOLDER, exist_ok=True)
            staged.chmod(_PUBLIC_FILE)
            disk.place(staged, final)
            disk.fsync_folder(self.targets)


def signed_by(made: Metadata[Role], root: TrustRoot) -> bool:
    """Whether the keys that `root` names for this role have signed it."""
    try:
        root.metadata.signed.verify_delegate(made.signed.type, made.signed_bytes, made.signatures)
    except (RepositoryError, ValueError):
        return False
    return True


def _parse(data: bytes, name: str, role: type[Role]) -> Metadata[Role]:
    if len(data) > 8 * limits.MIB:
        evidence = {"found": f"{len(data)} bytes", "allowed": f"{8 * limits.MIB} bytes"}
        raise RepositoryInvalid(f"{name} is too large", evidence=evidence, fix=_FROM_ITS_FOLDER)
    try:
        made = Metadata[role].from_bytes(data)  # type: ignore[valid-type]
    except RepositoryError as exc:
        evidence = {"found": printable(exc.__cause__ or exc), "expected": f"TUF metadata of the role {role.type}"}
        raise RepositoryInvalid(f"{name} is damaged", evidence=evidence, fix=_FROM_ITS_FOLDER) from exc
    if not isinstance(made.signed, role):
        evidence = {"found": made.signed.type, "expected": role.type}
        raise RepositoryInvalid(f"{name} is of another role", evidence=evidence, fix=_FROM_ITS_FOLDER)
    return made
