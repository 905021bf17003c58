"""Any sequence of put, send, ack, disconnect, tick and kill: every message is settled, counted as dropped, or still open."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from camagent.outbox import LANES, Entry
from tests.support.broken_flash import Flash, FlashState
from tests.support.outboxes import Bench

LANE = st.sampled_from(LANES)


class OutboxMachine(RuleBasedStateMachine):
    """The model: numbers that were put, numbers that were settled, and what the outbox says it has dropped."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="outbox-", dir="/dev/shm"))
        self.bench = Bench(self.folder)
        self.flash = Flash(self.bench.state)
        self.flash.fit()
        self.box = self.bench.open()
        self.put_count = 0
        self.settled: set[int] = set()
        self.in_flight: list[Entry] = []
        self.sent: dict[str, list[int]] = {lane: [] for lane in LANES}  # first sends

    @rule(lane=LANE, size=st.sampled_from([0, 300, 5_000, 45_000, 200_000]), count=st.integers(1, 8))
    def put(self, lane: str, size: int, count: int) -> None:
        for _ in range(count):
            self.bench.put(self.box, self.put_count, lane, size)
            self.put_count += 1

    @rule(count=st.integers(1, 20))
    def send(self, count: int) -> None:
        for _ in range(min(count, 20 - len(self.in_flight))):
            entry = self.box.take()
            if entry is None:
                return
            number = self.bench.number(entry.message.payload)
            assert number not in self.settled, "a settled message went out again"
            assert number not in {self.bench.number(other.message.payload) for other in self.in_flight}, "sent twice at once"
            if number not in self.sent[entry.message.lane]:
                self.sent[entry.message.lane].append(number)
            self.in_flight.append(entry)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), outcome=st.sampled_from(["acknowledged", "acknowledged", "acknowledged", "refused"]))
    def settle(self, data: st.DataObject, outcome: str) -> None:
        count = data.draw(st.integers(1, len(self.in_flight)))
        for _ in range(count):
            entry = self.in_flight.pop(data.draw(st.integers(0, min(2, len(self.in_flight) - 1))))
            self.box.settle(entry.key, "refused" if outcome == "refused" else "acknowledged")
            self.settled.add(self.bench.number(entry.message.payload))

    @rule()
    def disconnect(self) -> None:
        self.box.give_back()
        self.in_flight.clear()

    @rule(seconds=st.sampled_from([0.1, 0.5, 2.1]))
    def time_passes(self, seconds: float) -> None:
        self.bench.clock.now += seconds
        self.box.tick()

    @rule()
    def kill(self) -> None:
        self.flash.refused = 0
        self.box = self.bench.reopen_after_kill(self.box)
        self.in_flight.clear()

    @rule()
    def restart(self) -> None:
        self.box.close()
        self.flash.refused = 0
        self.box = self.bench.open()
        self.in_flight.clear()

    @precondition(lambda self: self.flash.state == "sound" and not (self.bench.state / "outbox").is_file())
    @rule()
    def stop(self) -> None:
        """The service ends in good order, and the run folder goes with it."""
        self.box.close()
        shutil.rmtree(self.bench.run)
        self.box = self.bench.open()
        self.in_flight.clear()

    @rule()
    def flash_breaks(self) -> None:
        """A file stands where the folder should be: no new segment can be begun until it is gone."""
        folder = self.bench.state / "outbox"
        if not folder.exists():
            folder.write_bytes(b"")

    @rule(how=st.sampled_from(["full", "read-only"]))
    def flash_fails(self, how: FlashState) -> None:
        """Under the open files: writing, or deleting too, is refused from now on."""
        self.flash.become(how)

    @rule()
    def flash_heals(self) -> None:
        self.flash.become("sound")
        folder = self.bench.state / "outbox"
        if folder.is_file():
            folder.unlink()
        self.bench.clock.now += 6

    @invariant()
    def nothing_is_forgotten(self) -> None:
        if not hasattr(self, "box"):
            return
        state = self.box.snapshot()
        lost = self.bench.outcomes["dropped"] + self.bench.outcomes["too_large"]
        assert state.messages + len(self.settled) + lost == self.put_count
        assert state.in_flight == len(self.in_flight)
        assert state.bytes <= (1 << 20) + 20 * 200_200
        assert state.damaged == 0
        if self.flash.refused:
            assert state.problem is not None
        for lane in LANES:
            assert self.sent[lane] == sorted(self.sent[lane]), "order within a lane"

    def teardown(self) -> None:
        if not hasattr(self, "box"):
            return
        try:
            self._nothing_settled_is_left()
        finally:
            self.flash.remove()
            self.bench.reopen_after_kill(self.box).close()
            shutil.rmtree(self.folder)

    def _nothing_settled_is_left(self) -> None:
        lost = self.bench.outcomes["dropped"] + self.bench.outcomes["too_large"]
        self.disconnect()
        rest = Counter(self.bench.take_all(self.box))
        assert not any(number in self.settled for number in rest)
        assert max(rest.values(), default=1) == 1
        assert len(rest) + len(self.settled) + lost == self.put_count


class LongOutboxMachine(OutboxMachine):
    """The same, at the counts of the full tier."""


def _settings(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = _settings(60, 40)
TestOutboxLong = pytest.mark.full(LongOutboxMachine.TestCase)
TestOutboxLong.settings = _settings(1500, 100)
