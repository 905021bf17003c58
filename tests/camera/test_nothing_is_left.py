"""A box ends with the process that has it, even with kill -9; and root file systems stay as they were."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.camera.box import Box
from tests.camera.roots import ROOT

pytestmark = pytest.mark.box

_HOLD = """
import sys, time
from pathlib import Path
from tests.camera.box import Box
with Box(Path(sys.argv[1])) as box:
    box.boot()
    print(box.leader, flush=True)
    time.sleep(600)
"""


def traces() -> tuple[set[str], set[str], set[int]]:
    """Mounts, interfaces and processes that a box has."""
    mounts = {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if "camera-in-a-box" in line}
    links = {path.name for path in Path("/sys/class/net").glob("camagent-box*")}
    processes = {one.pid for one in psutil.process_iter(["cmdline"]) if "--machine=camera" in (one.info["cmdline"] or ())}
    return mounts, links, processes


def test_kill_9_of_the_test_leaves_nothing(bare: Path) -> None:
    before = traces()
    with subprocess.Popen([sys.executable, "-c", _HOLD, bare], stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout is not None
        leader = int(holder.stdout.readline())
        assert psutil.pid_exists(leader)
        assert traces() != before
        holder.send_signal(signal.SIGKILL)
    end = time.monotonic() + 20
    while (psutil.pid_exists(leader) or traces() != before) and time.monotonic() < end:
        time.sleep(0.1)
    assert not psutil.pid_exists(leader)
    assert traces() == before


def test_what_a_box_writes_is_gone_with_it_and_outlives_a_power_cut(bare: Path) -> None:
    before = traces()
    with Box(bare) as box:
        box.boot()
        box.run("sh", "-c", "echo here > /root/mark; sync")
        box.power_cut()
        box.boot()
        assert box.run("cat", "/root/mark").stdout == "here\n"
    assert not (bare / "root/mark").exists()
    assert traces() == before


def test_nothing_but_the_cable_leads_out(bare: Path) -> None:
    with Box(bare) as box:
        box.boot()
        assert sorted(path.name for path in Path(f"/proc/{box.leader}/root/sys/class/net").iterdir()) == ["eth0", "lo"]
        routes = Path(f"/proc/{box.leader}/net/route").read_text().splitlines()[1:]
        assert [line.split()[1] for line in routes if line.split()[1] == "00000000"] == [], "no way to any other machine"
