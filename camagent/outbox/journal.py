"""The journal: one file in the run folder where open messages stand. On tmpfs it outlives kill -9 and costs no flash."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from camagent.errors import printable
from camagent.outbox.records import Reading, Record

COMPACT_AT = 256 << 10  # bytes of records that mean nothing any more before the file is written anew


def _write(fd: int, data: bytes, offset: int) -> None:
    if os.pwrite(fd, data, offset) != len(data):
        raise OSError(errno.ENOSPC, "the run folder is full")


class Journal:
    """Append-only records; not thread-safe, the outbox holds its lock. It never raises: `problem` says what fails."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "outbox.journal"
        self.size = 0
        self.failed = 0  # records that could not be written
        self.problem: str | None = None
        self._live = 0  # bytes of the last compaction
        self._fd = -1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            self._note(exc)

    def read(self) -> tuple[list[Record], int]:
        """What an earlier process left: the records, and how many stretches of the file are damaged."""
        try:
            reading = Reading(self.path.read_bytes())
        except FileNotFoundError:
            return [], 0  # the folder could not be made; `problem` says so
        except OSError as exc:
            self._note(exc)
            return [], 1
        return list(reading), reading.damaged

    def append(self, record: bytes) -> None:
        """Adds a record behind the last sound one."""
        if self._fd < 0:
            self.failed += 1
            return
        try:
            _write(self._fd, record, self.size)
        except OSError as exc:
            self._note(exc)
            return
        self.size += len(record)
        self.problem = None

    def reset(self) -> None:
        """Nothing is open: the file becomes empty."""
        if self.size and self._fd >= 0:
            try:
                os.ftruncate(self._fd, 0)
            except OSError as exc:
                self._note(exc)
                return
        self.size = self._live = 0

    @property
    def wasteful(self) -> bool:
        """True when the file holds so much that is settled that it should be written anew."""
        return self.size > 2 * self._live + COMPACT_AT

    def rewrite(self, records: Iterable[bytes]) -> None:
        """Replaces the file by these records, at once: an interrupted call leaves the old file."""
        data = b"".join(records)
        fresh = self.path.with_suffix(".new")
        fd = -1
        try:
            fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            _write(fd, data, 0)
            fresh.replace(self.path)
        except OSError as exc:
            self._note(exc)
            if fd >= 0:
                os.close(fd)
            return
        self.close()
        self._fd, self.size, self._live = fd, len(data), len(data)
        self.problem = None

    def close(self) -> None:
        """Lets go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _note(self, exc: OSError) -> None:
        self.failed += 1
        self.problem = printable(exc)


class LastSeq:
    """The last (run, seq) of every camera, so that the run after a kill -9 can name it. One slot of 64 bytes per camera."""

    SLOT, NAME = 64, 48

    def __init__(self, folder: Path) -> None:
        self._slots: dict[str, int] = {}
        self._run: int | None = None
        self.problem: str | None = None
        self._fd = -1
        self._before: tuple[int, dict[str, int]] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(folder / "last-seq", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._before = self._parse(os.pread(self._fd, 1 << 20, 0))
        except OSError as exc:
            self.problem = printable(exc)

    def previous(self) -> tuple[int, dict[str, int]] | None:
        """The run that wrote here before this object was made, and the last seq of each of its cameras."""
        return self._before

    def note(self, camera: str, run: int, seq: int) -> None:
        """Remembers that this (run, seq) was given to a message. One write of 64 bytes into the page cache."""
        if self._fd < 0:
            return
        try:
            if run != self._run:
                os.ftruncate(self._fd, 0)
                self._slots, self._run = {}, run
            slot = self._slots.setdefault(camera, len(self._slots))
            name = camera.encode()[: self.NAME].ljust(self.NAME, b"\0")
            os.pwrite(self._fd, run.to_bytes(8, "little") + seq.to_bytes(8, "little") + name, slot * self.SLOT)
        except OSError as exc:
            self.problem = printable(exc)

    def close(self) -> None:
        """Lets go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _parse(self, data: bytes) -> tuple[int, dict[str, int]] | None:
        last: dict[str, int] = {}
        run = 0
        for at in range(0, len(data) - self.SLOT + 1, self.SLOT):
            run = int.from_bytes(data[at : at + 8], "little")
            name = data[at + 16 : at + self.SLOT].rstrip(b"\0").decode(errors="replace")
            last[name] = int.from_bytes(data[at + 8 : at + 16], "little")
        return (run, last) if last else None
