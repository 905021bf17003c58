"""Events that have begun and not ended, kept in the run folder: what a killed agent's next life has to end.

The run folder is a tmpfs under systemd, so this costs no flash; a power cut takes it, and those events never end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from camagent.bodies import EventObject
from camagent.errors import printable
from firmware_pkg import disk

log = logging.getLogger("camagent")

_PREFIX, _SUFFIX = "open-events-", ".json"
_DECODER = msgspec.json.Decoder(tuple[EventObject, ...])


class OpenEvents:
    """One camera's file. It belongs to the camera's worker."""

    def __init__(self, run_dir: Path, camera: str) -> None:
        """Writes nothing yet."""
        self.lost = 0  # writes that the run folder did not take
        self._path = run_dir / f"{_PREFIX}{camera}{_SUFFIX}"
        self._fresh = run_dir / f"{disk.UNFINISHED}{self._path.name}"

    def keep(self, objects: Sequence[EventObject]) -> None:
        """These are open, as they were told of last. A folder that takes nothing is told once: a crash costs ends then."""
        try:
            if not objects:
                self._path.unlink(missing_ok=True)
                return
            self._fresh.write_bytes(msgspec.json.encode(objects))
            self._fresh.replace(self._path)  # not fsynced: a kill is outlived, a power cut is not
        except OSError as exc:
            self.lost += 1
            if self.lost == 1:
                log.error("%s cannot be written: %s; a crash leaves events without an end", self._path, exc.strerror or exc)  # noqa: TRY400


def left_behind(run_dir: Path) -> Iterator[tuple[str, tuple[EventObject, ...]]]:
    """(camera, its open events) of the life before; their file is gone once the next one is asked for.

    A file that cannot be removed is told: the life after this one ends its events a second time.
    """
    for path in sorted(run_dir.glob(f"{_PREFIX}*{_SUFFIX}")):
        try:
            objects = _DECODER.decode(path.read_bytes())
        except (OSError, msgspec.DecodeError) as exc:
            log.warning("%s says nothing of the life before: %s", path, printable(exc))
            objects = ()
        yield path.name[len(_PREFIX) : -len(_SUFFIX)], objects
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            log.warning("%s stays: %s", path, exc.strerror or exc)
