"""One lane of the outbox: what is open in it and in which order it goes out. First in, first out, whatever happens between.

Three places, oldest first: `returned` (was sent, the connection ended before the acknowledgement), the segments on flash,
`waiting` (in memory and in the journal). What is being sent right now stands in `in_flight`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

from camagent.outbox.records import Lane, Low, OpenMessage, Stored, pack_low, pack_message, pack_settled
from camagent.outbox.segments import Segment, SegmentStore


@dataclass(slots=True, eq=False)
class Entry:
    """An open message in memory."""

    key: int
    message: OpenMessage
    opened: float  # monotonic
    wall: float
    size: int  # of its record
    segment: Segment | None = None  # where it stands on flash; None: it stands in the journal
    pinned: bool = False  # older than the segments, so it can only stand in the journal

    def stored(self) -> Stored:
        """The entry as files hold it."""
        return Stored(self.key, self.opened, self.wall, self.message)


@dataclass(frozen=True, slots=True)
class Dropped:
    """What making room has cost: lost messages by camera; what the journal must learn."""

    lost: Counter[str]
    saved: tuple[Entry, ...] = ()  # in flight still: they stand in the journal from now on
    ended: tuple[int, ...] = ()  # messages that a file still holds and that are no longer open
    of_flash: bool = False  # a segment went


class LaneQueue:
    """Not thread-safe, the outbox holds its lock."""

    def __init__(self, name: Lane, store: SegmentStore) -> None:
        self.name = name
        self.store = store
        self.returned: deque[Entry] = deque()
        self.waiting: deque[Entry] = deque()
        self.in_flight: dict[int, Entry] = {}
        self.lost: Counter[str] = Counter()  # unreadable on flash, by camera; the outbox takes them from here
        self.journal_count = 0  # entries that stand in the journal
        self.journal_bytes = 0
        self.last_taken = 0  # highest key that was ever handed out
        self.ahead: set[int] = set()  # settled although an older one is open
        self.found_at = 0.0, 0.0  # monotonic and wall time at which an earlier process's segments were found
        self._pinned = 0

    # -- what is open -------------------------------------------------------------------------------------------------

    @property
    def messages(self) -> int:
        """How many messages are open."""
        return self.journal_count + sum(segment.open.total() for segment in self.store.segments)

    @property
    def open_bytes(self) -> int:
        """How many bytes are open."""
        return self.journal_bytes + sum(segment.open_bytes for segment in self.store.segments)

    @property
    def empty(self) -> bool:
        """True when nothing is open."""
        return not self.journal_count and not any(segment.open.total() for segment in self.store.segments)

    @property
    def loose(self) -> int:
        """How many entries are not on flash and may go there."""
        return self.journal_count - self._pinned

    @property
    def only_in_journal(self) -> bool:
        """True when the journal knows what neither the segments nor the cursor can say."""
        low = self.low()
        return bool(self._pinned) or any(key >= low for key in self.ahead)

    @property
    def all_in_memory(self) -> bool:
        """True when flash holds nothing open that is not in memory too."""
        return all(segment.read_to >= segment.size for segment in self.store.segments)

    def oldest_loose(self) -> float | None:
        """When the oldest entry that may go to flash was opened."""
        if not self.loose:
            return None
        times = [entry.opened for entry in self._sent() if entry.segment is None and not entry.pinned]
        if self.waiting:
            times.append(self.waiting[0].opened)
        return min(times, default=None)

    def oldest(self) -> float | None:
        """When the oldest open message was opened, on the monotonic clock."""
        times = [entry.opened for entry in self._sent()]
        unread = self.store.peek()
        if unread is not None and unread.stored is not None:
            times.append(self._opened(unread.stored, unread.segment))
        elif self.waiting:
            times.append(self.waiting[0].opened)
        return min(times, default=None)

    def _sent(self) -> list[Entry]:
        return sorted((*self.in_flight.values(), *self.returned), key=lambda entry: entry.key)

    def _opened(self, stored: Stored, segment: Segment) -> float:
        if segment.own:
            return stored.mono
        mono, wall = self.found_at
        return mono - max(0.0, wall - stored.wall)

    # -- the way in and out -------------------------------------------------------------------------------------------

    def wait(self, entry: Entry) -> None:
        """A new message, which the caller writes to the journal."""
        self._count_in_journal(entry)
        self.waiting.append(entry)

    def restore(self, entry: Entry) -> None:
        """A message of an earlier process that is older than its segments."""
        self._count_in_journal(entry)
        self._pin(entry)
        self.returned.append(entry)

    def resume(self, newest: int, first_open: int | None, ended: set[int]) -> None:
        """Goes on where an earlier process was: `newest` is the highest key it is known to have used.

        `first_open` is the first open message of the segments, `ended` is what stands there and is not open.
        """
        waiting = [entry.key for entry in (*self.returned, *self.waiting)]
        oldest = min(waiting if first_open is None else [*waiting, first_open], default=newest + 1)
        self.last_taken = oldest - 1
        self.ahead = {key for key in ended if key >= oldest}

    def take(self) -> Entry | None:
        """The next message to send; it counts as in flight until `settle` or `give_back`."""
        entry, damaged = self._next()
        if entry is not None:
            self.in_flight[entry.key] = entry
            self.last_taken = max(self.last_taken, entry.key)
        if damaged:
            self._forget_unreadable()
        return entry

    def _next(self) -> tuple[Entry | None, bool]:
        if self.returned:
            return self.returned.popleft(), False
        ended = False
        while (read := self.store.read()) is not None:
            ended = ended or read.segment.read_to >= read.segment.size
            stored = read.stored
            if stored is None:
                continue
            if stored.key < self.low() or stored.key in self.ahead:
                self.last_taken = max(self.last_taken, stored.key)  # settled in an earlier life of this outbox
                continue
            opened = self._opened(stored, read.segment)
            return Entry(stored.key, stored.message, opened, stored.wall, read.size, read.segment), ended
        return (self.waiting.popleft() if self.waiting else None), ended

    def give_back(self) -> None:
        """The connection ended: what is in flight goes out again, before anything younger."""
        self.returned = deque(self._sent())
        self.in_flight.clear()

    def settle(self, key: int) -> Entry | None:
        """A message in flight is no longer open; None where it is not in flight."""
        entry = self.in_flight.pop(key, None)
        if entry is None:
            return None
        if entry.segment is None:
            self._leave_journal(entry)
        else:
            entry.segment.settle(entry.message.camera, entry.size)
            self.store.drop_finished()
        self.ahead.add(key)
        low = self.low()
        if low > key or len(self.ahead) > 64:
            self.ahead = {settled for settled in self.ahead if settled >= low}
        return entry

    def low(self) -> int:
        """Every key below this one is settled."""
        sent = (*self.in_flight, *(entry.key for entry in self.returned))
        return min(sent, default=self.last_taken + 1)

    # -- flash --------------------------------------------------------------------------------------------------------

    def spill(self) -> int:
        """Writes what stands only in the journal into segments; how many messages that were.

        Raises:
            OSError: flash takes no more; what was written before that stands there.
        """
        spilled = 0
        for entry in self._sent():
            if entry.segment is None and not entry.pinned:
                segment = self._to_flash(entry)
                segment.read_to = segment.size  # it is in memory; reading goes on behind it
                spilled += 1
        while self.waiting:
            self._to_flash(self.waiting[0])
            self.waiting.popleft()
            spilled += 1
        return spilled

    def unspill(self) -> list[Entry]:
        """Everything open is in memory: these entries stand in the journal from now on, and the segments can go."""
        moved = [entry for entry in self._sent() if entry.segment is not None]
        for entry in moved:
            self._to_journal(entry)
        for entry in self._sent():
            entry.pinned = False
        self._pinned = 0
        return moved

    def drop_oldest(self) -> Dropped | None:
        """Makes room: the oldest segment goes, else the oldest waiting message. None where there is nothing to drop."""
        if self.store.segments:
            segment = self.store.segments[0]
            saved = [entry for entry in self._sent() if entry.segment is segment]
            for entry in saved:
                self._to_journal(entry)
                self._pin(entry)
            still_there = self.store.drop_oldest() - {entry.key for entry in saved}
            self.ahead |= still_there
            return Dropped(+segment.open, tuple(saved), tuple(still_there), of_flash=True)
        if self.waiting:
            entry = self.waiting.popleft()
            self._leave_journal(entry)
            return Dropped(Counter((entry.message.camera,)), ended=(entry.key,))
        return None

    def _forget_unreadable(self) -> None:
        """Open messages of segments that were read to the end and yet did not turn up are lost to damage."""
        for segment in self.store.segments:
            if segment.read_to >= segment.size and segment.open.total():
                held = Counter(entry.message.camera for entry in self._sent() if entry.segment is segment)
                self.lost += segment.open - held
                segment.open &= held
                segment.open_bytes = segment.open_bytes if held else 0
        self.store.drop_finished()

    def _to_flash(self, entry: Entry) -> Segment:
        segment, size = self.store.append(entry.stored())
        self._leave_journal(entry)
        entry.segment, entry.size = segment, size
        return segment

    def _to_journal(self, entry: Entry) -> None:
        if entry.segment is not None:
            entry.segment.settle(entry.message.camera, entry.size)
            entry.segment = None
        self._count_in_journal(entry)

    def _count_in_journal(self, entry: Entry) -> None:
        self.journal_count += 1
        self.journal_bytes += entry.size

    def _leave_journal(self, entry: Entry) -> None:
        self.journal_count -= 1
        self.journal_bytes -= entry.size
        if entry.pinned:
            entry.pinned = False
            self._pinned -= 1

    def _pin(self, entry: Entry) -> None:
        entry.pinned = True
        self._pinned += 1

    def journal_records(self) -> Iterator[bytes]:
        """What the journal must hold of this lane."""
        low = self.low()
        if self.store.segments or self.store.stuck:
            yield pack_low(Low(self.name, low - 1))
            for key in self.ahead:
                if key >= low:
                    yield pack_settled(key)
        for entry in (*self._sent(), *self.waiting):
            if entry.segment is None:
                yield pack_message(entry.stored())
