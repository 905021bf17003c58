"""The virtual environment of rknn-toolkit2: found where it was made, or made, and never the agent's own."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from camagent.errors import ToolkitMissing, UsageError
from camagent.rockchip.toolkit import StepFailed, Toolkit

VARIABLE = "CAMAGENT_RKNN_ENV"
VERSION = "2.5.0"
# The toolkit's own pins leave no torch for a current Python, so it is installed without its dependencies and these are named
# here; tried together: conversion and simulation on x86_64, Python 3.11.
NEEDED = (
    "torch==2.13.0", "numpy<=1.26.4", "onnx==1.16.1", "setuptools<80", "protobuf<=4.25.4", "onnxruntime>=1.17",
    "scipy>=1.9.3", "psutil>=5.9", "ruamel.yaml>=0.17.21", "tqdm>=4.64.1", "opencv-python-headless>=4.5.5.64,<5",
    "fast-histogram>=0.11",
)  # fmt: skip
MARKER = "camagent-environment.json"  # written last: a folder without it was not finished
NEEDED_BYTES = 2_500_000_000
_IMPORT_S = 180.0
_TAIL = 3
_NOT_OURS = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
Tell = Callable[[str], None]


def default_folder() -> Path:
    """In the user's cache, as the XDG base directories say; one per toolkit and Python."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(cache) if cache.startswith("/") else Path.home() / ".cache"
    return base / "camagent" / f"rknn-toolkit2-{VERSION}-py{sys.version_info.major}.{sys.version_info.minor}"


def find(wish: Path | None = None) -> Path | None:
    """The environment's Python: the one wished for, that of CAMAGENT_RKNN_ENV, or ours in the cache; None where it is not made.

    Raises UsageError for a folder that is something else.
    """
    named = _named(wish)
    folder = named or default_folder()
    python = folder / "bin" / "python"
    if named is None:
        return python if (folder / MARKER).exists() and python.exists() else None
    if folder.resolve() == Path(sys.prefix).resolve():
        raise UsageError(
            "this is the agent's own environment",
            evidence={"environment": folder, "needed": "one of its own: rknn-toolkit2 pins NumPy 1 and an old onnx"},
            fix="name another folder; it is made where it does not exist",
        )
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if not python.exists() or installed_version(folder) is None:
        raise UsageError(
            f"{folder} has no rknn-toolkit2",
            evidence={
                "environment": folder,
                "needed": "one with rknn-toolkit2, or a folder that is not there",
            },
            fix="name another folder with --environment, or leave it out: one is made in the cache",
        )
    return python


def ready(wish: Path | None, tell: Tell) -> Path:
    """The environment's Python; made first where there is none. Raises UsageError, ToolkitMissing."""
    found = find(wish)
    if found is not None:
        return found
    folder = _named(wish) or default_folder()
    with _alone(folder, tell):
        return find(wish) or make(folder, tell)


def installed_version(folder: Path) -> str | None:
    """Of rknn-toolkit2 in an environment, without starting anything."""
    for path in folder.glob("lib/python3*/site-packages/rknn_toolkit2-*.dist-info"):
        if found := re.fullmatch(r"rknn_toolkit2-([0-9][0-9A-Za-z.+]*)\.dist-info", path.name):
            return found[1]
    return None


def make(folder: Path, tell: Tell) -> Path:
    """Makes the environment; what was half made before is taken away, and so is this one if it cannot be finished."""
    shutil.rmtree(folder, ignore_errors=True)
    _require_room(folder)
    python = folder / "bin" / "python"
    try:
        tell("making a virtual environment")
        _run([sys.executable, "-I", "-m", "venv", str(folder)], tell)
        pip = [str(python), "-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
        tell("installing what rknn-toolkit2 needs")
        _run([*pip, *NEEDED], tell)
        tell(f"installing rknn-toolkit2 {VERSION}")
        _run([*pip, "--no-deps", f"rknn-toolkit2=={VERSION}"], tell)
        tell("trying it")
        about = _tried(python)
        (folder / MARKER).write_text(json.dumps(about) + "\n")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return python


def _named(wish: Path | None) -> Path | None:
    told = os.environ.get(VARIABLE)
    return wish or (Path(told) if told else None)


@contextmanager
def _alone(folder: Path, tell: Tell) -> Iterator[None]:
    """Two commands do not make one environment at once; the second waits."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder.with_name(folder.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise ToolkitMissing(
            f"no environment can be made for rknn-toolkit2: {exc.strerror}", evidence={"folder": folder.parent},
            fix=f"name a folder that can be written: --environment DIR, or {VARIABLE}",
        ) from exc  # fmt: skip
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("waiting for another command that makes it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _require_room(folder: Path) -> None:
    above = next(path for path in folder.parents if path.exists())
    free = shutil.disk_usage(above).free
    if free < NEEDED_BYTES:
        raise ToolkitMissing(
            "there is no room for rknn-toolkit2's environment",
            evidence={"needed": f"{NEEDED_BYTES / 1e9:g} GB", "free": f"{free / 1e9:.1f} GB", "in": above},
            fix=f"make room, or name a folder on another disk: --environment DIR, or {VARIABLE}",
        )


def _run(command: Sequence[str], tell: Tell) -> None:
    """A child whose lines are told; taken away with its own children when this is interrupted."""
    surroundings = {key: value for key, value in os.environ.items() if key not in _NOT_OURS}
    lines: deque[str] = deque(maxlen=200)
    with subprocess.Popen(  # noqa: S603  a list, no shell
        command, env=surroundings, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.strip())
                tell(line.strip())
            code = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if code:
        raise _explained("\n".join(lines))


# what venv and pip say -> what is missing, and what to do
_CAUSES: Sequence[tuple[str, str, str]] = (
    (r"ensurepip is not available|No module named '?ensurepip", "this Python cannot make virtual environments",
     "install its venv package (Debian: apt install python3-venv), and run the command again"),
    (r"No space left on device", "the disk is full",
     f"make room, or name a folder on another disk: --environment DIR, or {VARIABLE}"),
    (r"NewConnectionError|name resolution|Max retries exceeded|ConnectTimeout|Connection refused|unreachable|SSLError",
     "the package index cannot be reached",
     f"run it once where there is a network, or make the environment elsewhere and name it: --environment DIR, or {VARIABLE}"),
    (r"No matching distribution found for ([^\s(]+)|Could not find a version that satisfies the requirement ([^\s(]+)",
     "the package index has no package that fits this machine and Python",
     "it is made for Linux and Python 3.8 to 3.12: set pip's PIP_EXTRA_INDEX_URL, or name an environment: --environment DIR"),
)  # fmt: skip


def _explained(said: str) -> ToolkitMissing:
    words = [line for line in said.splitlines() if line.startswith("ERROR")] or said.splitlines()
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    evidence = {"pip says": " | ".join(words[-_TAIL:]) or "nothing", "machine": machine}
    for pattern, what, fix in _CAUSES:
        if re.search(pattern, said):
            return ToolkitMissing(f"rknn-toolkit2 cannot be installed: {what}", evidence=evidence, fix=fix)
    return ToolkitMissing(
        "rknn-toolkit2 cannot be installed", evidence=evidence,
        fix=f"install it by hand into an environment of its own, and name that: --environment DIR, or {VARIABLE}",
    )  # fmt: skip


def _tried(python: Path) -> dict[str, object]:
    """Versions, from the first import. Raises ToolkitMissing where it does not work on this machine."""
    try:
        with Toolkit(python) as toolkit:
            about, _ = toolkit.ask({"do": "about"}, within_s=_IMPORT_S)
    except StepFailed as exc:
        raise ToolkitMissing(
            "rknn-toolkit2 was installed and cannot be imported", evidence=exc.evidence,
            fix="it needs glibc and an x86_64 or arm64 processor; see its log, and name another environment with --environment",
        ) from exc  # fmt: skip
    return about
