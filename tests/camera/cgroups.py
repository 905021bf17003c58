"""A control group of the box's own in every hierarchy of this machine, so that its systemd leaves nothing in ours."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

_NAME = "camagent-box-"
_PATIENCE_S = 10.0


class Groups:
    """Made at once; `remove` takes them away, with all that the box has made in them."""

    def __init__(self, keeper: int) -> None:
        """`keeper`: the process that lives as long as the box."""
        places = list(_own())
        for place in places:
            _sweep(place)
        self.folders = [place / f"{_NAME}{keeper}" for place in places]
        for folder in self.folders:
            folder.mkdir(exist_ok=True)
            for file in ("cpuset.cpus", "cpuset.mems"):  # empty in a new group, and then nothing may join
                if (folder / file).exists() and (folder.parent / file).exists():
                    (folder / file).write_text((folder.parent / file).read_text("ascii"))

    @property
    def doors(self) -> list[str]:
        """The files into which a process writes 0 to join."""
        return [str(folder / "cgroup.procs") for folder in self.folders]

    def remove(self) -> None:
        """Waits for what is just dying in there. Raises OSError."""
        end = time.monotonic() + _PATIENCE_S
        for folder in self.folders:
            while folder.exists():
                try:
                    _remove(folder)
                except OSError:  # a process that was killed is counted until it is gone
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.05)


def _remove(folder: Path) -> None:
    for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        inner.rmdir()
    folder.rmdir()


def _sweep(place: Path) -> None:
    """Groups of boxes whose test was killed: they are empty, and the only thing that the kernel does not take away itself."""
    for folder in place.glob(f"{_NAME}*"):
        if not Path("/proc", folder.name.removeprefix(_NAME)).exists():
            with contextlib.suppress(OSError):  # not quite dead yet: the next box sweeps it
                _remove(folder)


def _own() -> Iterator[Path]:
    """The folder of this process's group in each hierarchy that is mounted here."""
    mounts = {}
    for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split()[:3]
        if kind in ("cgroup", "cgroup2"):
            mounts["" if kind == "cgroup2" else options] = Path(left.split()[4])
    for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        wanted = set(controllers.split(",")) - {""}
        for options, mount in mounts.items():
            if (not wanted and not options) or (wanted and wanted <= set(options.split(","))):
                place = mount / path.lstrip("/")
                if place.is_dir() and os.access(place, os.W_OK):
                    yield place
                break
