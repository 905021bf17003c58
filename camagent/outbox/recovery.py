"""What an earlier process left: segments and journal without what was settled, each message once and in order."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from camagent.errors import printable
from camagent.outbox.lane import Entry, LaneQueue
from camagent.outbox.records import LANES, Lane, Low, Reading, Record, Settled, Stored, pack_message
from firmware_pkg import disk

_SLOT = struct.Struct("<IQQQ")  # checksum, generation, the low key of each lane
_SLOT_AT = (0, 512)  # two slots in one page, written in turn: a torn one leaves the other


class Cursor:
    """How far each lane is settled, on flash: after a power cut little goes out twice. One page, overwritten in place."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "cursor"
        self._generation = 0
        self._written: tuple[int, ...] | None = None
        self._named = False  # the file's name is known to stand on flash
        self.problem: str | None = None

    def read(self) -> dict[Lane, int]:
        """The newest sound slot: every key of the lane up to this one is settled. Empty where there is none."""
        best: dict[Lane, int] = {}
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:  # the usual case: no backlog was being drained when the last process ended
            return best
        except OSError as exc:  # what was settled goes out again; nothing is lost
            self.problem = printable(exc)
            return best
        for at in _SLOT_AT:
            slot = data[at : at + _SLOT.size]
            if len(slot) == _SLOT.size and zlib.crc32(slot[4:]) == _SLOT.unpack(slot)[0]:
                _, generation, *low = _SLOT.unpack(slot)
                if generation > self._generation:
                    self._generation = generation
                    best = dict(zip(LANES, low, strict=True))
        return best

    def begin(self, low: tuple[int, ...]) -> None:
        """A backlog begins; nothing of it is settled, so there is nothing to write down until `low` moves."""
        self._written = low

    def write(self, low: tuple[int, ...]) -> int:
        """Replaces the older slot and waits until it stands on flash; the bytes written, 0 where nothing has changed.

        Raises:
            OSError: flash takes no more.
        """
        if low == self._written:
            return 0
        self._generation += 1
        body = _SLOT.pack(0, self._generation, *low)[4:]
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _write(fd, zlib.crc32(body).to_bytes(4, "little") + body, _SLOT_AT[self._generation % 2])
            os.fdatasync(fd)
        finally:
            os.close(fd)
        if not self._named:
            disk.fsync_folder(self._path.parent)
            self._named = True
        self._written = low
        return _SLOT.size

    def remove(self) -> None:
        """There is no backlog any more.

        The segments were deleted before; until that is durable, the cursor is what keeps them from going out again.

        Raises:
            OSError: it stays, and does no harm.
        """
        self._written, self._named = None, False
        disk.fsync_folder(self._path.parent)
        self._path.unlink(missing_ok=True)


class Remains:
    """What only the run folder knows, put on flash when the service stops, for that folder may go with it.

    Messages that are older than the segments, and which messages of the segments have ended before older ones.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "remains"

    def read(self) -> Reading:
        """What the last process has left so.

        Raises:
            OSError: it cannot be read.
        """
        try:
            return Reading(self.path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):  # the usual case
            return Reading(b"")

    def write(self, records: Iterable[bytes]) -> list[int]:
        """Descriptors of the file and of its folder, for fsync; the caller closes them.

        Raises:
            OSError: flash does not take it.
        """
        data = b"".join(records)
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(fd, data, 0)
            return [fd, os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)]
        except OSError:
            os.close(fd)
            raise


def _write(fd: int, data: bytes, offset: int) -> None:
    """All of it, or an error: a disk that is nearly full takes a part and says nothing."""
    if os.pwrite(fd, data, offset) != len(data):
        raise OSError(errno.ENOSPC, "no space left for all of it")


@dataclass(slots=True)
class Found:
    """What recovery has learnt."""

    next_key: int = 1
    damaged: int = 0
    flash: bool = False  # segments with open messages exist
    recovered: int = 0
    low: dict[Lane, int] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    pending: dict[int, Stored] = field(default_factory=dict)  # of the journal

    def learn(self, record: Record) -> None:
        """One record of the journal."""
        if isinstance(record, Settled):
            self.settled.add(record.key)
            self.saw(record.key)
        elif isinstance(record, Low):
            self.low[record.lane] = max(self.low.get(record.lane, 0), record.key)
            self.saw(record.key)
        else:
            self.pending[record.key] = record
            self.saw(record.key)

    def saw(self, key: int) -> None:
        """A key that was used must never be used again, or its end would be taken for another message's."""
        self.next_key = max(self.next_key, key + 1)

    def is_open(self, stored: Stored) -> bool:
        """True while neither a settlement nor a low mark covers it."""
        return stored.key not in self.settled and stored.key > self.low.get(stored.message.lane, 0)


def recover(journal: Iterable[Record], cursor: Cursor, lanes: Mapping[Lane, LaneQueue], folder: Path) -> Found:
    """Fills the lanes with everything that is still open."""
    found = Found()
    for name, key in cursor.read().items():
        found.learn(Low(name, key))
    for record in journal:
        found.learn(record)
    adopted = {name: _adopt_segments(lanes[name], folder, found) for name in LANES}
    for stored in sorted(found.pending.values(), key=lambda item: item.key):
        if not found.is_open(stored):
            continue
        lane = lanes[stored.message.lane]
        entry = Entry(stored.key, stored.message, lane.found_at[0], stored.wall, len(pack_message(stored)))
        found.recovered += 1
        if lane.store.segments and stored.key <= adopted[lane.name].newest:
            lane.restore(entry)
        else:
            lane.wait(entry)
    for name, of_lane in adopted.items():
        lanes[name].resume(max(of_lane.newest, found.low.get(name, 0)), of_lane.first_open, of_lane.ended)
    return found


@dataclass(slots=True)
class _Adopted:
    """What stands in the segments of one lane."""

    newest: int = 0  # the highest key
    first_open: int | None = None
    ended: set[int] = field(default_factory=set)


def _adopt_segments(lane: LaneQueue, folder: Path, found: Found) -> _Adopted:
    """Takes over the segments of one lane."""
    adopted = _Adopted()
    for path in sorted(folder.glob(f"{lane.name}-*.seg")):
        segment, reading = lane.store.adopt(path)
        for record in reading:
            if not isinstance(record, Stored):
                continue
            adopted.newest = max(adopted.newest, record.key)
            found.saw(record.key)
            found.pending.pop(record.key, None)  # kill -9 between writing it here and emptying the journal
            if not found.is_open(record):
                adopted.ended.add(record.key)
                continue
            adopted.first_open = adopted.first_open or record.key
            segment.admit(record.message.camera, len(pack_message(record)))
            found.recovered += 1
        found.damaged += reading.damaged
        if not segment.open.total():
            segment.read_to = segment.size
    lane.store.drop_finished()
    if lane.empty:
        lane.store.clear()
    else:
        found.flash = True
    return adopted
