"""What Home Assistant was told, as it stands in `state_dir` over restarts."""

from __future__ import annotations

from pathlib import Path

import msgspec

from firmware_pkg import disk

SCHEMA = 1


class Sight(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a camera's model gives."""

    task: str = ""
    things: tuple[tuple[str, str], ...] = ()  # label and slug of what it counts


class Announced(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What Home Assistant was told. `topic` is "" where nothing of it stands."""

    schema: int = SCHEMA
    topic: str = ""
    platforms: dict[str, str] = {}  # component -> platform, also of those that are being removed
    sights: dict[str, Sight] = {}  # by camera, for the time in which its model is not open
    withdrawn: tuple[str, ...] = ()  # topics that are to be cleared until the broker has taken it


_ANNOUNCED = msgspec.json.Decoder(Announced)


def read(path: Path) -> Announced:
    """What stands there. Raises FileNotFoundError for nothing, OSError, msgspec.MsgspecError or UnicodeDecodeError."""
    return _ANNOUNCED.decode(path.read_bytes())


def write(path: Path, kept: Announced) -> None:
    """On disk once this returns; nothing is kept of nothing. Raises OSError."""
    if kept == Announced():
        path.unlink(missing_ok=True)
    else:
        disk.write_atomic(path, msgspec.json.encode(kept))
