"""The camera in a box: a Debian with a systemd of its own, its own network, process and mount namespaces.

    with Box(root) as box:
        box.boot()
        box.run("systemctl", "is-active", "camagent")

`root` stays as it is: what the box writes lies in memory, outlives `power_cut`, and is gone with the box.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.camera.cable import Cable
from tests.camera.cgroups import Groups
from tests.camera.host import BoxError, call, environment
from tests.camera.keeper import Keeper

BOOT_S, HALT_S = 240.0, 90.0
_BOOTED = {"running", "degraded"}
_JOIN = 'for door in $DOORS; do echo 0 > "$door"; done; exec "$@"'
_NSPAWN = (
    "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--settings=no", "--machine=camera",
    "--hostname=camera", "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=read-only",
)  # fmt: skip


class Box:
    """One camera. It ends with this process, however this process ends."""

    def __init__(self, root: Path) -> None:
        self._keeper = Keeper(root)
        self._cable: Cable | None = None
        self._groups: Groups | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._console = tempfile.TemporaryFile()  # noqa: SIM115  closed in __exit__

    def __enter__(self) -> Self:
        self._keeper.__enter__()
        try:
            self._cable = Cable(self._keeper.pid)
            self._groups = Groups(self._keeper.pid)
        except BaseException:
            self._keeper.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            print(self.console()[-3000:])
        with contextlib.ExitStack() as stack:
            stack.callback(self._console.close)
            stack.callback(self._keeper.__exit__, None, None, None)
            stack.callback(self.cable.remove)
            if self._groups is not None:
                stack.callback(self._groups.remove)
            stack.callback(self.power_cut)

    @property
    def cable(self) -> Cable:
        assert self._cable is not None, "outside of `with`"
        return self._cable

    @property
    def disk(self) -> Path:
        """The box's root, without what is mounted in it while it runs. Its symbolic links lead out of it."""
        return self._keeper.disk

    def keep_as(self, folder: Path) -> None:
        """The disk of a box that is off, as a root for others."""
        assert self._process is None, "it is running"
        self._keeper.copy_to(folder)

    # -- power

    def boot(self, timeout_s: float = BOOT_S) -> float:
        """Switches it on; seconds until it had started everything."""
        assert self._groups is not None
        assert self._process is None, "it is running"
        began = time.monotonic()
        namespaces = ("nsenter", "--target", str(self._keeper.pid), "--mount", "--net", "--")
        processes = ("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--")
        command = ["setpriv", "--pdeathsig", "KILL", *namespaces, *processes, "sh", "-ec", _JOIN, "sh"]
        self._process = subprocess.Popen(
            [*command, *_NSPAWN, f"--directory={self._keeper.place}"], stdin=subprocess.DEVNULL,
            stdout=self._console, stderr=subprocess.STDOUT, env={**os.environ, "DOORS": " ".join(self._groups.doors)},
        )  # fmt: skip
        self._wait_booted(began + timeout_s)
        return time.monotonic() - began

    def _wait_booted(self, end: float) -> None:
        """Until systemd has nothing left to do. Raises BoxError with the console's last words."""
        while True:
            with contextlib.suppress(BoxError):
                if self.run("systemctl", "is-system-running", check=False).stdout.strip() in _BOOTED:
                    return
            if self._process is None or self._process.poll() is not None or time.monotonic() > end:
                raise BoxError(f"it does not boot: {self.console()[-2000:]}")
            time.sleep(0.2)

    def power_cut(self) -> None:
        """Every process is gone at once; what they have written stays."""
        if self._process is None:
            return
        inside = psutil.Process(self._process.pid).children(recursive=True) if self._process.poll() is None else []
        self._process.kill()
        self._process.wait()
        self._process = None
        _, left = psutil.wait_procs(inside, timeout=20)
        if left:
            raise BoxError(f"still there after a power cut: {left}")

    def halt(self) -> None:
        """Shuts down in good order."""
        self._go_down("poweroff")

    def reboot(self) -> float:
        """Shuts down and starts in good order; seconds."""
        began = time.monotonic()
        self._go_down("reboot")  # systemd-nspawn ends, and leaves the second half to whoever has started it
        self.boot()
        return time.monotonic() - began

    def _go_down(self, verb: str) -> None:
        assert self._process is not None, "it is off"
        self.run("systemctl", verb, check=False)
        try:
            self._process.wait(HALT_S)
        except subprocess.TimeoutExpired as exc:
            raise BoxError(f"it does not go down: {self.console()[-2000:]}") from exc
        self._process = None

    def console(self) -> str:
        """What it has printed since it was first switched on."""
        size = os.fstat(self._console.fileno()).st_size
        return os.pread(self._console.fileno(), size, 0).decode("utf-8", "replace")

    # -- inside

    @property
    def leader(self) -> int:
        """This machine's number for the box's process 1. Raises BoxError while there is none."""
        if self._process is not None and self._process.poll() is None:
            for process in psutil.Process(self._process.pid).children(recursive=True):
                with contextlib.suppress(OSError):
                    numbers = _numbers(process.pid)
                    if len(numbers) - len(_numbers(self._process.pid)) == 2 and numbers[-1] == "1":
                        return process.pid
        raise BoxError(f"it is off: {self.console()[-2000:]}")

    def run(
        self, *argv: str | Path, timeout_s: float = 60, check: bool = True, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command in the box, as root. Raises BoxError where it fails or takes too long."""
        spaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd")
        limit = ("timeout", "--kill-after=5", f"{timeout_s:.0f}")
        prefix = ("nsenter", "--target", str(self.leader), *spaces, "--", *limit)
        return call(*prefix, *argv, timeout_s=timeout_s + 15, check=check, stdin=stdin, env=environment())

    def put(self, path: str, content: bytes | str, mode: int = 0o644) -> None:
        """A file of root's, while the box is on or off; not below /run and /tmp."""
        target = self.disk / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)


def _numbers(pid: int) -> list[str]:
    """A process's ids, in our namespace first and in its own last."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8", "replace")
    return next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
