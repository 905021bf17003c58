"""The watch over the process itself: what those before it died of, its threads' deadlines, and what systemd is told of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camagent import failed_start
from camagent.clock import Clock
from camagent.lives import Lives, pause_s
from camagent.notify import is_supervised, notify
from camagent.pulse import Pulse
from camagent.watchdog import Watchdog

log = logging.getLogger("camagent")

TURN_S = 120.0  # one turn of the agent's own thread: it stops and starts cameras in it, and waits for the disk
STARTING_S = 300.0  # clearing up after a power cut, on a slow card with many bundles
STOPPING_S = 120.0


class Vigil:
    """`lives` and `watchdog` are for any thread, everything else belongs to the agent's own."""

    def __init__(self, run_dir: Path, clock: Clock) -> None:
        """Takes over from the life before; watches nobody yet."""
        self.lives = Lives(run_dir, clock)
        self.watchdog = Watchdog(clock, self.lives.note_abort)
        self._clock, self._run_dir = clock, run_dir
        self._pulse = Pulse("main", clock.monotonic)
        self._status = ""
        self._cameras_at: float | None = None  # monotonic: when cameras may start; None once they have
        heritage = self.lives.heritage
        if heritage.abort is not None:
            log.error("the watchdog ended the life before this one: %s", heritage.abort)

    def start(self) -> None:
        """From now on every watched thread is expected to keep its word, the calling one too."""
        self.watchdog.watch(self._pulse)
        self.watchdog.start()
        self._pulse.announce(STARTING_S, "starting")

    def ready(self, status: str) -> None:
        """Configuration and state are usable, and who asks is answered."""
        self.watchdog.phase = "running"
        failed_start.forget(self._run_dir)
        early = self.lives.heritage.early
        wait_s = pause_s(early) if is_supervised() else 0.0  # who starts the agent by hand watches it
        self._cameras_at = self._clock.monotonic() + wait_s
        if wait_s:
            log.warning("the %d lives before this one ended soon: cameras start in %.0f s", early, wait_s)
        self._status = status
        notify(READY="1", STATUS=status)

    def cameras_may_start(self, *, now: bool = False) -> bool:
        """True once: when the pause after early deaths is over, or `now`."""
        due = self._cameras_at is not None and (now or self._clock.monotonic() >= self._cameras_at)
        if due:
            self._cameras_at = None
        return due

    def turn(self) -> None:
        """Another turn of the agent's thread begins."""
        self._pulse.beat(TURN_S, "a turn of the agent's own thread")
        self.lives.tick()

    def say(self, status: str) -> None:
        """What `systemctl status` shows, where it has changed."""
        if status != self._status:
            self._status = status
            notify(STATUS=status)

    def stopping(self) -> None:
        """The agent has been told to stop, or falls."""
        self.watchdog.phase = "stopping"
        self._pulse.announce(STOPPING_S, "stopping")
        notify(STOPPING="1", STATUS="stopping")

    def stop(self, *, clean: bool) -> None:
        """The end."""
        self.watchdog.stop()
        if clean:
            self.lives.end()

    def facts(self) -> Mapping[str, Any]:
        """For `health`."""
        heritage = self.lives.heritage
        return {
            "last_abort": heritage.abort, "early_deaths": heritage.early, "npu_hangs": heritage.hangs,
            "unwritten": self.lives.lost,
        }  # fmt: skip
