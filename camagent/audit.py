"""Who had what installed here, when, and what came of it: one JSON line each, only ever added to."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from camagent.clock import Clock
from camagent.errors import printable
from camagent.service import Origin

log = logging.getLogger("camagent.audit")

ROTATE_BYTES = 1024 * 1024
KEPT = 4  # older files: audit.1.jsonl (the newest of them) .. audit.4.jsonl
_SIGNERS = 16

Happening: TypeAlias = Literal["install", "activate", "confirm", "rollback", "refuse", "trust", "revoke", "overlay"]


class Audit:
    """The audit log. A disk that does not take a line never stops the agent: it is counted and told.

    Threads may share it.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        """`path` is `state_dir/audit.jsonl`; its folder exists. Nothing is opened or written yet."""
        self.path = path
        self.lost = 0  # lines that the disk did not take
        self.problem: str | None = None  # why, until one is taken again
        self._clock = clock
        self._lock = threading.Lock()
        self._first = True  # nothing was written by this process yet

    def note(
        self, event: Happening, *, origin: Origin | str, name: str | None = None, version: str | None = None,
        digest: str | None = None, signers: Sequence[str] = (), code: str | None = None,
    ) -> None:  # fmt: skip
        """Adds a line; it is on the disk when this returns.

        `code` is a refusal's, None where it went well; `origin` is who asked, or a word for what happened by itself.
        """
        who = origin if isinstance(origin, str) else f"{origin.kind} {origin.who}"
        entry = {
            "time": round(self._clock.wall(), 3), "event": event, "name": name, "version": version, "digest": digest,
            "signers": list(signers[:_SIGNERS]), "code": code, "origin": who,
        }  # fmt: skip
        line = json.dumps({key: _safe(value) for key, value in entry.items()}).encode() + b"\n"
        with self._lock:
            try:
                self._append(line)
            except OSError as exc:
                self.lost += 1
                self.problem = f"{self.path.name} cannot be written: {exc.strerror or exc}"
                log.error("%s; lost so far: %d, this one: %s", self.problem, self.lost, line.decode().strip())  # noqa: TRY400
            else:
                self.problem = None

    def tail(self, count: int) -> list[dict[str, Any]]:
        """The last `count` lines, oldest first. A line torn by a power cut is left out. Raises OSError."""
        found: list[dict[str, Any]] = []
        with self._lock:
            for path in (self.path, *map(self._older, range(1, KEPT + 1))):
                if len(found) >= count:
                    break
                if path.exists():
                    found = [*_entries(path.read_bytes()), *found]
        return found[-count:] if count > 0 else []

    def _append(self, line: bytes) -> None:
        if self._size() + len(line) > ROTATE_BYTES:
            self._rotate()
        is_new = self._first or not self.path.exists()  # a killed process may have made it and not fsynced its name
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(self.path, flags, 0o640)
        try:
            whole = b"\n" + line if _is_torn(file) else line
            written = os.write(file, whole)
            os.fsync(file)
        finally:
            os.close(file)
        if is_new:
            self._sync_folder()
            self._first = False
        if written < len(whole):
            raise OSError(f"only {written} of {len(whole)} bytes were taken")

    def _rotate(self) -> None:
        """audit.jsonl -> audit.1.jsonl -> .. -> audit.4.jsonl, which is given up. Oldest first: a cut in between loses none."""
        for number in range(KEPT, 0, -1):
            source = self._older(number - 1) if number > 1 else self.path
            if source.exists():
                source.replace(self._older(number))
                self._sync_folder()

    def _older(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.stem}.{number}{self.path.suffix}")

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _is_torn(file: int) -> bool:
    """True where a power cut has left half a line at the end: the next one must not be glued to it."""
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"


def _entries(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.split(b"\n"):
        try:
            entry = json.loads(line)
        except ValueError:  # torn by a power cut; what it said is in the journal
            continue
        if isinstance(entry, dict):
            yield entry


def _safe(value: object) -> object:
    if isinstance(value, list):
        return [printable(item) for item in value]
    return printable(value) if isinstance(value, str) else value


__all__ = ["Audit", "Happening"]
