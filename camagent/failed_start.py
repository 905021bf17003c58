"""A start that comes to nothing, again and again: the service manager never gives up, so whoever fails slows down by itself.

How often in a row is kept in the run folder; a start that succeeds forgets it, and so does a reboot.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from camagent.notify import is_supervised, microseconds, notify

log = logging.getLogger("camagent")

FILE_NAME = "failed-starts"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
LOOK_S = 0.5
MARGIN_S = 10.0
_BYTES = 16


def pause_s(failures: int) -> float:
    """How long to wait after so many failed starts in a row: the first one is told at once, to whoever has just tried."""
    return 0.0 if failures <= 1 else min(FIRST_PAUSE_S * 2.0 ** min(failures - 2, 16), LONGEST_PAUSE_S)


def hold_back(config: Path, why: str) -> None:
    """Before the process ends with an error: waits where this was not the first time, until the configuration is touched."""
    folder = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if not folder or not is_supervised():
        return
    wait_s = pause_s(_counted(Path(folder) / FILE_NAME))
    if not wait_s:
        return
    status = f"{why}; tried again in {wait_s:.0f} s, or when the file changes"
    log.error("%s", status)
    notify(STATUS=status, EXTEND_TIMEOUT_USEC=microseconds(wait_s + MARGIN_S))
    until, before = time.monotonic() + wait_s, _touched(config)
    while time.monotonic() < until and _touched(config) == before:
        time.sleep(LOOK_S)
        notify(WATCHDOG="1")


def forget(run_dir: Path) -> None:
    """This start has succeeded."""
    try:
        (run_dir / FILE_NAME).unlink(missing_ok=True)
    except OSError as exc:
        log.warning("%s cannot be removed: %s; the next failed start waits longer than it need", FILE_NAME, exc.strerror)


def _counted(path: Path) -> int:
    """This failure's number in a row; 1 where it cannot be known."""
    try:
        with path.open("rb") as file:
            told = file.read(_BYTES).decode("ascii", "replace")
    except FileNotFoundError:
        told = ""
    except OSError as exc:
        log.warning("%s: %s", path, exc.strerror)
        return 1
    failures = 1 + (int(told) if told.isdecimal() else 0)
    try:
        path.write_text(str(failures), "ascii")
    except OSError as exc:
        log.warning("%s: %s", path, exc.strerror)
        return 1
    return failures


def _touched(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:  # not there, or not for this user: that may change
        return None
    return found.st_mtime_ns, found.st_ino
