"""What is packed: versions, the machine, the configuration, what the agent says, what was done here."""

from __future__ import annotations

import os
import platform
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from camagent import __version__, npu, vitals
from camagent.audit import Audit
from camagent.clock import SystemClock
from camagent.config import Agent
from camagent.config_file import Loaded, origins
from camagent.errors import CodedError, StateError, Unreachable, printable

AUDIT_LINES = 500
_NAME = re.compile(r"^[A-Za-z0-9._-]+")


def versions(ffmpeg: Mapping[str, str]) -> dict[str, Any]:
    """Of the agent, of every library that it may use, and of the FFmpeg in one of them."""
    names = sorted({found[0] for line in requires("camagent") or () if (found := _NAME.match(line)) and "extra ==" not in line})
    return {
        "camagent": __version__, "python": sys.version, "executable": sys.executable,
        "libraries": {name: _version(name) for name in names},
        "ffmpeg": dict(ffmpeg),
    }  # fmt: skip


def machine() -> dict[str, Any]:
    """Kernel, distribution, SoC, NPU with driver and runtime, memory, disk, temperature, clock."""
    system, release = platform.uname(), _os_release()
    return {
        "kernel": f"{system.system} {system.release} {system.version}", "architecture": system.machine, "distribution": release,
        "device": vitals.device(), "memory_available": vitals.memory_available(), "temperature": vitals.temperature(),
        "clock_synchronised": vitals.clock_synchronised(), "time": SystemClock().wall(), "user": os.geteuid(),
        "npu": asdict(npu.look()),
        "devices": {name: _node(Path(name)) for name in ("/dev/rknpu", "/dev/dri", "/dev/dma_heap", "/dev/mpp_service")},
    }  # fmt: skip


def document_of(path: Path) -> tuple[dict[str, Any], str]:
    """The configuration as it is written, sound or not, and what is wrong with reading it."""
    try:
        return tomllib.loads(path.read_text("utf-8")), ""
    except OSError as exc:
        return {}, f"{printable(path)} cannot be read: {exc.strerror}"
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        return {}, f"{printable(path)} is not TOML: {printable(exc)}"


def configuration(loaded: Loaded | None, document: Mapping[str, Any], problem: str) -> dict[str, Any]:
    """Every key in force and where it comes from; of a file that is not sound, what is written in it and what is wrong."""
    if loaded is None:
        return {"problem": problem, "document": document}
    rows = [{"key": key, "value": value, "from": origin} for key, value, origin in origins(loaded)]
    return {"file": str(loaded.path), "digest": loaded.digest, "keys": rows}


def state_dir_of(document: Mapping[str, Any]) -> Path:
    """Where the agent of a configuration, sound or not, keeps its state."""
    section = document.get("agent")
    told = section.get("state_dir") if isinstance(section, Mapping) else None
    return Path(told) if isinstance(told, str) else Agent().state_dir


def agent(state_dir: Path) -> dict[str, Any]:
    """What a running agent says of itself; why it does not where it does not."""
    from camagent.control import connect  # noqa: PLC0415

    try:
        client = connect(state_dir)
        if client is None:
            return {"problem": "no agent runs with this configuration"}
        return {"pid": client.pid, **client.status()}
    except (Unreachable, StateError) as exc:
        return {"problem": exc.render()}
    except CodedError as exc:
        return {"refusal": exc.report()}


def audit(state_dir: Path) -> list[dict[str, Any]]:
    """The last lines of the audit log. Raises OSError."""
    return Audit(state_dir / "audit.jsonl", SystemClock()).tail(AUDIT_LINES)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _os_release() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _node(path: Path) -> str | None:
    try:
        found = path.stat()
    except OSError as exc:
        return exc.strerror
    return f"mode {found.st_mode & 0o7777:04o}, owner {found.st_uid}:{found.st_gid}"
