"""Lives for the power-cut harness, see histories.py: the owner's own state, the overlay, the audit log, the outbox."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from camagent import audit, overlay_file, owner
from camagent.config import Mqtt
from camagent.outbox import OpenMessage, Outbox
from firmware_pkg import disk

# -- the owner's own state --------------------------------------------------------------------------------------------

OWNER_STEPS = ("first start", "detect off", "second start", "third start, on a full disk")


class OwnerSession:
    """Starts, and keeps a switch."""

    def __init__(self, root: Path, _material: Path) -> None:
        self._state = root / "state"
        self.held = owner.acquire(self._state)

    def do(self, step: int) -> None:
        if step == 1:
            self.held.remember_detect("front", {"on": False})
        elif step == 2:
            self.close()
            self.held = owner.acquire(self._state)
        elif step == 3:
            self.close()
            with _full_disk():
                self.held = owner.acquire(self._state)

    def told(self) -> object:
        return self.seen()

    def act(self) -> None:
        self.held.remember_detect("side", {"on": False})

    def seen(self) -> object:
        return self.held.run

    def follows(self, seen: object) -> None:
        assert isinstance(seen, int)
        assert self.held.run > seen, f"run {self.held.run} was used before"

    def check(self, done: int, *, begun: bool) -> int | None:
        given = {-1: 0, 0: 1, 1: 1, 2: 2, 3: 3}[done]  # numbers that somebody may have seen
        assert self.held.run > given, f"run {self.held.run} was used before"
        if done >= 1:
            assert self.held.detect == {"front": {"on": False}}
        assert not list(self._state.glob(".new-*"))
        run = self.held.run
        self.held.remember_detect("back", {"on": True})
        self.do(2)
        assert (self.held.run, self.held.detect["back"]) == (run + 1, {"on": True})
        return None

    def close(self) -> None:
        self.held.release()


@contextmanager
def _full_disk() -> Iterator[None]:
    """No new file gets a byte."""

    def write_atomic(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    kept, disk.write_atomic = disk.write_atomic, write_atomic
    try:
        yield
    finally:
        disk.write_atomic = kept


# -- what the page changes --------------------------------------------------------------------------------------------

OVERLAY_STEPS = ("start", "a zone", "another", "none again")
OVERLAYS = (None, b"one", b"another", None)


class OverlaySession:
    """Writes an overlay, another, and takes it away."""

    def __init__(self, root: Path, _material: Path) -> None:
        disk.make_folder(root / "state")
        self._place = root / "state" / "overlay.toml"

    def do(self, step: int) -> None:
        overlay_file.write(self._place, OVERLAYS[step])

    def told(self) -> object:
        return None

    def act(self) -> None:
        overlay_file.write(self._place, b"by hand")

    def seen(self) -> object:
        return overlay_file.read(self._place)

    def follows(self, seen: object) -> None:
        assert self.seen() == seen

    def check(self, done: int, *, begun: bool) -> int | None:
        may = [OVERLAYS[max(done, 0)], *([OVERLAYS[done + 1]] if begun else [])]
        assert self.seen() in may, f"{self.seen()!r} is none of {may}"
        return None

    def close(self) -> None:
        pass


# -- the audit log ----------------------------------------------------------------------------------------------------

AUDIT_STEPS = ("start", *(f"line {number}" for number in range(1, 13)))
AUDIT_BYTES = 600  # before the log is rotated: three or four lines


class AuditSession:
    """Writes numbered lines, until the oldest file is given up."""

    def __init__(self, root: Path, _material: Path) -> None:
        disk.make_folder(root / "state")
        self._log = audit.Audit(root / "state" / "audit.jsonl", _Clock())
        audit.ROTATE_BYTES = AUDIT_BYTES

    def do(self, step: int) -> None:
        self._log.note("install", origin="test", version=str(step))

    def told(self) -> object:
        return None

    def act(self) -> None:
        self.do(99)

    def seen(self) -> object:
        return self._lines()[-1:]

    def follows(self, seen: object) -> None:
        assert self.seen() == seen

    def _lines(self) -> list[int]:
        return [int(line["version"]) for line in self._log.tail(100)]

    def check(self, done: int, *, begun: bool) -> int | None:
        seen = self._lines()
        whole = list(range(1, max(done, 0) + 1))
        assert seen in (whole, [*whole, done + 1] if begun else whole), f"{seen} of {whole}"
        return None

    def close(self) -> None:
        pass


# -- the outbox -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mail:
    """A step of the outbox: what is put and settled, and how far the clock then moves before a tick."""

    name: str
    put: tuple[int, ...] = ()
    settle: int = 0
    seconds: float = 0.0
    size: int = 40


# durable once a tick 2 s after `put` has returned: DESIGN section 6
OUTBOX_STEPS = (
    Mail("start"),
    Mail("put and spill", put=(0, 1, 2, 3), seconds=2.5),
    Mail("straight to flash", put=(4, 5, 6), seconds=1.1),
    Mail("a new segment", put=(7, 8), seconds=1.1, size=40_000),
    Mail("and another", put=(9, 10), seconds=1.1, size=40_000),
    Mail("settle some", settle=5, seconds=1.1),
    Mail("settle more", settle=4, seconds=1.1),
    Mail("settle the rest", settle=2, seconds=1.1),
    Mail("a second outage", put=(11, 12, 13), seconds=2.5),
    Mail("of which one is settled", settle=1, seconds=1.1),
    Mail("and then the rest", settle=2, seconds=1.1),
)


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1.7e9 + self.now


class OutboxSession:
    """The run folder is memory: a power cut takes it with it."""

    def __init__(self, root: Path, material: Path) -> None:
        self._state, self._run, self._clock = root / "state", material / f"run-{os.urandom(8).hex()}", _Clock()
        disk.make_folder(self._state)
        self._box = self._open()

    def _open(self) -> Outbox:
        return Outbox(self._state, self._run, Mqtt(outbox_mb=1), self._clock, lambda *_: None)

    def do(self, step: int) -> None:
        mail = OUTBOX_STEPS[step]
        self._do(mail)

    def _do(self, mail: Mail) -> None:
        for number in mail.put:
            self._box.put(OpenMessage("detections", "t", (b"<%05d>" % number).ljust(mail.size, b"x"), camera="front"))
        for _ in range(mail.settle):
            entry = self._box.take()
            assert entry
            self._box.settle(entry.key, "acknowledged")
        self._clock.now += mail.seconds
        self._box.tick()

    def told(self) -> object:
        return None

    def act(self) -> None:
        self._do(Mail("an outage", put=(98,), seconds=2.5))

    def seen(self) -> object:
        seen = self._take_all()
        self._box.give_back()
        return seen

    def follows(self, seen: object) -> None:
        assert isinstance(seen, list)
        assert self._take_all() == seen

    def check(self, done: int, *, begun: bool) -> int | None:
        """Nothing that was durable is lost, nothing that was settled comes again, and what is put now is kept."""
        steps = OUTBOX_STEPS[: done + 1]
        going = OUTBOX_STEPS[done + 1] if begun else Mail("none")
        put = [number for step in steps for number in step.put]
        settled = sum(step.settle for step in steps)
        must = put[settled + going.settle :]
        may = [*put[settled:], *going.put]
        got = self._take_all()
        assert set(must) <= set(got), f"lost {set(must) - set(got)}"
        assert got == [number for number in may if number in got], f"{got} goes out, of {may}"
        self._box.give_back()
        self._do(Mail("afterwards", put=(99,), seconds=2.5))
        self._box.close()
        self._box = self._open()
        assert self._take_all() == [*got, 99]
        return None

    def _take_all(self) -> list[int]:
        taken = []
        while (entry := self._box.take()) is not None:
            taken.append(int(entry.message.payload[1:6]))
        return taken

    def close(self) -> None:
        for lane in self._box._lanes.values():
            lane.store.close()
        self._box._journal.close()
        self._box._last_seq.close()
