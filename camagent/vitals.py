"""What the machine says of itself: memory, disk, temperature, device, clock. Files are read below CAMAGENT_SYSROOT."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path
from typing import Any

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES = 256  # larger than struct timex on every Linux


def sysroot() -> Path:
    """The root below which SoC, thermal and NPU files lie; tests show another board through it."""
    return Path(os.environ.get("CAMAGENT_SYSROOT", "/"))


def rss_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE


def memory_available() -> int:
    """Bytes that can be used without swapping, as the kernel reckons them (MemAvailable)."""
    for line in Path("/proc/meminfo").read_text("ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def temperature() -> float | None:
    """The hottest thermal zone in degrees Celsius; None where the machine has none."""
    hottest = None
    for zone in sysroot().glob("sys/class/thermal/thermal_zone*/temp"):
        try:
            value = int(zone.read_text("ascii")) / 1000
        except (OSError, ValueError):  # a zone that is switched off cannot be read: it has no temperature to tell
            continue
        hottest = value if hottest is None else max(hottest, value)
    return hottest


def disk(folder: Path) -> dict[str, Any]:
    """Bytes free and in all on the file system of `folder`; the error's words where it cannot be asked."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError as exc:
        return {"error": exc.strerror}
    return {"free": usage.free, "total": usage.total}


def clock_synchronised() -> bool | None:
    """Whether the kernel says that NTP keeps the clock; None where it cannot be asked.

    The service may not ask it (systemd bars every call that could set the clock); timesyncd leaves its word in a file.
    """
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: read only
    state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    return _timesyncd() if state < 0 else state != _TIME_ERROR


def _timesyncd() -> bool | None:
    folder = sysroot() / "run/systemd/timesync"
    return (folder / "synchronized").exists() if folder.is_dir() else None


def device() -> str:
    """The SoC as the device tree names it (`rk3568`), "" where there is no device tree."""
    path = sysroot() / "sys/firmware/devicetree/base/compatible"
    try:
        entries = path.read_bytes().decode("ascii", "replace").split("\0")
    except OSError:  # no device tree: a workstation
        return ""
    return next((entry.partition(",")[2] for entry in reversed(entries) if "," in entry), "")
