"""What the machine must have on which the box runs, how commands are run on it, and where things are kept."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

Say: TypeAlias = Callable[[str], None]

SUITE = "bookworm"
TOOLS = ("debootstrap", "systemd-nspawn", "nsenter", "unshare", "setpriv", "ip", "mount", "dpkg-deb")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_QEMU = "qemu-aarch64"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class BoxError(Exception):
    """Something around the box went wrong; the box itself is what the tests judge."""


def arch() -> str:
    """Debian's name of the box's architecture: CAMAGENT_BOX_ARCH, arm64 where nobody says."""
    return os.environ.get("CAMAGENT_BOX_ARCH") or "arm64"


def is_native(box: str) -> bool:
    return _MACHINES.get(platform.machine()) == box


def cache() -> Path:
    """Where root file systems are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "camagent" / "box"


def teller() -> Say:
    """Prints a line with the seconds since this call."""
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {line}", file=sys.stderr, flush=True)

    return say


def call(
    *argv: str | Path,
    timeout_s: float = 60,
    check: bool = True,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end. Raises BoxError with its last words where it fails."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, input=b"" if stdin is None else stdin, capture_output=True, timeout=timeout_s, check=False,
            env=dict(env) if env is not None else None,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise BoxError(f"{words[0]}: {exc}") from exc
    out, err = (data.decode("utf-8", "replace") for data in (done.stdout, done.stderr))
    if check and done.returncode:
        raise BoxError(f"{' '.join(words)} ended with {done.returncode}: {(err or out)[-2000:]}")
    return subprocess.CompletedProcess(words, done.returncode, out, err)


def environment() -> dict[str, str]:
    """Of everything that runs in the box: nothing of this machine's comes in."""
    return {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb", "DEBIAN_FRONTEND": "noninteractive"}


def let_foreign_programs_run(box: str) -> None:
    """Tells the kernel to start the box's programs with QEMU, where they are not this machine's own and it does not yet."""
    if is_native(box) or _foreign_runs():
        return
    if not (_BINFMT / "register").exists():
        call("mount", "-t", "binfmt_misc", "binfmt_misc", _BINFMT, check=False)
    if shutil.which("update-binfmts"):
        call("update-binfmts", "--enable", _QEMU, check=False)
    rule = Path("/usr/lib/binfmt.d") / f"{_QEMU}.conf"
    if not _foreign_runs() and rule.is_file() and (_BINFMT / "register").exists():
        (_BINFMT / "register").write_text(rule.read_text("ascii").strip())


def _foreign_runs() -> bool:
    """F: the interpreter is opened once, so that it is there in a box that does not have it."""
    rule = _BINFMT / _QEMU
    return rule.is_file() and "enabled" in (text := rule.read_text("ascii")) and "F" in text.partition("flags:")[2].split()[0]


@functools.cache
def lacking(box: str) -> str:
    """Why no box can be had here; "" where it can."""
    if box not in _MACHINES.values():
        return f"there is no box for {box}: CAMAGENT_BOX_ARCH is arm64 or amd64"
    if os.geteuid() != 0:
        return "a box is made by root"
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        return f"missing: {', '.join(missing)}"
    try:
        let_foreign_programs_run(box)
        call("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "true")
    except (BoxError, OSError) as exc:
        return f"namespaces are not to be had: {exc}"
    if not is_native(box) and not _foreign_runs():
        return f"this kernel does not start {box} programs: install qemu-user-static and binfmt-support"
    return ""


def mirror() -> str:
    """Where this machine's own packages of Debian 12 come from, or CAMAGENT_BOX_MIRROR. Raises BoxError where it has none."""
    if told := os.environ.get("CAMAGENT_BOX_MIRROR"):
        return told
    kinds = ("Created-By: Packages", f"Codename: {SUITE}", "Label: Debian", "Component: main")
    found = call("apt-get", "indextargets", *kinds, "--format", "$(REPO_URI)").stdout.split()
    if not found:
        raise BoxError(f"apt on this machine knows no Debian {SUITE}: name a mirror with CAMAGENT_BOX_MIRROR")
    return found[0]


def proxies() -> Sequence[tuple[str, str]]:
    """apt's proxy, as debootstrap's downloader wants it."""
    answer = call("apt-config", "shell", "proxy", "Acquire::http::Proxy").stdout.strip()
    _, found, value = answer.partition("=")
    return [("http_proxy", value.strip("'"))] if found and value.strip("'") else []
