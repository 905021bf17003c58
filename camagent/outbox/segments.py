"""The backlog on flash: append-only segment files of one lane, read back in order, deleted as a whole.

Bodies are not kept in memory: a lane knows its segments, what is open in each, and how far each was read. A full segment is
closed for good; only the last one grows. After a restart a new segment is begun, so a torn end is never written behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

from camagent.errors import printable
from camagent.outbox.records import (
    HEADER_BYTES,
    Lane,
    Reading,
    Stored,
    body_length,
    next_record,
    pack_message,
    record_at,
)


def _write(fd: int, data: bytes, offset: int) -> None:
    if os.pwrite(fd, data, offset) != len(data):
        raise OSError(errno.ENOSPC, "no space left for a whole record")


@dataclass(slots=True, eq=False)
class Segment:
    """One file. `open` counts its messages that are not settled, by camera; what lies behind `size` was never accepted."""

    path: Path
    own: bool  # written by this process: the monotonic times in it mean something
    size: int = 0
    read_to: int = 0  # offset: what lies before it was handed out
    open: Counter[str] = field(default_factory=Counter)
    open_bytes: int = 0

    def admit(self, camera: str, size: int) -> None:
        """One more open message."""
        self.open[camera] += 1
        self.open_bytes += size

    def settle(self, camera: str, size: int) -> None:
        """One open message less."""
        self.open[camera] -= 1
        self.open_bytes -= size

    @property
    def finished(self) -> bool:
        """True when every message in it was handed out and settled."""
        return self.read_to >= self.size and not self.open.total()


@dataclass(frozen=True, slots=True)
class Read:
    """What reading gave: a message and its size on flash, or None where the rest of the segment cannot be read."""

    segment: Segment
    stored: Stored | None
    size: int = 0


class SegmentStore:
    """The segments of one lane. Not thread-safe, the outbox holds its lock."""

    def __init__(self, folder: Path, lane: Lane, segment_bytes: int) -> None:
        self.segments: deque[Segment] = deque()
        self.written = 0  # bytes, over the life of this process
        self.problem: str | None = None  # the last error in reading or deleting
        self.stuck: list[Path] = []  # files that mean nothing any more and that flash does not let go of
        self._folder = folder
        self._lane = lane
        self._segment_bytes = segment_bytes
        self._number = 0
        self._tail = -1  # descriptor of the last segment, while it may grow
        self._grown = False  # the tail was written to since its last fsync
        self._unsynced: list[int] = []  # sealed files of which that is true
        self._new_in: set[Path] = set()  # folders with a new name in them
        self._begun = False  # this process has made a segment
        self._adopted: list[Path] = []  # files of an earlier process that nobody has fsynced for certain
        self._reading: tuple[Segment, int] | None = None

    # -- writing ------------------------------------------------------------------------------------------------------

    def append(self, stored: Stored) -> tuple[Segment, int]:
        """Adds a message at the end: its segment and its size there.

        Raises:
            OSError: the message does not stand there; the caller keeps it elsewhere.
        """
        data = pack_message(stored)
        if self._tail < 0 or self.segments[-1].size >= self._segment_bytes:
            self._begin()
        segment = self.segments[-1]
        try:
            _write(self._tail, data, segment.size)
        except OSError:
            self._tear()
            raise
        segment.size += len(data)
        segment.admit(stored.message.camera, len(data))
        self.written += len(data)
        self._grown = True
        return segment, len(data)

    def _begin(self) -> None:
        self.seal()
        # an empty folder may be one that a killed process has made and not fsynced
        if not self._folder.exists() or not (self._begun or any(self._folder.iterdir())):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._new_in.add(self._folder.parent)
        self._begun = True
        path = self._folder / f"{self._lane}-{self._number + 1:08d}.seg"
        self._tail = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._number += 1
        self._new_in.add(self._folder)
        self.segments.append(Segment(path, own=True))

    def _tear(self) -> None:
        """A part of a record may stand at the end of the last segment: nothing is ever written behind it."""
        self.seal()
        if not self.segments[-1].size:
            self._delete(self.segments.pop())

    def seal(self) -> None:
        """The last segment grows no more."""
        if self._tail >= 0 and self._grown:
            self._unsynced.append(self._tail)
        elif self._tail >= 0:
            os.close(self._tail)
        self._tail, self._grown = -1, False

    def to_sync(self) -> list[int]:
        """Descriptors of what changed since the last call, for fsync outside the lock; the caller closes them."""
        while self._new_in:
            self._unsynced.append(os.open(self._new_in.pop(), os.O_RDONLY | os.O_CLOEXEC))
        while self._adopted:
            with contextlib.suppress(FileNotFoundError):  # all of it was settled meanwhile
                self._unsynced.append(os.open(self._adopted.pop(), os.O_RDONLY | os.O_CLOEXEC))
        fds, self._unsynced = self._unsynced, []
        if self._grown and self._tail >= 0:
            fds.append(os.dup(self._tail))
            self._grown = False
        return fds

    # -- reading ------------------------------------------------------------------------------------------------------

    def read(self) -> Read | None:
        """The next message in order; None when everything was handed out."""
        segment = self._unread()
        if segment is None:
            return None
        before = segment.read_to
        stored, segment.read_to = self._record(segment)
        return Read(segment, stored, segment.read_to - before)

    def peek(self) -> Read | None:
        """The same, and it stays unread."""
        segment = self._unread()
        return None if segment is None else Read(segment, self._record(segment)[0])

    def _unread(self) -> Segment | None:
        return next((segment for segment in self.segments if segment.read_to < segment.size), None)

    def _record(self, segment: Segment) -> tuple[Stored | None, int]:
        """The first sound message that was not handed out, and the offset behind it."""
        try:
            fd = self._open(segment)
            header = os.pread(fd, HEADER_BYTES, segment.read_to)
            length = body_length(header)
            if length is not None and segment.read_to + HEADER_BYTES + length <= segment.size:
                data = header + os.pread(fd, length, segment.read_to + HEADER_BYTES)
                found = record_at(data, 0)
                if found is not None and isinstance(found[0], Stored):
                    return found[0], segment.read_to + found[1]
            rest = os.pread(fd, segment.size - segment.read_to, segment.read_to)
            found = next_record(rest, 1)
        except OSError as exc:
            self.problem = printable(exc)
            return None, segment.size
        if found is None or not isinstance(found[0], Stored):
            return None, segment.size
        return found[0], segment.read_to + found[1]

    def _open(self, segment: Segment) -> int:
        if self._reading is None or self._reading[0] is not segment:
            self._stop_reading()
            self._reading = segment, os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        return self._reading[1]

    def _stop_reading(self) -> None:
        if self._reading is not None:
            os.close(self._reading[1])
            self._reading = None

    # -- an earlier process's segments --------------------------------------------------------------------------------

    def adopt(self, path: Path) -> tuple[Segment, Reading]:
        """Takes over a file that an earlier process left, in the order of the calls; the caller counts what is open in it.

        That process may have been killed before its fsync; the next sync makes up for it.
        """
        segment = Segment(path, own=False)
        self._new_in |= {self._folder, self._folder.parent}
        self._adopted.append(path)
        data = b""
        try:
            data = path.read_bytes()
        except OSError as exc:
            self.problem = printable(exc)
        segment.size = len(data)
        self.segments.append(segment)
        digits = path.stem.rpartition("-")[2]
        self._number = max(self._number, int(digits) if digits.isdecimal() else 0)
        return segment, Reading(data)

    # -- the end of a segment -----------------------------------------------------------------------------------------

    @property
    def disk_bytes(self) -> int:
        """What the segments take on flash."""
        return sum(segment.size for segment in self.segments)

    def drop_oldest(self) -> set[int]:
        """Deletes the oldest segment, whatever is open in it: the keys of what stands on flash all the same."""
        segment = self.segments.popleft()
        if not self.segments:
            self.seal()
        self._delete(segment)
        return self._keys(segment.path) if segment.path in self.stuck else set()

    def _keys(self, path: Path) -> set[int]:
        try:
            return {record.key for record in Reading(path.read_bytes()) if isinstance(record, Stored)}
        except OSError as exc:
            self.problem = printable(exc)
            return set()

    def drop_finished(self) -> None:
        """Deletes the segments in front in which nothing is open any more; the last one stays while it may grow."""
        while len(self.segments) > 1 and self.segments[0].finished:
            self._delete(self.segments.popleft())

    def clear(self) -> None:
        """Deletes everything."""
        self.seal()
        while self.segments:
            self._delete(self.segments.popleft())

    def _delete(self, segment: Segment) -> None:
        if self._reading is not None and self._reading[0] is segment:
            self._stop_reading()
        self.discard(segment.path)

    def discard(self, path: Path) -> None:
        """Deletes a file; what a read-only disk does not let go of is `stuck`, and the journal knows what has ended of it."""
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            self.problem = printable(exc)
            self.stuck.append(path)

    def delete_stuck(self) -> None:
        """Tries again to delete what could not be deleted.

        Raises:
            OSError: flash still does not let go of it.
        """
        while self.stuck:
            self.stuck[-1].unlink(missing_ok=True)
            self.stuck.pop()
        self.problem = None

    def close(self) -> None:
        """Lets go of the files."""
        self._stop_reading()
        self.seal()
        for fd in self._unsynced:
            os.close(fd)
        self._unsynced.clear()
