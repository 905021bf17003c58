from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from camagent import owner
from camagent.errors import StateError
from firmware_pkg import disk


def test_every_start_gets_a_new_run_number(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        held = owner.acquire(tmp_path)
        assert held.run == expected
        held.release()


def test_a_second_owner_is_refused_with_the_first_ones_pid(tmp_path: Path) -> None:
    held = owner.acquire(tmp_path)
    code = f"from pathlib import Path; from camagent import owner; owner.acquire(Path({str(tmp_path)!r}))"
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "another agent owns" in second.stderr
    with pytest.raises(StateError) as caught:
        owner.acquire(tmp_path)
    assert caught.value.evidence["process"] == f"pid {os.getpid()}"
    held.release()
    owner.acquire(tmp_path).release()


def test_the_detect_switch_outlives_a_restart(tmp_path: Path) -> None:
    held = owner.acquire(tmp_path)
    held.remember_detect("front", {"on": False, "since": 1.0, "by": "mqtt"})
    held.release()
    again = owner.acquire(tmp_path)
    assert again.detect == {"front": {"on": False, "since": 1.0, "by": "mqtt"}}
    again.release()


def test_what_two_threads_remember_at_once_is_both_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network thread's command, and the agent's own topics: neither may write what was true before the other."""
    held = owner.acquire(tmp_path)
    writing, go_on, write = threading.Event(), threading.Event(), disk.write_atomic

    def slowly(path: Path, data: bytes) -> None:
        if not writing.is_set():  # the first one: its bytes are made, and it waits for the disk
            writing.set()
            go_on.wait(10)
        write(path, data)

    monkeypatch.setattr(disk, "write_atomic", slowly)
    ids = ["17"]
    first = threading.Thread(target=held.remember_topics, args=({"front": ["a"]},))
    second = threading.Thread(target=held.remember_commands, args=(lambda: ids,))
    first.start()
    assert writing.wait(10)
    second.start()
    second.join(0.3)  # it has written, or it waits for its turn
    ids = ["17", "18"]  # obeyed meanwhile: who writes last has the newest
    go_on.set()
    first.join(10)
    second.join(10)
    held.release()
    after = owner.acquire(tmp_path)
    assert (after.command_ids, after.kept_topics) == (("17", "18"), {"front": ["a"]})
    after.release()


def test_a_newer_agents_state_is_left_untouched(tmp_path: Path) -> None:
    state = tmp_path / owner.STATE_NAME
    state.write_text(json.dumps({"schema": 99, "run": 5}))
    with pytest.raises(StateError, match="newer camagent"):
        owner.acquire(tmp_path)
    assert json.loads(state.read_text()) == {"schema": 99, "run": 5}


def test_damaged_state_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / owner.STATE_NAME).write_text("{")
    with pytest.raises(StateError, match="damaged"):
        owner.acquire(tmp_path)


def test_the_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    assert owner.run_folder(tmp_path) == tmp_path / "run"
    long = tmp_path / ("x" * 100)
    long.mkdir()
    assert len(str(owner.run_folder(long))) < 100
    assert owner.run_folder(long).stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/camagent")
    assert owner.run_folder(tmp_path) == Path("/run/camagent")


AS_OWNER = """
import os, sys
from pathlib import Path
from camagent import owner
from firmware_pkg.store import Store
state = Path(sys.argv[1])
owner.act_as_owner(state)
held = owner.acquire(state)
store = Store(state / "bundles", "boot", lambda: 1.0)
store.recover()
with store.stage(10) as staged:
    staged.write(b"x" * 10)
    print(os.geteuid(), os.getegid(), os.getgroups(), staged.path.stat().st_uid)
held.release()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write as somebody else")
def test_root_writes_as_the_owner_of_the_state_directory() -> None:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)  # pytest's own folders are closed to that user
        os.chown(state, 64321, 64322)
        done = subprocess.run([sys.executable, "-c", AS_OWNER, state], capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() == "64321 64322 [] 64321", done.stderr
        made = [state, *state.rglob("*")]
        assert {path.name for path in made} >= {"state.json", "lock", "run", "bundles", ".staging"}
        assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(64321, 64322)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write as somebody else")
def test_a_state_directory_of_root_or_none_changes_nobody(tmp_path: Path) -> None:
    owner.act_as_owner(tmp_path)
    owner.act_as_owner(tmp_path / "not there")
    assert (os.geteuid(), os.getegid()) == (0, os.getgid())


def test_litter_of_a_killed_process_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".new-0123").write_bytes(b"{")
    owner.acquire(tmp_path).release()
    assert not list(tmp_path.glob(".new-*"))
