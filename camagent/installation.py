"""Putting the service onto a machine or into an image, and taking it away again: files, then systemd's own tools."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

from camagent import unit
from camagent.errors import FileUnusable, Refusal, UsageError, printable
from camagent.unit import Place

TOOL_S = 60.0
BOOTED = Path("/run/systemd/system")  # sd_booted(3)
UDEV = Path("/run/udev/control")  # udevd's socket: containers have none
_SUBSYSTEMS = ("drm", "dma_heap", "misc", "mpp_class")

Outcome: TypeAlias = Literal["written", "unchanged", "kept", "removed", "absent", "done", "skipped"]


class NeedsRoot(UsageError):
    """A service can be put onto this machine by root alone."""

    code = "NEEDS_ROOT"


class ServiceForeign(Refusal):
    """Somebody else has put a file there: a package, or a person."""

    code = "SERVICE_FOREIGN"


class ServiceUnreachable(Refusal):
    """The service's user could not start this command."""

    code = "SERVICE_UNREACHABLE"


class ServiceToolFailed(Refusal):
    """One of systemd's own tools said no."""

    code = "SERVICE_TOOL_FAILED"


@dataclass(frozen=True, slots=True)
class Done:
    """One thing that was done, or not."""

    what: str
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """This machine, or an image whose root folder is `root`."""

    root: Path

    @property
    def is_here(self) -> bool:
        """True for this machine."""
        return self.root == Path("/")

    def path(self, absolute: PurePosixPath) -> Path:
        """Where the file lies from here."""
        return self.root / absolute.relative_to("/")

    def command(self) -> PurePosixPath:
        """The running command, as the target sees it."""
        return unit.inside(PurePosixPath(sys.prefix) / "bin" / "camagent", PurePosixPath(self.root))


def require_root(target: Target) -> None:
    """Raises NeedsRoot for this machine's own folders."""
    if target.is_here and os.geteuid() != 0:
        raise NeedsRoot(
            "a service can be installed and removed by root alone",
            evidence={"user": os.geteuid()},
            fix="run it with sudo, or fill an image with --root DIR",
        )


def unreachable(target: Target) -> str:
    """Why the service's user could not start the running command; "" where it could. An image's folders are judged by name."""
    python = [sys.base_prefix, os.path.realpath(sys.executable)] if target.is_here else []
    for path in [target.command(), *map(PurePosixPath, python)]:
        setting = unit.hidden_by(path)
        if setting:
            return f"{path}: the unit's {setting}= hides it"
        closed = next((one for one in reversed(Path(path).parents) if target.is_here and not one.stat().st_mode & 0o001), None)
        if closed is not None:
            return f"{path}: only its owner may enter {closed}"
    return ""


def require_reachable(target: Target) -> None:
    """Raises ServiceUnreachable."""
    why = unreachable(target)
    if why:
        raise ServiceUnreachable(
            "the service's user could not start this camagent",
            evidence={"why": why},
            fix="make a virtual environment in /opt/camagent, with a Python of the system, and call its camagent",
        )


def require_ours(target: Target) -> None:
    """Raises ServiceForeign where a package has brought the unit, or a person has written a file of that name."""
    packaged = target.path(unit.PACKAGED)
    if packaged.exists():
        raise ServiceForeign(
            "a package has installed the service already",
            evidence={"unit": packaged},
            fix="remove the package first, or use the camagent that it brings",
        )
    for place in unit.PLACES:
        path = target.path(place.target)
        if path.exists() and not unit.is_ours(_read(path)):
            raise ServiceForeign(
                f"{printable(path)} was not written by 'camagent service install'",
                evidence={"file": path},
                fix="move it away; what you want to change in the unit belongs into 'systemctl edit camagent'",
            )


def write(target: Target) -> Iterator[Done]:
    """The service's files, and a configuration where there is none. Raises FileUnusable."""
    command = target.command()
    for place in unit.PLACES:
        yield _written(target.path(place.target), unit.rendered(place, command), place)
    config = target.path(unit.CONFIG)
    example = Place(unit.EXAMPLE, unit.CONFIG, 0o640)
    yield Done(str(config), "kept") if config.exists() else _written(config, unit.data(unit.EXAMPLE), example)


def remove(target: Target) -> Iterator[Done]:
    """The service's files; configuration, state and user stay. Raises FileUnusable."""
    for place in unit.PLACES:
        path = target.path(place.target)
        if not path.exists():
            yield Done(str(path), "absent")
        elif unit.is_ours(_read(path)):
            try:
                path.unlink()
            except OSError as exc:
                raise FileUnusable.of(exc, path) from exc
            yield Done(str(path), "removed")
        else:
            yield Done(str(path), "kept", "somebody else has written it")


def set_up(target: Target, *, enable: bool) -> Iterator[Done]:
    """User, folders, devices, and the service at the next start. Raises ServiceToolFailed."""
    root = [] if target.is_here else [f"--root={target.root}"]
    yield _run("user", ["systemd-sysusers", *root, "camagent.conf"])
    yield _run("folders", ["systemd-tmpfiles", *root, "--create", "camagent.conf"])
    if target.is_here:
        yield _run("udev rules", ["udevadm", "control", "--reload"], where=UDEV)
        match = [f"--subsystem-match={name}" for name in _SUBSYSTEMS]
        yield _run("devices", ["udevadm", "trigger", "--action=change", *match], where=UDEV)
        yield _run("units", ["systemctl", "daemon-reload"], where=BOOTED)
    if enable:
        yield _run("at every start", ["systemctl", *root, "enable", unit.NAME])


def take_down(target: Target) -> Iterator[Done]:
    """Stops the service and takes it out of the start. Call it before `remove`. Raises ServiceToolFailed."""
    if not target.path(unit.PLACES[0].target).exists():
        return
    if target.is_here:
        yield _run("stop", ["systemctl", "stop", unit.NAME], where=BOOTED)
    yield _run("at every start", ["systemctl", *([] if target.is_here else [f"--root={target.root}"]), "disable", unit.NAME])


def begin() -> Iterator[Done]:
    """Starts the service on this machine. Raises ServiceToolFailed."""
    yield _run("start", ["systemctl", "start", unit.NAME], where=BOOTED)


def settle() -> Iterator[Done]:
    """After `remove`, on this machine. Raises ServiceToolFailed."""
    yield _run("udev rules", ["udevadm", "control", "--reload"], where=UDEV)
    yield _run("units", ["systemctl", "daemon-reload"], where=BOOTED)


def is_booted() -> bool:
    """Whether systemd runs this machine."""
    return BOOTED.is_dir()


def _written(path: Path, text: str, place: Place) -> Done:
    try:
        if path.exists() and _read(path) == text:
            return Done(str(path), "unchanged")
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".new-{path.name}")
        fresh.write_text(text, "utf-8")
        fresh.chmod(place.mode)
        fresh.replace(path)
    except OSError as exc:
        raise FileUnusable.of(exc, path) from exc
    return Done(str(path), "written")


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError as exc:
        raise FileUnusable.of(exc, path) from exc


def _run(what: str, command: Sequence[str], *, where: Path | None = None) -> Done:
    """One of systemd's tools; skipped with a reason where it is not there, or what it speaks to does not run here."""
    shown = " ".join(command)
    if where is not None and not where.exists():
        return Done(what, "skipped", f"there is no {where} here; later: {shown}")
    if shutil.which(command[0]) is None:
        return Done(what, "skipped", f"{command[0]} is not installed; later: {shown}")
    try:
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TOOL_S, check=False)  # noqa: S603
        code, said = ran.returncode, ran.stderr.strip() or ran.stdout.strip()
    except subprocess.TimeoutExpired:
        code, said = None, f"it has not come back for {TOOL_S:g} s"
    if code != 0:
        raise ServiceToolFailed(
            f"{command[0]} failed: {printable(said)}",
            evidence={"command": shown, "exit code": code},
            fix="mend what it says and run 'camagent service install' again: what is done already stays as it is",
        )
    return Done(what, "done")
