"""The outbox: every message that must arrive stands here from `put` to its acknowledgement, through kill -9 and power cuts.

    outbox = Outbox(state_dir, run_dir, config.mqtt, clock, on_outcome)
    outbox.put(OpenMessage(lane="detections", topic=.., payload=..))     any thread
    entry = outbox.take(); .. outbox.settle(entry.key, "acknowledged")   the sender; `give_back()` when its connection ends
    outbox.tick()                                                        twice a second: the timed work, fsync included

In good times open messages stand in the journal (run folder, tmpfs) and flash is not touched. When the oldest has been open
for `SPILL_AFTER_S`, all go to segments in state_dir/outbox, and so does what comes after, until the sender has caught up.
Too much: the oldest detections are dropped first, events last, and every lost message is counted. A disk that takes nothing
is told in `snapshot().problem`; messages then stay in the journal, within its bound.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from camagent.clock import Clock
from camagent.config import Mqtt
from camagent.outbox.journal import Journal, LastSeq
from camagent.outbox.lane import Dropped, Entry, LaneQueue
from camagent.outbox.records import LANES, Lane, OpenMessage, Stored, pack_message, pack_settled
from camagent.outbox.recovery import Cursor, Remains, recover
from camagent.outbox.segments import SegmentStore
from camagent.outbox.state import OUTCOMES, LaneState, OutboxState, Outcome, OutcomeCallback, Problem

SPILL_AFTER_S = 2.0
RETRY_FLASH_S = 5.0
JOURNAL_BYTES = 8 << 20  # of messages in the run folder and in memory; tmpfs is memory too


class Outbox:
    """Thread-safe. Exactly one per state_dir: the agent's lock sees to that."""

    def __init__(self, state_dir: Path, run_dir: Path, config: Mqtt, clock: Clock, on_outcome: OutcomeCallback) -> None:
        self._clock = clock
        self._on_outcome = on_outcome
        self._limit = config.outbox_mb << 20
        self._sync_s = config.outbox_sync_s
        self._folder = state_dir / "outbox"
        self._lock = Lock()
        self._journal = Journal(run_dir)
        self._last_seq = LastSeq(run_dir)
        self._cursor = Cursor(self._folder)
        self._remains = Remains(self._folder)
        segment_bytes = min(max(self._limit >> 4, 64 << 10), 1 << 20)
        self._lanes = {name: LaneQueue(name, SegmentStore(self._folder, name, segment_bytes)) for name in LANES}
        self._counts = {name: Counter[str]() for name in LANES}
        self._tell: Counter[tuple[str, Outcome]] = Counter()  # outcomes that the caller has not heard of yet
        self._flash_problem: Problem | None = None
        self._retry_at = 0.0
        self._synced_at = clock.monotonic()
        self._spilled = self._extra_bytes = 0
        self._tidy = False  # the cursor's file may go
        self._recover()

    def _recover(self) -> None:
        for lane in self._lanes.values():
            lane.found_at = self._clock.monotonic(), self._clock.wall()
        records, damaged = self._journal.read()
        try:
            records += self._remains.read()
        except OSError as exc:
            self._flash_failed(exc)
        found = recover(records, self._cursor, self._lanes, self._folder)
        self._next_key = found.next_key
        self._flash = found.flash
        self._tidy = not found.flash and self._folder.exists()
        self._damaged = damaged + found.damaged
        self._recovered = found.recovered
        self._compact()
        if self._journal.problem is None and self._remains.path.exists():  # the run folder has it now
            for lane in self._lanes.values():
                lane.store.discard(self._remains.path)
            if self._stuck:
                self._compact()

    # -- any thread ---------------------------------------------------------------------------------------------------

    def put(self, message: OpenMessage) -> None:
        """Takes a message; from here on it is acknowledged, refused or counted as lost, never forgotten."""
        with self._lock:
            lane = self._lanes[message.lane]
            now = self._clock.monotonic()
            stored = Stored(self._next_key, now, self._clock.wall(), message)
            self._next_key += 1
            data = pack_message(stored)
            if len(data) > self._limit:
                self._count(lane, message.camera, "too_large")
            elif not self._straight_to_flash(lane, stored):
                lane.wait(Entry(stored.key, message, now, stored.wall, len(data)))
                self._journal.append(data)
            self._make_room(now)
        self._report()

    def note_seq(self, camera: str, run: int, seq: int) -> None:
        """Remembers the number that a message was given, for the run after a kill -9."""
        with self._lock:
            self._last_seq.note(camera, run, seq)

    def previous(self) -> tuple[int, dict[str, int]] | None:
        """The run before this one and the last seq of each of its cameras, as far as known."""
        return self._last_seq.previous()

    def snapshot(self) -> OutboxState:
        """Everything that can be said about the outbox now."""
        with self._lock:
            now = self._clock.monotonic()
            lanes = {name: self._lane_state(name, now) for name in LANES}
            ages = [state.oldest_s for state in lanes.values() if state.oldest_s is not None]
            return OutboxState(
                messages=sum(state.messages for state in lanes.values()),
                bytes=sum(state.bytes for state in lanes.values()),
                oldest_s=max(ages, default=None),
                in_flight=sum(len(lane.in_flight) for lane in self._lanes.values()),
                on_flash=self._flash,
                spilled=self._spilled,
                flash_bytes=self._extra_bytes + sum(lane.store.written for lane in self._lanes.values()),
                recovered=self._recovered,
                damaged=self._damaged,
                problem=self._problem(),
                lanes=lanes,
            )

    def _lane_state(self, name: Lane, now: float) -> LaneState:
        lane = self._lanes[name]
        opened = lane.oldest()
        age = None if opened is None else max(0.0, now - opened)
        return LaneState(lane.messages, lane.open_bytes, age, *(self._counts[name][outcome] for outcome in OUTCOMES))

    def _problem(self) -> Problem | None:
        if self._flash_problem is not None:
            return self._flash_problem
        for said in (*(lane.store.problem for lane in self._lanes.values()), self._cursor.problem):
            if said is not None:
                return Problem("outbox-disk-failed", said)
        said = self._journal.problem or self._last_seq.problem
        return None if said is None else Problem("outbox-journal-failed", said)

    @property
    def empty(self) -> bool:
        """True when no message is open."""
        with self._lock:
            return all(lane.empty for lane in self._lanes.values())

    # -- the sender ---------------------------------------------------------------------------------------------------

    def take(self) -> Entry | None:
        """The next message to send, events before detections; None when all that is open is in flight."""
        with self._lock:
            entry = None
            for name in LANES:
                lane = self._lanes[name]
                entry = lane.take()
                for camera, lost in lane.lost.items():
                    self._count(lane, camera, "dropped", lost)
                    self._damaged += lost
                lane.lost.clear()
                if entry is not None:
                    break
        self._report()
        return entry

    def settle(self, key: int, outcome: Outcome) -> None:
        """A message in flight is no longer open. A key that is not in flight is ignored: late news of a dropped message."""
        with self._lock:
            for lane in self._lanes.values():
                entry = lane.settle(key)
                if entry is not None:
                    self._count(lane, entry.message.camera, outcome)
                    self._settled(key)
                    break
        self._report()

    def give_back(self) -> None:
        """The connection ended: everything in flight is to be sent again."""
        with self._lock:
            for lane in self._lanes.values():
                lane.give_back()

    # -- the timed work -----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Spills what has been open for too long, goes back to the journal when the sender has caught up, syncs flash."""
        fds: list[int] = []
        low: tuple[int, ...] | None = None
        with self._lock:
            now = self._clock.monotonic()
            oldest = [opened for lane in self._lanes.values() if (opened := lane.oldest_loose()) is not None]
            if oldest and now - min(oldest) >= SPILL_AFTER_S and self._may_write(now):
                self._spill(now)
            self._leave_flash(now)
            if self._stuck and self._may_write(now):
                self._delete_stuck(now)
            if now - self._synced_at >= self._sync_s:
                self._synced_at = now
                fds, low = self._to_sync()
            tidy = self._may_tidy()
            self._tidy = self._tidy and self._stuck
        self._sync(fds, low, tidy=tidy)
        self._report()

    def close(self) -> None:
        """Puts what is open on flash (the run folder may go with the service) and lets go of the files."""
        with self._lock:
            now = self._clock.monotonic()
            if self._stuck:
                self._delete_stuck(now)
            if not all(lane.empty for lane in self._lanes.values()):
                self._spill(now)
            fds, low = self._to_sync()
            fds += self._leave_remains()
            tidy = self._may_tidy()
        self._sync(fds, low, tidy=tidy)
        with self._lock:
            for lane in self._lanes.values():
                lane.store.close()
            self._journal.close()
            self._last_seq.close()
        self._report()

    def _sync(self, fds: list[int], low: tuple[int, ...] | None, *, tidy: bool) -> None:
        """Everything that waits for flash; without the lock, so that nobody who calls `put` waits too."""
        try:
            for fd in fds:
                os.fsync(fd)
            if low is not None:
                self._extra_bytes += self._cursor.write(low)
            if tidy:
                self._cursor.remove()
        except OSError as exc:
            with self._lock:
                self._flash_failed(exc)
        finally:
            for fd in fds:
                os.close(fd)

    def _to_sync(self) -> tuple[list[int], tuple[int, ...] | None]:
        fds: list[int] = []
        try:
            for lane in self._lanes.values():
                fds += lane.store.to_sync()
        except OSError as exc:
            self._flash_failed(exc)
        return fds, self._low() if self._flash else None

    def _leave_remains(self) -> list[int]:
        if not self._flash or not any(lane.only_in_journal for lane in self._lanes.values()):
            return []
        try:
            return self._remains.write(self._journal_records())
        except OSError as exc:
            self._flash_failed(exc)
            return []

    # -- with the lock held -------------------------------------------------------------------------------------------

    def _may_write(self, now: float) -> bool:
        return self._flash_problem is None or now >= self._retry_at

    @property
    def _stuck(self) -> bool:
        return any(lane.store.stuck for lane in self._lanes.values())

    def _may_tidy(self) -> bool:
        return self._tidy and not self._flash and not self._stuck

    def _delete_stuck(self, now: float) -> bool:
        try:
            for lane in self._lanes.values():
                lane.store.delete_stuck()
        except OSError as exc:
            self._flash_failed(exc, now)
            return False
        self._flash_problem = None
        self._compact()
        return True

    def _straight_to_flash(self, lane: LaneQueue, stored: Stored) -> bool:
        if not self._flash or lane.loose or self._flash_problem is not None:
            return False
        try:
            lane.store.append(stored)
        except OSError as exc:
            self._flash_failed(exc)
            return False
        self._spilled += 1
        return True

    def _low(self) -> tuple[int, ...]:
        return tuple(self._lanes[name].low() - 1 for name in LANES)

    def _spill(self, now: float) -> bool:
        if self._stuck:  # some of it may be open, and must not stand on flash twice
            if not self._delete_stuck(now):
                return False
        elif not self._flash:
            self._cursor.begin(self._low())
        try:
            for lane in self._lanes.values():
                before = lane.loose
                try:
                    lane.spill()
                finally:
                    self._spilled += before - lane.loose
                    self._flash = self._flash or bool(lane.store.segments)
        except OSError as exc:
            self._flash_failed(exc, now)
            return False
        self._flash_problem = None
        for lane in self._lanes.values():
            lane.store.problem = None
        self._compact()
        return True

    def _flash_failed(self, exc: OSError, now: float | None = None) -> None:
        self._flash_problem = Problem.of_flash(exc)
        self._retry_at = (self._clock.monotonic() if now is None else now) + RETRY_FLASH_S

    def _leave_flash(self, now: float) -> None:
        """Back to the journal: all that is open is being sent, and none of it has waited long."""
        if not self._flash or not all(lane.all_in_memory for lane in self._lanes.values()):
            return
        oldest = [opened for lane in self._lanes.values() if (opened := lane.oldest()) is not None]
        if oldest and now - min(oldest) >= SPILL_AFTER_S:
            return
        for lane in self._lanes.values():
            for entry in lane.unspill():
                self._journal.append(pack_message(entry.stored()))
            lane.store.clear()
        self._flash, self._tidy = False, True
        self._compact()

    def _settled(self, key: int) -> None:
        if all(lane.empty for lane in self._lanes.values()):
            self._leave_flash(self._clock.monotonic())
            if not self._flash and not self._stuck:
                self._journal.reset()
                return
        self._journal.append(pack_settled(key))
        if self._journal.wasteful:
            self._compact()

    def _compact(self) -> None:
        self._journal.rewrite(self._journal_records())

    def _journal_records(self) -> Iterator[bytes]:
        return (record for lane in self._lanes.values() for record in lane.journal_records())

    def _make_room(self, now: float) -> None:
        lanes = self._lanes.values()
        while sum(lane.store.disk_bytes + lane.journal_bytes for lane in lanes) > self._limit:
            if self._drop_one() is None:
                return  # what is left is in flight
        bound = min(JOURNAL_BYTES, self._limit)
        if sum(lane.journal_bytes for lane in lanes) <= bound or (self._may_write(now) and self._spill(now)):
            return
        while sum(lane.journal_bytes for lane in lanes) > bound and (dropped := self._drop_one()) is not None:
            if dropped.of_flash and self._spill(now):
                return  # the segment that went has made room on the disk

    def _drop_one(self) -> Dropped | None:
        for name in reversed(LANES):
            dropped = self._lanes[name].drop_oldest()
            if dropped is None:
                continue
            for camera, lost in dropped.lost.items():
                self._count(self._lanes[name], camera, "dropped", lost)
            for entry in dropped.saved:
                self._journal.append(pack_message(entry.stored()))
            for key in dropped.ended:
                self._journal.append(pack_settled(key))
            return dropped
        return None

    def _count(self, lane: LaneQueue, camera: str, outcome: Outcome, number: int = 1) -> None:
        self._counts[lane.name][outcome] += number
        self._tell[camera, outcome] += number

    def _report(self) -> None:
        """Tells the caller what became of messages; without the lock."""
        if not self._tell:
            return
        with self._lock:
            told, self._tell = self._tell, Counter()
        for (camera, outcome), number in told.items():
            self._on_outcome(camera, outcome, number)
