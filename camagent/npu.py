"""What the machine says of its NPU: SoC, device files, driver, runtime library, load, temperature. Read below CAMAGENT_SYSROOT.

Every fact may be missing: debugfs is root's, mainline kernels have other drivers, and a workstation has no NPU at all.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camagent import vitals
from firmware_pkg import soc

# the only place where RKNNLite 2.5.0 looks (tried: neither the others nor LD_LIBRARY_PATH), and those where people put it
RUNTIME = "usr/lib/librknnrt.so"
_ELSEWHERE = ("usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/local/lib", "lib64", "lib", "usr/bin")
_RUNTIME_VERSION = re.compile(rb"librknnrt version: (\d+\.\d+\.\d+[0-9a-z]*)")
_DRIVER_FILES = ("sys/kernel/debug/rknpu/version", "proc/rknpu/version", "sys/module/rknpu/version")
_LOAD_FILES = ("sys/kernel/debug/rknpu/load", "proc/rknpu/load")
_VERSION = re.compile(r"(\d+\.\d+\.\d+)")
_PERCENT = re.compile(r"(\d+)\s*%")
_DEVFREQ = re.compile(r"(\d+)@(\d+)Hz")  # percent of the time since it was last read, at this clock


@dataclass(frozen=True, slots=True)
class Npu:
    """What is known before anything is opened. Paths are as the board has them, without CAMAGENT_SYSROOT."""

    soc: str  # as configured or as the device tree has it; "" where neither says
    compatible: tuple[str, ...]
    files: tuple[str, ...]  # device files through which the driver is reached
    closed: tuple[str, ...]  # of these and what else the runtime opens: what this user may not, with mode and owner
    reachable: bool  # enough of them may be opened
    tree_status: str  # `status` of the NPU's node in the device tree; "" where there is none
    driver: str  # version; "" where the kernel does not say it to this user
    runtime: str  # path of librknnrt.so where it is looked for, "" where there is none
    misplaced: str  # path of one that lies elsewhere, "" where none does
    runtime_version: str  # "" where the library does not say it

    @property
    def cores(self) -> int:
        """How many the NPU has; 0 for a SoC without one that is known."""
        return soc.NPU_CORES.get(soc.canonical(self.soc), 0)

    def evidence(self) -> dict[str, str]:
        """What speaks for an NPU being here, or against it."""
        return {
            "SoC": self.soc or "unknown",
            "device tree": ", ".join(self.compatible) or "none",
            "device files": ", ".join(self.files) or "neither /dev/rknpu nor a DRM node of the driver RKNPU",
        }


def look(device: str = "") -> Npu:
    """The board as it is now. `device`: the SoC, where the configuration names it."""
    files = tuple(_device_files())
    closed, reachable = _rights_of(files)
    runtime = vitals.sysroot() / RUNTIME
    there = runtime.is_file()
    return Npu(
        soc=device or vitals.device(), compatible=vitals.compatible(), files=files, closed=closed, reachable=reachable,
        tree_status=_tree_status(), driver=_driver_version(), runtime=_shown(runtime) if there else "",
        misplaced="" if there else _misplaced(), runtime_version=_runtime_version(runtime) if there else "",
    )  # fmt: skip


def health(device: str = "") -> dict[str, Any]:
    """For `health`; empty where there is no NPU. What cannot be read is null.

    `load`: percent per core, or one number for all; `load_of` says where from: `driver`, or `devfreq`, whose number some
    kernels leave at 100. `frequency`: Hz. `temperature`: degrees Celsius.
    """
    name = device or vitals.device()
    cores = soc.NPU_CORES.get(soc.canonical(name), 0)
    files = list(_device_files())
    if not cores and not files:
        return {}
    load, source = _load()
    return {
        "soc": name, "cores": cores or None, "present": bool(files), "load": load, "load_of": source,
        "frequency": _frequency(), "temperature": temperature(), "driver": _driver_version() or None,
    }  # fmt: skip


def temperature() -> float | None:
    """Of the thermal zone whose type names the NPU (`npu-thermal`, `npu_thermal_zone`); None where no zone does."""
    return max((value for kind, value in vitals.temperatures() if "npu" in kind.lower()), default=None)


def _device_files() -> Iterator[str]:
    root = vitals.sysroot()
    if (root / "dev/rknpu").exists():
        yield "/dev/rknpu"
    for event in sorted(root.glob("sys/class/drm/*/device/uevent")):
        name = event.parent.parent.name
        if "driver=rknpu" in _text(event).lower().split() and (root / "dev/dri" / name).exists():
            yield f"/dev/dri/{name}"


def _rights_of(files: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """A driver behind DRM is reached through any of its nodes; one behind /dev/rknpu takes its memory from a heap besides."""
    root = vitals.sysroot()
    heaps = tuple(_shown(path) for path in sorted(root.glob("dev/dma_heap/*"))) if "/dev/rknpu" in files else ()
    opened = {name for name in files if _opens(name, os.O_RDWR)} | {name for name in heaps if _opens(name, os.O_RDONLY)}
    closed = tuple(f"{name} {_rights(root / name.lstrip('/'))}" for name in (*files, *heaps) if name not in opened)
    return closed, all(not group or opened & set(group) for group in (files, heaps))


def _rights(path: Path) -> str:
    """As `ls -ln` shows them."""
    about = path.stat()
    return f"{stat.filemode(about.st_mode)} {about.st_uid}:{about.st_gid}"


def _opens(name: str, mode: int) -> bool:
    """Tried, because mode bits do not know of systemd's device policy; what fails otherwise is not a matter of rights."""
    try:
        os.close(os.open(vitals.sysroot() / name.lstrip("/"), mode | os.O_CLOEXEC | os.O_NONBLOCK))
    except PermissionError:
        return False
    except OSError:
        return True
    return True


def _tree_status() -> str:
    nodes = sorted(vitals.sysroot().glob("sys/firmware/devicetree/base/npu@*/status"))
    return _text(nodes[0]).strip("\0\n") if nodes else ""


def _driver_version() -> str:
    for name in _DRIVER_FILES:
        if found := _VERSION.search(_text(vitals.sysroot() / name)):
            return found[1]
    return ""


def _misplaced() -> str:
    places = (vitals.sysroot() / folder / Path(RUNTIME).name for folder in _ELSEWHERE)
    return next((_shown(place) for place in places if place.is_file()), "")


def _runtime_version(library: Path) -> str:
    """The version that the library prints when it is opened: it is among its strings."""
    try:
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _RUNTIME_VERSION.search(content)
            return found[1].decode("ascii") if found else ""
    except (OSError, ValueError):  # not to be read, or empty: the runtime itself will say what is wrong with it
        return ""


def _load() -> tuple[list[int] | None, str | None]:
    root = vitals.sysroot()
    for name in _LOAD_FILES:
        if percents := [int(found) for found in _PERCENT.findall(_text(root / name))]:
            return percents, "driver"
    for path in sorted(root.glob("sys/class/devfreq/*npu*/load")):
        if found := _DEVFREQ.search(_text(path)):
            return [int(found[1])], "devfreq"
    return None, None


def _frequency() -> int | None:
    for path in sorted(vitals.sysroot().glob("sys/class/devfreq/*npu*/cur_freq")):
        if (said := _text(path).strip()).isdigit():
            return int(said)
    return None


def _shown(path: Path) -> str:
    return "/" + path.relative_to(vitals.sysroot()).as_posix()


def _text(path: Path) -> str:
    try:
        return path.read_bytes()[:4096].decode("utf-8", "replace")
    except OSError:  # not there, or not for this user: it is not known
        return ""
