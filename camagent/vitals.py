"""What the machine says of itself: memory, disk, temperature, device, clock. Files are read below CAMAGENT_SYSROOT."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path
from typing import Any

from firmware_pkg import soc

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_COMPATIBLE = "sys/firmware/devicetree/base/compatible"
_SERIAL = "sys/firmware/devicetree/base/serial-number"
# in the types of the zones on the SoC itself: Rockchip, other ARM, x86; a board has others, for its battery or its radio
_SOC_ZONES = ("soc", "cpu", "core", "center", "pkg")
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


def temperatures() -> list[tuple[str, float]]:
    """(type, degrees Celsius) of every thermal zone that can be read. Their numbers mean nothing: they differ by kernel."""
    found = []
    for zone in sorted(sysroot().glob("sys/class/thermal/thermal_zone*")):
        try:
            kind, value = (zone / "type").read_text("utf-8", "replace").strip(), int((zone / "temp").read_text("ascii"))
        except (OSError, ValueError):  # a zone that is switched off cannot be read: it has no temperature to tell
            continue
        found.append((kind, value / 1000))
    return found


def temperature() -> float | None:
    """Of the SoC in degrees Celsius: the hottest zone whose type names it or its cores, where none does the hottest of all."""
    zones = temperatures()
    of_soc = [value for kind, value in zones if any(word in kind.lower() for word in _SOC_ZONES)]
    return max(of_soc or [value for _, value in zones], default=None)


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


def compatible() -> tuple[str, ...]:
    """The device tree's `compatible` of the board, most special first; empty where there is no device tree: a workstation."""
    try:
        raw = (sysroot() / _COMPATIBLE).read_bytes()
    except OSError:
        return ()
    return tuple(entry for entry in raw.decode("ascii", "replace").split("\0") if entry)


def serial() -> str:
    """The board's serial number as its device tree has it, "" where there is none."""
    try:
        return (sysroot() / _SERIAL).read_bytes().rstrip(b"\0").decode("ascii", "replace")
    except OSError:
        return ""


def device() -> str:
    """The SoC as the device tree names it (`rk3568`), "" where there is no device tree."""
    return soc.named_in(compatible())
