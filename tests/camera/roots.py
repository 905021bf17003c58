"""Root file systems that boxes start from, kept between runs: a bare camera, and one on which the package is installed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.camera import emulation
from tests.camera.box import Box
from tests.camera.host import SUITE, BoxError, Say, cache, is_native, mirror, proxies

ROOT = Path(__file__).resolve().parents[2]
# what a camera's image has: the package's own dependencies, a device manager, a bus; and a clock that tests can turn
PACKAGES = ("systemd", "systemd-sysv", "dbus", "udev", "python3", "libstdc++6", "zlib1g", "libfaketime")
# timers and consoles of a bigger machine: they only cost time here
_MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
    "console-getty.service", "getty@tty1.service", "getty-static.service",
)  # fmt: skip
_RECIPE = 6  # raised when what is done to a root changes otherwise
_BUILD_S, _TELL_S = 1800.0, 15.0
_UNUSED_S = 86_400.0
SOURCES = ("camagent", "signing", "firmware_pkg", "systemd", "debian", "pyproject.toml")


def base_of(box: str) -> Path:
    """Where the bare camera lies, or would."""
    made_of = repr((box, is_native(box), SUITE, PACKAGES, _MASKED, _RECIPE))
    return cache() / f"base-{box}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"


def base(box: str, say: Say) -> Path:
    """A bare Debian 12 with Python. Made where it is missing, which takes minutes and a mirror. Raises BoxError."""
    target = base_of(box)
    with _alone():
        if not target.is_dir():
            _sweep(f"base-{box}-*", f"installed-{box}-*")
            with _fresh(target) as folder:
                say(f"making a bare Debian {SUITE} for {box}: once, then it is kept in {target.parent}")
                _debootstrap(box, folder, say)
                _settle(folder)
                if not is_native(box):
                    emulation.prepare(folder)
            say(f"kept as {target.name}")
        os.utime(target)
    return target


def installed_of(box: str, deb: Path) -> Path:
    """Where the camera lies, or would, on which this package is installed."""
    digest = hashlib.sha256(deb.read_bytes() + base_of(box).name.encode()).hexdigest()
    return cache() / f"installed-{box}-{digest[:12]}"


def installed(box: str, deb: Path, say: Say) -> Path:
    """A camera on which the package was installed in the ordinary way. Raises BoxError."""
    bare, target = base(box, say), installed_of(box, deb)
    with _alone():
        if not target.is_dir():
            _sweep(f"installed-{box}-*")
            say(f"installing {deb.name} in a box: once for this package")
            with _fresh(target) as folder, Box(bare) as camera:
                say(f"booted in {camera.boot():.1f} s")
                say(f"installed in {install(camera, deb):.1f} s")
                camera.halt()
                camera.keep_as(folder)
            say(f"kept as {target.name}")
        os.utime(target)
    return target


def install(camera: Box, deb: Path, *options: str) -> float:
    """`apt install ./camagent_*.deb` on a camera without a network; seconds."""
    inside = camera.disk / "root" / deb.name
    shutil.copyfile(deb, inside)
    began = time.monotonic()
    camera.run("apt-get", "install", "--yes", "--no-install-recommends", *options, f"/root/{deb.name}", timeout_s=1200)
    took = time.monotonic() - began
    inside.unlink()
    return took


def package(box: str) -> Path | None:
    """The .deb in dist/ that was built of what the checkout holds now; None where there is none."""
    found = sorted((ROOT / "dist").glob(f"camagent_*_{box}.deb"), key=lambda path: path.stat().st_mtime)
    if not found:
        return None
    built = found[-1].stat().st_mtime
    files = [path for name in SOURCES for path in ((ROOT / name).rglob("*") if (ROOT / name).is_dir() else [ROOT / name])]
    newest = max(path.stat().st_mtime for path in files if path.is_file() and "__pycache__" not in path.parts)
    return found[-1] if built >= newest else None


def build_package(box: str, say: Say) -> Path:
    """The same, built where it is missing. Raises BoxError."""
    if found := package(box):
        return found
    say(f"building the package: make deb ARCH={box}")
    _watched(["make", "--no-print-directory", "-C", str(ROOT), "deb", f"ARCH={box}"], {}, say)
    if found := package(box):
        return found
    raise BoxError(f"make deb ARCH={box} left no package in dist/ that is newer than the sources")


def _debootstrap(box: str, folder: Path, say: Say) -> None:
    words = ["debootstrap", f"--arch={box}", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(folder)]
    _watched([*words, mirror()], dict(proxies()), say)


def _settle(folder: Path) -> None:
    """What an image builder does at the end; and nothing of the mirror stays, since a camera has none."""
    for path in (*folder.glob("var/cache/apt/archives/*.deb"), *folder.glob("var/lib/apt/lists/*_*")):
        path.unlink()
    (folder / "etc/apt/sources.list").write_text("")
    (folder / "etc/machine-id").write_text("")
    (folder / "etc/hostname").write_text("camera\n")
    for unit in _MASKED:
        link = folder / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")


def _watched(command: list[str], environment: dict[str, str], say: Say) -> None:
    """Runs something long, and tells every now and then how far it is. Raises BoxError with its last words."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **environment},
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        told = began = time.monotonic()
        for line in process.stdout:
            lines = [*lines[-30:], line.rstrip()]
            if time.monotonic() - told > _TELL_S:
                told = time.monotonic()
                say(f"  {line.strip()[:100]}")
            if time.monotonic() - began > _BUILD_S:
                process.kill()
    if process.returncode:
        raise BoxError(f"{command[0]} ended with {process.returncode}:\n" + "\n".join(lines))


@contextmanager
def _fresh(target: Path) -> Iterator[Path]:
    """A folder that becomes `target` where all goes well, and is gone otherwise."""
    folder = target.with_name(f".{target.name}.{os.getpid()}")
    folder.mkdir(mode=0o755)
    try:
        yield folder
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(*patterns: str) -> None:
    """What was made of other packages or sources and is not used any more: each is most of a gigabyte."""
    for pattern in patterns:
        for path in (*cache().glob(pattern), *cache().glob(f".{pattern}")):
            if time.time() - path.stat().st_mtime > _UNUSED_S:
                shutil.rmtree(path)


@contextmanager
def _alone() -> Iterator[None]:
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
