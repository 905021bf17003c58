"""camagent demo as a newcomer starts it: in a pipe, in a terminal, with a fault, ended by Ctrl-C, and nothing left behind."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from camagent import cli
from camagent.cli.demo_stage import reserved
from camagent.demo.faults import FAULTS
from camagent.selftest.causes import CAUSES
from tests.support.interrupt import heeding, ignoring
from tests.test_contracts import ROOT

START_S = 60.0
Started = Callable[[Sequence[str]], list[str]]
QUICK = ("scale-missing", "threshold-too-high", "mqtt-auth-refused")


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Where the demo may put things; short, for the agent's socket lies in it."""
    with tempfile.TemporaryDirectory(prefix="d-") as folder:
        yield Path(folder)


@contextmanager
def demo(scratch: Path, *options: str, started: Started = heeding) -> Iterator[subprocess.Popen[str]]:
    """In a process group of its own, as a shell's job is."""
    command = started([sys.executable, "-m", "camagent", "demo", *options])
    environment = {**os.environ, "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            with_children = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))] \
                if process.poll() is None else []  # fmt: skip
            for pid in with_children:
                os.kill(pid, signal.SIGKILL)


def told(process: subprocess.Popen[str], pattern: str) -> str:
    """What it says on stderr in answer to this pattern; fails where it ends before."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if found := re.match(pattern, line):
            return found[1]
    raise AssertionError(f"it ended: {''.join(said)}")


def nothing_left(scratch: Path, group: int) -> None:
    assert not list(scratch.iterdir())
    assert not [one for one in psutil.process_iter() if _group(one) == group]


def _group(process: psutil.Process) -> int:
    try:
        return os.getpgid(process.pid) if process.status() != psutil.STATUS_ZOMBIE else 0
    except (psutil.NoSuchProcess, ProcessLookupError):
        return 0


def test_in_a_pipe_each_message_is_a_line_and_ctrl_c_leaves_nothing_behind(scratch: Path) -> None:
    with demo(scratch) as process:
        assert process.stdout is not None
        bodies = [json.loads(process.stdout.readline()) for _ in range(12)]
        assert {body["schema"] for body in bodies} == {"camagent.detections/1"}
        assert {one["label"] for body in bodies for one in body["detections"]} >= {"car", "person"}
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2, "a broker and an agent"
        os.killpg(process.pid, signal.SIGINT)
        process.stdout.read()
        assert process.wait(30) == 130
        nothing_left(scratch, process.pid)


@pytest.mark.parametrize("said", [r"\$ (camagent key)", r"\$ (camagent bundle create)", r"why +(camagent selftest)"])
@pytest.mark.parametrize("started", [heeding, ignoring])
def test_ctrl_c_is_heeded_at_any_time_also_behind_a_shells_ampersand(scratch: Path, started: Started, said: str) -> None:
    with demo(scratch, started=started) as process:
        told(process, said)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        assert "error[" not in err
        nothing_left(scratch, process.pid)


def make(*words: str) -> list[str]:
    """make, with this Python's commands instead of an environment that it would fill first."""
    quiet = "--no-print-directory"  # these tests may run below a make of their own
    return ["make", quiet, "-f", str(ROOT / "Makefile"), "-o", f"{sys.prefix}/.installed", f"VENV={sys.prefix}", *words]


def test_ctrl_c_at_make_demo_leaves_nothing_behind(scratch: Path) -> None:
    left = ["git", "-C", str(ROOT), "status", "--short"]
    before = subprocess.run(left, capture_output=True, check=True, timeout=60).stdout
    with demo(scratch, started=lambda _: heeding(make("demo", "DEMO=--no-browser"))) as process:
        page = told(process, r"page +http://127.0.0.1:(\d+)")
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["schema"] == "camagent.detections/1"
        os.killpg(process.pid, signal.SIGINT)
        rest, err = process.communicate(timeout=60)
        assert "error[" not in err
        assert {json.loads(line)["schema"] for line in rest.splitlines() if line.startswith("{")} <= {"camagent.detections/1"}
        nothing_left(scratch, process.pid)
        socket.create_server(("127.0.0.1", int(page))).close()
    assert subprocess.run(left, capture_output=True, check=True, timeout=60).stdout == before


def test_make_demo_draws_what_a_model_of_ones_own_sees(tmp_path: Path) -> None:
    model, street = ROOT / "recipes/od_seg/od_seg.onnx", ROOT / "camagent/demo/files/street-day.jpg"
    options = f"OPTIONS=--head od-seg --labels {ROOT}/recipes/od_seg/labels.txt --scale 0.00392157"
    command = make("demo", f"MODEL={model}", f"INPUT={street}", options)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "6 car" in done.stdout
    assert (tmp_path / "camagent-out" / "street-day.jpg").is_file()
    done = subprocess.run(make("demo", "MODEL=x"), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "name something to look at" in done.stdout) == (2, True)


def test_what_make_says_before_it_is_no_line_of_json() -> None:
    command = ["make", "--no-print-directory", "--dry-run", "VENV=nowhere", "demo"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    said = [line for line in lines if line.startswith("echo")]
    assert said
    assert all(line.endswith(">&2") for line in said)


def test_it_ends_by_itself(scratch: Path) -> None:
    with demo(scratch, "--seconds", "1") as process:
        _, err = process.communicate(timeout=START_S)
        assert process.returncode == 0, err
        assert "$ camagent bundle sign roads-1.0.0.cambundle --key signer.pem" in err
        nothing_left(scratch, process.pid)


def test_in_a_terminal_a_table_shows_what_is_seen(scratch: Path) -> None:
    ours, its = pty.openpty()
    environment = {**os.environ, "TMPDIR": str(scratch), "COLUMNS": "100", "TERM": "xterm"}
    command = heeding([sys.executable, "-m", "camagent", "demo", "--no-browser"])
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment, start_new_session=True) as process:
        os.close(its)
        shown, end = b"", time.monotonic() + START_S
        while not re.search(rb"sees.{1,40}\d car", shown) and time.monotonic() < end:
            if select.select([ours], [], [], 0.5)[0]:
                shown += os.read(ours, 65536)
        os.killpg(process.pid, signal.SIGINT)
        while select.select([ours], [], [], 0.2)[0]:  # a terminal that nobody reads holds the table's last lines up
            try:
                os.read(ours, 65536)
            except OSError:
                break
        assert process.wait(30) == 130
        os.close(ours)
    assert re.search(rb"sees.{1,40}\d car", shown), shown[-2000:]
    assert b"http://127.0.0.1:" in shown
    nothing_left(scratch, process.pid)


def test_two_demos_never_mean_to_take_the_same_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        wanted = probe.getsockname()[1]
        with reserved(wanted) as other:
            assert other != wanted, "somebody listens there"
    with reserved(wanted) as first, reserved(wanted) as second:
        assert first == wanted != second
        with socket.create_server(("127.0.0.1", first)):  # the agent's own, some seconds later
            assert second != first
        code = f"from camagent.cli.demo_stage import reserved\nwith reserved({wanted}, {second}) as port: print(port)"
        third = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
        assert int(third) not in {first, second}
    with reserved(wanted) as again:
        assert again == wanted


@pytest.mark.full(seconds=40)
def test_two_demos_started_at_once_have_a_page_each(scratch: Path) -> None:
    folders = [scratch / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    with demo(folders[0]) as one, demo(folders[1]) as other:
        pages = [told(process, r"page +(\S+)") for process in (one, other)]
        assert len(set(pages)) == 2
        for process, page in zip((one, other), pages, strict=True):
            assert requests.get(f"{page}healthz", timeout=30).ok
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["schema"] == "camagent.detections/1"
            os.killpg(process.pid, signal.SIGINT)
        assert [process.wait(30) for process in (one, other)] == [130, 130]
    for folder in folders:
        assert not list(folder.iterdir())


def test_every_fault_is_one_that_the_self_test_knows(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(FAULTS) <= set(CAUSES)
    assert len(FAULTS) >= 12
    assert cli.run(["demo", "--break", "list"]) == 0
    assert capsys.readouterr().out.count("\n") == len(FAULTS)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.full(seconds=40)) for name in FAULTS]
)
def test_the_self_test_names_what_the_demo_has_broken(scratch: Path, name: str) -> None:
    with demo(scratch, "--break", name) as process:
        config = told(process, r"why +camagent selftest -c (\S+)")
        command = [sys.executable, "-m", "camagent", "selftest", "-c", config, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 1, done.stderr
        report = json.loads(done.stdout)
        first = report["causes"][0]
        assert name in {first["id"], *first["alternatives"]}
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 130
    assert not list(scratch.iterdir())


def test_without_its_broker_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("camagent.demo.broker.importlib.util.find_spec", lambda _: None)
    assert cli.run(["demo", "--seconds", "1"]) == 2
    err = capsys.readouterr().err
    assert "error[EXTRA_MISSING]" in err
    assert "pip install 'camagent[demo]'" in err
