"""The file itself: members that have been scrubbed, written at once or not at all, for its owner alone."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camagent.errors import FileUnusable
from camagent.support.secrets import Scrubber

FOLDER = "camagent-support"


def member(name: str, value: Any, scrubber: Scrubber) -> bytes:
    """A member's bytes: JSON, JSON lines or text by its name's ending."""
    if name.endswith(".json"):
        return json.dumps(scrubber.value(value), indent=1, default=str, ensure_ascii=False).encode(errors="replace") + b"\n"
    if name.endswith(".jsonl"):
        lines = [json.dumps(scrubber.value(entry), default=str, ensure_ascii=False) for entry in value]
        return "".join(f"{line}\n" for line in lines).encode(errors="replace")
    return scrubber.text(str(value)).encode(errors="replace")


def write(path: Path, members: Mapping[str, bytes], made: float) -> None:
    """A plain tar, readable for whoever calls and nobody else. Raises FileUnusable; an older file then stands as it was."""
    fresh = path.with_name(f".new-{os.getpid()}-{path.name}")
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for name, data in members.items():
                    info = tarfile.TarInfo(f"{FOLDER}/{name}")
                    info.size, info.mtime, info.mode = len(data), int(made), 0o600
                    tar.addfile(info, io.BytesIO(data))
            fresh.replace(path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise FileUnusable.of(exc, path) from exc
