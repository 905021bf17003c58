"""How a byte gets onto the camera's disk so that it stands there after a power cut. Whatever must survive goes through here.

The rule behind it: bytes are on disk after the fsync of their file, a name after the fsync of its folder, and nothing else
promises anything. tests/test_power_cut.py takes away every fsync in turn and shows what would be lost.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from firmware_pkg.errors import NoSpace, StateError

FILE_MODE, FOLDER_MODE = 0o640, 0o750
UNFINISHED = ".new-"  # how the names of files begin that were never put in place; swept at start

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def write_atomic(path: Path, data: bytes) -> None:
    """Old bytes or new bytes, never a mix; the new ones survive a power cut once this returns.

    Raises:
        OSError: the old bytes stand there, and no litter. (Only where the last fsync fails may it be the new ones.)
    """
    fresh = path.with_name(UNFINISHED + secrets.token_hex(8))
    try:
        fd = create(fresh)
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def overwrite(path: Path, data: bytes) -> None:
    """Writes over the first bytes of a file, which needs no room where a file system writes in place; durable on return.

    For a few bytes, of which a disk takes all or none. Raises OSError.
    """
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def create(path: Path) -> int:
    """A descriptor of a new, empty file. Raises OSError, also where anything has that name, a link included."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Writes every byte. Raises OSError: a full disk takes the first part and says so only afterwards."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def place(staged: Path, final: Path) -> None:
    """Gives a file, whose bytes were fsynced, its name; durable once this returns.

    The folder it came from is not fsynced: what a power cut leaves there is a second name, and the next start sweeps it.
    Raises OSError.
    """
    staged.replace(final)
    fsync_folder(final.parent)


def make_folder(path: Path) -> None:
    """Makes a folder and those above it where they are missing; its name is durable once this returns. Raises OSError.

    An empty one may be what a killed process has made and had no time to fsync; that is made up for.
    """
    there = path.is_dir()
    if there and (any(path.iterdir()) or not os.access(path.parent, os.W_OK, effective_ids=True)):
        return  # in use for long, or somebody else has made it
    if path.parent != path:
        make_folder(path.parent)
    if not there:
        path.mkdir(FOLDER_MODE)
    fsync_folder(path.parent)


def fsync_folder(path: Path) -> None:
    """The names in this folder are on disk once this returns. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def free_bytes(folder: Path) -> int:
    """What this process may still write on the file system of `folder`, which exists. Raises OSError."""
    return shutil.disk_usage(folder).free


def no_space(folder: Path, needed: int | None, cause: str = "") -> NoSpace:
    """The refusal for a disk that does not hold something; `needed` in bytes, None where nobody knows."""
    try:
        free = str(free_bytes(folder))
    except OSError as exc:  # the refusal is about something else; it only lacks a number then
        free = f"unknown: {exc.strerror}"
    evidence = {"needed": "unknown" if needed is None else f"{needed} bytes", "free": f"{free} bytes", "folder": folder}
    return NoSpace(
        f"the disk that holds {folder} is full",
        evidence=evidence | ({"error": cause} if cause else {}),
        fix="free some space (old bundles, logs, recordings), or set agent.state_dir to a larger disk; then try again",
    )


@contextlib.contextmanager
def refusing(folder: Path, needed: int | None = None) -> Iterator[None]:
    """Turns the errors of the calls above into refusals with a code. `needed`: bytes that were to be written.

    Raises:
        NoSpace: the disk or the quota is full.
        StateError: read-only, not permitted, broken.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno in FULL:
            raise no_space(folder, needed, exc.strerror or "") from exc
        raise StateError(
            f"{folder} cannot be used: {exc.strerror or exc}",
            evidence={"path": exc.filename or folder, "user": os.geteuid(), "error": exc.strerror or exc},
            fix="make it readable and writable for this user, or set agent.state_dir to another folder",
        ) from exc


def sweep(folder: Path) -> int:
    """Removes what a process that was killed has left half-written in `folder`: how many files. Raises OSError."""
    litter = [path for path in folder.iterdir() if path.name.startswith(UNFINISHED)]
    for path in litter:
        path.unlink()
    return len(litter)


def boot_id() -> str:
    """Another word after every start of the kernel. Raises StateError where the kernel does not say."""
    with refusing(_BOOT_ID):
        return _BOOT_ID.read_text("ascii").strip()
