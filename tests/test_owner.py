from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from camagent import owner
from camagent.errors import StateError


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


def test_write_atomic_leaves_no_litter_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(OSError, match="directory"):
        owner.write_atomic(tmp_path / "target", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
