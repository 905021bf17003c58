"""The overlay on disk: the old one or the new one, whatever happens."""

from __future__ import annotations

from pathlib import Path

from firmware_pkg import disk


def read(place: Path) -> bytes | None:
    """None where there is none. Raises OSError."""
    return place.read_bytes() if place.is_file() else None


def write(place: Path, data: bytes | None) -> None:
    """Durable on return; None takes it away. Raises OSError."""
    if data is None:
        place.unlink(missing_ok=True)
        disk.fsync_folder(place.parent)
    else:
        disk.write_atomic(place, data)


__all__ = ["read", "write"]
