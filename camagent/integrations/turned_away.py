"""Which files of a repository were refused here, so that none of them is fetched again every hour. Kept over restarts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from camagent.errors import CodedError
from firmware_pkg import disk

# may be otherwise the next time, with the same bytes: network, disk, clock, a busy agent, a daemon that is being stopped
PASSING = frozenset({
    "DOWNLOAD_FAILED", "NO_SPACE", "STATE_UNUSABLE", "BUSY", "CLOCK_UNTRUSTED", "TRUST_EXPIRED", "TRUST_MISSING",
    "TRUST_ROTATION", "MEMORY_EXHAUSTED", "NPU_HUNG", "NPU_ABSENT", "NPU_PERMISSION_DENIED", "NPU_RUNTIME_MISSING",
})  # fmt: skip


class _File(msgspec.Struct, frozen=True):
    refused: dict[str, dict[str, str]] = {}  # sha256 -> code, circumstances
    schema: Literal[1] = 1


_DECODER = msgspec.json.Decoder(_File)  # built at import, see manifest.py


class TurnedAway:
    """Belongs to whoever holds the repository's lock; its folder is there. Methods raise NoSpace or StateError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def under(self, circumstances: str) -> frozenset[str]:
        """The SHA-256 of files that were refused under these circumstances."""
        return frozenset(sha for sha, entry in self._read().items() if entry.get("circumstances") == circumstances)

    def note(self, sha256: str, circumstances: str, refusal: CodedError) -> None:
        """A file was refused. What may pass the next time is not kept."""
        if refusal.code not in PASSING:
            self._write({**self._read(), sha256: {"code": refusal.code, "circumstances": circumstances}})

    def forget_all_but(self, listed: Iterable[str]) -> None:
        """What is not listed any more cannot come again."""
        known, still = self._read(), set(listed)
        left = {sha: entry for sha, entry in known.items() if sha in still}
        if left != known:
            self._write(left)

    def _read(self) -> Mapping[str, dict[str, str]]:
        with disk.refusing(self._path):
            try:
                return _DECODER.decode(self._path.read_bytes()).refused
            except FileNotFoundError:
                return {}
            except (msgspec.DecodeError, UnicodeDecodeError):
                return {}  # a download more is all that this costs

    def _write(self, refused: Mapping[str, dict[str, str]]) -> None:
        with disk.refusing(self._path.parent):
            disk.write_atomic(self._path, msgspec.json.encode(_File(dict(refused))))
