"""What a process must know of those before it, in the same boot: how they ended, and whether the NPU let them down.

Kept in the run folder, which is a tmpfs under systemd: it costs no flash. After a reboot all is forgiven.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path

import msgspec

from camagent.clock import Clock
from camagent.errors import printable
from camagent.watchdog import Overdue
from firmware_pkg import disk

log = logging.getLogger("camagent")

RECORD_NAME = "lives.json"
LAST_END_NAME = "last-end"  # ExecStopPost leaves systemd's own word there
SETTLED_S = 60.0  # who lives this long has not died of its start
FREE_DEATHS = 3  # so many early deaths in a row cost no time: a kill, a cable that is plugged in
FIRST_PAUSE_S, LONGEST_PAUSE_S = 4.0, 60.0
HUNG_ABORTS = 2
_END_BYTES = 64


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The newest life, as it stands in the run folder."""

    boot: str
    early: int = 0  # lives in a row before this one that ended soon after their start
    settled: bool = False
    clean: bool = False  # it was told to stop
    abort: str | None = None  # why the watchdog ended it
    device: bool = False  # a model ran, or was about to run, on an NPU or the like
    hung: bool = False  # the watchdog ended it in a call into that device
    hangs: int = 0  # such ends before this life without one good call since


_RECORD = msgspec.json.Decoder(Record)


@dataclass(frozen=True, slots=True)
class Heritage:
    """What follows from the life before."""

    early: int = 0
    hangs: int = 0
    abort: str | None = None  # why the watchdog ended it, None where it did not

    @property
    def why_barred(self) -> str:
        """Two watchdog aborts without one good call in between: only a reboot helps. "" while the device may be used."""
        return (self.abort or "it has not come back") if self.hangs >= HUNG_ABORTS else ""


def inherit(before: Record | None, boot: str, last_end: str = "") -> Heritage:
    """`last_end`: systemd's $SERVICE_RESULT of the life before, "" where nobody has told."""
    if before is None or before.boot != boot:
        return Heritage()
    frozen = last_end == "watchdog" and before.abort is None and not before.clean
    hung = before.hung or (frozen and before.device)
    abort = before.abort or ("nothing was heard from any thread: a call held the interpreter" if frozen else None)
    early = 0 if before.clean or before.settled else before.early + 1
    return Heritage(early, before.hangs + hung, abort)


def pause_s(early: int) -> float:
    """How long cameras wait for their start after so many early deaths in a row; who asks is served meanwhile."""
    if early <= FREE_DEATHS:
        return 0.0
    return min(FIRST_PAUSE_S * 2.0 ** min(early - FREE_DEATHS - 1, 16), LONGEST_PAUSE_S)


class Lives:
    """This process's record. Any thread may call; a run folder that takes nothing is counted in `lost` and told once."""

    def __init__(self, run_dir: Path, clock: Clock) -> None:
        """Reads what the life before left, and begins a record of its own."""
        self.lost = 0
        self._path = run_dir / RECORD_NAME
        self._clock, self._began = clock, clock.monotonic()
        self._lock = threading.Lock()
        boot = disk.boot_id()
        self.heritage = inherit(self._read(), boot, self._last_end(run_dir / LAST_END_NAME))
        self._record = Record(boot=boot, early=self.heritage.early, hangs=self.heritage.hangs)
        self._write(self._record)

    def tick(self) -> None:
        """The agent's thread, often."""
        if not self._record.settled and self._clock.monotonic() - self._began >= SETTLED_S:
            self._change(settled=True)

    def uses_device(self) -> None:
        """A model is about to be opened on an NPU or the like."""
        if not self._record.device:
            self._change(device=True)

    def good_call(self) -> None:
        """Such a device has answered."""
        if self._record.hangs:
            self._change(hangs=0)

    def note_abort(self, late: Overdue) -> None:
        """The watchdog ends this life."""
        self._change(abort=late.sentence, hung=late.promise.on_device)

    def end(self) -> None:
        """A clean stop."""
        self._change(clean=True)

    def _change(self, **fields: object) -> None:
        with self._lock:
            self._record = msgspec.structs.replace(self._record, **fields)
            self._write(self._record)

    def _write(self, record: Record) -> None:
        fresh = self._path.with_name(disk.UNFINISHED + RECORD_NAME)
        try:
            fresh.write_bytes(msgspec.json.encode(record))
            fresh.replace(self._path)  # not fsynced: no power cut is outlived, a kill is
        except OSError as exc:
            self.lost += 1
            if self.lost == 1:
                log.error("%s cannot be written: %s; deaths are not counted", self._path, exc.strerror or exc)  # noqa: TRY400

    def _read(self) -> Record | None:
        try:
            return _RECORD.decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as exc:
            log.warning("%s says nothing of the life before: %s", self._path, printable(exc))
            return None

    @staticmethod
    def _last_end(path: Path) -> str:
        """Read once: the next death leaves another."""
        try:
            with path.open("rb") as file:
                told = file.read(_END_BYTES).decode("ascii", "replace").strip()
            path.unlink()
        except FileNotFoundError:
            return ""
        except OSError as exc:
            log.warning("%s: %s", path, exc.strerror)
            return ""
        return told
