"""One owner: the lock in state_dir, the run folder beside it, and the small state that must outlive a restart."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from camagent.errors import StateError
from firmware_pkg import disk

log = logging.getLogger("camagent")

SCHEMA = 1
LOCK_NAME, STATE_NAME, RUN_NAME = "lock", "state.json", "run"
SPARE_NAME = "run-number"  # of the last start that found the disk full; its bytes are there beforehand
_SPARE_BYTES = 20
_LOCK_TRIES, _LOCK_WAIT_S = 4, 0.05
_SOCKET_PATH_LIMIT = 100  # sun_path holds 108


@dataclass(slots=True)
class Owner:
    """This process owns `state_dir` until `release`. Any thread may ask it, and have it remember something."""

    state_dir: Path
    run_dir: Path
    run: int  # number of this start, never used before
    _lock: IO[str]
    _state: dict[str, Any]
    _writing: threading.Lock = field(default_factory=threading.Lock)  # all of it is one file: who writes has the newest

    @property
    def detect(self) -> Mapping[str, Any]:
        """What was asked over `cmd/detect`, per camera; kept over restarts."""
        kept: Mapping[str, Any] = self._state.get("detect", {})
        return kept

    def remember_detect(self, camera: str, entry: dict[str, Any]) -> None:
        """Writes a camera's detect switch. Raises StateError when the disk does not take it."""
        with self._writing:
            self._save(detect={**self.detect, camera: entry})

    @property
    def command_ids(self) -> tuple[str, ...]:
        """Ids of the commands that were ever obeyed here, oldest first."""
        return tuple(self._state.get("command_ids", ()))

    def remember_commands(self, ids: Callable[[], Sequence[str]]) -> None:
        """Writes the ids of obeyed commands, asked for when they are written. Raises StateError: the disk does not take it."""
        with self._writing:
            self._save(command_ids=list(ids()))

    @property
    def tested_at(self) -> float:
        """When the agent last tested itself unasked, seconds since 1970; 0 where it never has."""
        return float(self._state.get("tested_at", 0.0))

    def remember_test(self, at: float) -> None:
        """Writes that moment. Raises StateError when the disk does not take it."""
        with self._writing:
            self._save(tested_at=at)

    @property
    def kept_topics(self) -> dict[str, list[str]]:
        """Topics that the broker keeps for us and that may go, by camera."""
        kept: dict[str, list[str]] = self._state.get("kept_topics", {})
        return kept

    def remember_topics(self, kept: dict[str, list[str]]) -> None:
        """Writes them. Raises StateError when the disk does not take it."""
        with self._writing:
            self._save(kept_topics=kept)

    def _save(self, **changes: object) -> None:
        """True in this process from now on, also where the disk does not take it: the next write brings it along."""
        self._state = {**self._state, **changes}
        try:
            disk.write_atomic(self.state_dir / STATE_NAME, json.dumps(self._state).encode())
        except OSError as exc:
            raise _unusable(self.state_dir, exc) from exc

    def release(self) -> None:
        """Gives the state directory to the next owner."""
        self._lock.close()


def acquire(state_dir: Path) -> Owner:
    """Takes the lock and starts a new run number. Raises StateError: held by another, unwritable, or from a newer agent."""
    try:
        disk.make_folder(state_dir)
        lock = (state_dir / LOCK_NAME).open("a+")
        os.fchmod(lock.fileno(), 0o640)  # the group may find the agent, whatever the umask is
    except OSError as exc:
        raise _unusable(state_dir, exc) from exc
    try:
        _lock(lock)
    except OSError as exc:
        holder = _holder(lock)
        lock.close()
        raise StateError(
            f"another agent owns {state_dir}",
            evidence={"process": holder, "this process": os.getpid()},
            fix="stop that agent, or give this one a state_dir of its own",
        ) from exc
    try:
        state = _load(state_dir)
        disk.sweep(state_dir)
        state["run"] = max(int(state.get("run", 0)), _spare(state_dir / SPARE_NAME)) + 1
        _use_up(state_dir, state)
        folder = run_folder(state_dir)
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        lock.truncate(0)
        lock.write(json.dumps({"run": str(folder), "pid": os.getpid()}))
        lock.flush()
    except OSError as exc:
        lock.close()
        raise _unusable(state_dir, exc) from exc
    except StateError:
        lock.close()
        raise
    return Owner(state_dir, folder, state["run"], lock, state)


def _lock(file: IO[str]) -> None:
    """Raises OSError where another process holds it. A client that only looks whether somebody does has it for an instant."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_WAIT_S)
        else:
            return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def run_folder(state_dir: Path) -> Path:
    """$RUNTIME_DIRECTORY where systemd sets it, else state_dir/run; a private folder where a socket's path gets too long."""
    given = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    folder = state_dir.resolve() / RUN_NAME
    if len(str(folder / "control.sock")) <= _SOCKET_PATH_LIMIT:
        return folder
    name = hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:16]
    private = Path(tempfile.gettempdir()) / f"camagent-{os.geteuid()}-{name}"
    private.mkdir(mode=0o700, exist_ok=True)
    if private.stat().st_uid != os.geteuid():
        raise StateError(f"{private} belongs to somebody else", fix="give state_dir a shorter path")
    return private


def act_as_owner(path: Path) -> None:
    """From here on this process writes as the owner of `path`, so that the daemon can read and remove what it makes.

    For a command that root runs while no daemon does. Open what only root may read (keys, files in /root) before this.
    Nothing changes for anybody but root, nor where root itself is the owner or `path` is not there yet.

    Raises:
        StateError: the system does not let root become that user.
    """
    if os.geteuid() != 0:
        return
    try:
        owner = path.stat()
        if owner.st_uid == 0:
            return
        os.setgroups([])
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise StateError(
            f"cannot act as the owner of {path}: {exc.strerror}",
            evidence={"path": path, "user": os.geteuid()},
            fix="run the command as the user that the agent runs as",
        ) from exc


def act_as_oneself() -> None:
    """Ends `act_as_owner`: what is written from here on belongs to whoever called."""
    if os.getuid() == 0 and os.geteuid() != 0:
        os.seteuid(0)
        os.setegid(0)


def _load(state_dir: Path) -> dict[str, Any]:
    path = state_dir / STATE_NAME
    if not path.exists():
        return {"schema": SCHEMA}
    try:
        state: dict[str, Any] = json.loads(path.read_bytes())
        schema = state["schema"]
    except (ValueError, KeyError, TypeError) as exc:
        raise StateError(
            f"{path} is damaged: {exc}", fix="move it away; only run numbers and detect switches start anew"
        ) from exc
    if schema > SCHEMA:
        raise StateError(
            f"{state_dir} was written by a newer camagent and is left untouched",
            evidence={"schema there": schema, "schema known here": SCHEMA},
            fix="install the newer camagent again, or give this one a state_dir of its own",
        )
    return state


def _use_up(state_dir: Path, state: dict[str, Any]) -> None:
    """The run number is on disk once this returns, on a full one too: that must not keep a camera off. Raises OSError."""
    spare = state_dir / SPARE_NAME
    try:
        disk.write_atomic(state_dir / STATE_NAME, json.dumps(state).encode())
    except OSError as exc:
        if exc.errno not in disk.FULL or not spare.exists():
            raise
        disk.overwrite(spare, _padded(state["run"]))
        log.warning("%s is full: run %d begins, and nothing else can be kept there", state_dir, state["run"])
        return
    try:
        if not spare.exists() or spare.stat().st_size != _SPARE_BYTES:
            spare.write_bytes(_padded(0))  # not fsynced: what a power cut takes is there again after the next start
    except OSError as exc:
        log.warning("%s cannot be written: %s; a start on a full disk would fail", spare, exc.strerror)


def _spare(path: Path) -> int:
    try:
        return int(path.read_bytes() or b"0")
    except FileNotFoundError:
        return 0
    except ValueError:  # somebody else has written there; state.json has a number too
        log.warning("%s is damaged", path)
        return 0


def _padded(number: int) -> bytes:
    """As long for every number, so that none needs more room than the one before; half of it over another is no less."""
    return b"%0*d\n" % (_SPARE_BYTES - 1, number)


def _unusable(state_dir: Path, exc: OSError) -> StateError:
    return StateError(
        f"the state directory {state_dir} cannot be written: {exc.strerror}",
        evidence={"state_dir": state_dir, "user": os.geteuid(), "error": exc.strerror or exc},
        fix="make it writable for this user and free some space, or set agent.state_dir to another folder",
    )


def _holder(lock: IO[str]) -> str:
    lock.seek(0)
    try:
        return f"pid {json.loads(lock.read())['pid']}"
    except (ValueError, KeyError):
        return "unknown"
