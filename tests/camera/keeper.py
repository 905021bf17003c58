"""What outlives a power cut of the box: its disk and its end of the cable. Nothing of it outlives the test."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.camera.host import BoxError, call

# The disk is what is written over `lower`, which stays as it is. systemd-nspawn's own litter goes into a /run of its own.
_KEEP = """
set -e
place=$1 lower=$2
mount -t tmpfs -o mode=755 camera-in-a-box "$place"
mkdir "$place/upper" "$place/work" "$place/root"
layers=lowerdir=$lower,upperdir=$place/upper,workdir=$place/work
if ! mount -t overlay -o "$layers" camera-in-a-box "$place/root" 2>/dev/null; then
  umount "$place"
  mkdir "$place/root"
  cp -a --reflink=auto "$lower/." "$place/root"
fi
mount -t tmpfs -o mode=755 run /run
echo ready
exec cat >/dev/null
"""


class Keeper:
    """A process that holds a mount and a network namespace. The kernel ends it, and them with it, when this process dies."""

    def __init__(self, lower: Path) -> None:
        """`lower`: a root file system; it is not written to."""
        self._lower = lower
        self._folder = tempfile.TemporaryDirectory(prefix="camagent-box-")
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        namespaces = ("unshare", "--mount", "--net", "--propagation", "private")
        command = ["setpriv", "--pdeathsig", "KILL", *namespaces, "sh", "-c", _KEEP, "sh", self._folder.name, str(self._lower)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            _, said = self._process.communicate()
            self._folder.cleanup()
            raise BoxError(f"no disk for the box: {said}")
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def place(self) -> str:
        """Where the disk lies, as the processes in these namespaces see it."""
        return f"{self._folder.name}/root"

    @property
    def disk(self) -> Path:
        """The same, as everybody sees it."""
        return Path(f"/proc/{self.pid}/root{self.place}")

    def copy_to(self, folder: Path) -> None:
        """The disk into a folder that is there."""
        call(
            "nsenter",
            "--target",
            str(self.pid),
            "--mount",
            "cp",
            "-a",
            "--reflink=auto",
            f"{self.place}/.",
            folder,
            timeout_s=600,
        )
