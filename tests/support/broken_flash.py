"""Flash that fails under a running process: what lies below a folder becomes full or read-only from one moment to the next.

A mount cannot do that: it refuses to become read-only while a file is open for writing, which is just when real flash does it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

FlashState: TypeAlias = Literal["sound", "full", "read-only"]

_PATHS = ("mkdir", "unlink", "replace", "rename")
_DESCRIPTORS = ("fsync", "fdatasync")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Flash:
    """Stands between this process and the files below `folder`, from `fit` to `remove`. `refused` counts what failed."""

    def __init__(self, folder: Path) -> None:
        self.state: FlashState = "sound"
        self.refused = 0
        self._folder = str(folder)
        self._real: dict[str, Callable[..., Any]] = {}

    def fit(self) -> None:
        """The calls of this process go through here."""
        self._real = {name: getattr(os, name) for name in ("open", "pwrite", *_PATHS, *_DESCRIPTORS)}
        for name in _PATHS:
            setattr(os, name, self._on_path(self._real[name]))
        for name in _DESCRIPTORS:
            setattr(os, name, self._on_descriptor(self._real[name]))
        os.open = self._open
        os.pwrite = self._pwrite

    def remove(self) -> None:
        """The calls go where they went before."""
        for name, real in self._real.items():
            setattr(os, name, real)

    def become(self, state: FlashState) -> None:
        """From here on."""
        self.state, self.refused = state, 0

    def _refuse(self, code: int) -> OSError:
        self.refused += 1
        return OSError(code, os.strerror(code))

    def _below(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and str(path).startswith(self._folder)

    def _on_path(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: object, *rest: object, **named: object) -> object:
            if self.state == "read-only" and self._below(path):
                raise self._refuse(errno.EROFS)
            return real(path, *rest, **named)

        return call

    def _on_descriptor(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(fd: int) -> None:
            if self.state == "read-only" and self._is_below(fd):
                raise self._refuse(errno.EIO)
            real(fd)

        return call

    def _is_below(self, fd: int) -> bool:
        return self._below(Path(f"/proc/self/fd/{fd}").readlink())

    def _open(self, path: Any, flags: int, mode: int = 0o777, **named: Any) -> int:
        if self.state == "read-only" and flags & _WRITING and self._below(path):
            raise self._refuse(errno.EROFS)
        return int(self._real["open"](path, flags, mode, **named))

    def _pwrite(self, fd: int, data: Any, offset: int, /) -> int:
        if self.state == "sound" or not self._is_below(fd):
            return int(self._real["pwrite"](fd, data, offset))
        if self.state == "read-only":
            raise self._refuse(errno.EROFS)
        inside = max(0, os.fstat(fd).st_size - offset)  # what is there already may be overwritten
        if inside >= len(data):
            return int(self._real["pwrite"](fd, data, offset))
        self.refused += 1
        taken = min(len(data) - 1, inside + 100)  # a full disk takes the first part
        return int(self._real["pwrite"](fd, data[:taken], offset))
