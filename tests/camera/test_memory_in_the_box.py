"""Five minutes of a camera's life and its memory, printed and not judged: under emulation it is the emulator's too."""

from __future__ import annotations

import os
import time

import pytest

from tests.camera.host import arch, is_native
from tests.camera.site import Site
from tests.camera.times import tell

pytestmark = pytest.mark.box

MINUTES = float(os.environ.get("CAMAGENT_BOX_MINUTES") or 5)


def test_it_runs_and_prints_its_memory(running: Site) -> None:
    pid = running.unit("MainPID")
    began, told = time.monotonic(), []
    while time.monotonic() - began < MINUTES * 60:
        running.detections()
        pages = running.box.run("cat", f"/proc/{pid}/statm").stdout.split()[1]
        own = running.wait("front/health", lambda body: body["rss"] is not None)
        told.append((time.monotonic() - began, int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20, own["fps"]))
        time.sleep(10)
    assert running.unit("MainPID") == pid
    every = max(1, len(told) // 4)
    shown = ", ".join(f"{rss:.0f} MiB at {at:.0f} s" for at, rss, _ in (*told[::every], told[-1]))
    whose = "the agent" if is_native(arch()) else "the agent and its emulator"
    tell(f"  memory of {whose} over {MINUTES:g} minutes at {told[-1][2]:.1f} frames a second: {shown}")
