"""An outbox on a bench: a clock that the test turns, numbered messages, and a kill -9 that leaves the files as they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from camagent.config import Mqtt
from camagent.outbox import Lane, OpenMessage, Outbox, Outcome


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall_offset = 1.7e9

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.wall_offset


class Bench:
    """Numbered messages through an outbox of 1 MiB."""

    def __init__(self, folder: Path) -> None:
        self.state, self.run = folder / "state", folder / "run"
        self.state.mkdir(exist_ok=True)
        self.clock = FakeClock()
        self.outcomes: Counter[Outcome] = Counter()
        self.by_camera: Counter[tuple[str, Outcome]] = Counter()

    def open(self) -> Outbox:
        return Outbox(self.state, self.run, Mqtt(outbox_mb=1), self.clock, self._heard)

    def _heard(self, camera: str, outcome: Outcome, number: int) -> None:
        self.outcomes[outcome] += number
        self.by_camera[camera, outcome] += number

    def reopen_after_kill(self, box: Outbox) -> Outbox:
        """What a process that was killed leaves: its descriptors close, nothing else happens."""
        for lane in box._lanes.values():
            lane.store.close()
        box._journal.close()
        box._last_seq.close()
        return self.open()

    def payload(self, number: int, size: int = 0) -> bytes:
        return (b"<%05d>" % number).ljust(size, b"x")

    def put(self, box: Outbox, number: int, lane: str = "detections", size: int = 0) -> None:
        known: dict[str, Lane] = {"detections": "detections", "events": "events"}
        box.put(OpenMessage(known[lane], f"p/front/{lane}", self.payload(number, size), camera="front"))

    def number(self, payload: bytes) -> int:
        return int(payload[1:6])

    def take_all(self, box: Outbox) -> list[int]:
        """Takes everything and settles nothing."""
        taken = []
        while (entry := box.take()) is not None:
            taken.append(self.number(entry.message.payload))
        return taken

    def settle_all(self, box: Outbox) -> None:
        while (entry := box.take()) is not None:
            box.settle(entry.key, "acknowledged")
