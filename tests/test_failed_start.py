"""A start that comes to nothing again and again slows itself down, and goes on as soon as the configuration is touched."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from camagent.control import connect
from camagent.failed_start import FILE_NAME, forget, hold_back, pause_s
from tests.support.notify import Systemd


def test_the_first_failure_is_told_at_once_and_the_pause_has_an_end() -> None:
    assert [pause_s(number) for number in range(1, 8)] == [0.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]
    assert pause_s(10_000) == 60.0


@pytest.mark.parametrize("left", ["", "x", "\x00", "9" * 400])
def test_whatever_stands_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    (tmp_path / FILE_NAME).write_text(left)
    hold_back(tmp_path / "camagent.toml", "x")
    assert (tmp_path / FILE_NAME).read_text() == left, "who starts it by hand is not made to wait, nor counted"


def test_a_success_forgets(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("7")
    forget(tmp_path)
    forget(tmp_path)
    assert not (tmp_path / FILE_NAME).exists()


def test_a_wrong_file_is_told_at_once_then_waited_for(tmp_path: Path) -> None:
    config = tmp_path / "camagent.toml"
    config.write_text("nonsense = 1\n")
    run = tmp_path / "run"
    run.mkdir()
    with Systemd(tmp_path) as systemd:
        environment = {**os.environ, "RUNTIME_DIRECTORY": str(run), **systemd.environment}
        command = [sys.executable, "-m", "camagent", "run", "-c", str(config)]
        first = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert first.returncode == 2
        assert not any("STATUS=" in told for told in systemd.received())
        (run / FILE_NAME).write_text("9")
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as second:
            told = systemd.wait(lambda told: told.startswith("STATUS="))
            assert "CONFIG_INVALID" in told
            assert "tried again in 60 s" in told
            assert "EXTEND_TIMEOUT_USEC=70000000" in told
            time.sleep(1.0)
            assert second.poll() is None
            config.write_text("other_nonsense = 1\n")
            assert second.wait(30) == 2, "the file was touched: another try at once"
            assert second.stderr is not None
            assert "error[CONFIG_INVALID]" in second.stderr.read()
        assert (run / FILE_NAME).read_text() == "10"
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as third:
            systemd.wait(lambda told: told.startswith("STATUS="))
            third.terminate()
            assert third.wait(30) != 0, "it can be stopped while it waits"


def test_who_waits_does_not_hold_the_state_directory(tmp_path: Path) -> None:
    config, run = tmp_path / "camagent.toml", tmp_path / "run"
    run.mkdir()
    (run / FILE_NAME).write_text("9")
    config.write_text(
        f'[agent]\nid = "cam-01"\nstate_dir = "{tmp_path}/state"\n[web]\nlisten = ""\n'
        f'[[camera]]\nname = "front"\nurl = "{tmp_path}/not-there.mp4"\n'
    )
    with Systemd(tmp_path) as systemd:
        environment = {**os.environ, "RUNTIME_DIRECTORY": str(run), **systemd.environment}
        command = [sys.executable, "-m", "camagent", "run", "-c", str(config)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as waiting:
            systemd.wait(lambda told: "INPUT_UNREADABLE" in told)
            assert connect(tmp_path / "state", 0.0) is None, "nobody owns it"
            waiting.terminate()
