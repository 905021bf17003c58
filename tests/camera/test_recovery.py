"""Whatever happens to a camera on a pole: detections come back by themselves. How long that takes is printed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from firmware_pkg.store import STAGING
from tests.camera.plugins import put_failing_backends
from tests.camera.site import PORT, STATE, Site
from tests.camera.times import timed, took
from tests.support.broker import wait_for
from tests.support.bundles import blob_model, make_signed

pytestmark = pytest.mark.box


def test_kill_9(running: Site) -> None:
    running.detections()
    before = running.newest_run()
    running.kill()
    took("kill -9", running.detections(lambda body: body["run"] > before))


def test_an_inference_that_hangs(running: Site, tmp_path: Path) -> None:
    """It comes back with the same model; a trial that does so three times is over, and the bundle before it runs."""
    put_failing_backends(running.box)
    running.restart()
    path = make_signed(tmp_path, version="1.1.0", artifacts=[{"path": "model.onnx", "backend": "hanger"}])
    running.detections()
    before = running.newest_run()
    assert running.push(path).returncode == 0
    running.detections(lambda body: body["model"]["version"] == "1.1.0")
    took(
        "an inference that hangs: watchdog, abort, the same model again",
        running.detections(lambda body: body["run"] > before and body["model"]["version"] == "1.1.0"),
        "from its last detection; the watchdog gives it 10 s",
    )
    assert (
        "an inference has not come back"
        in running.wait("box-01/health", lambda b: b["watchdog"]["last_abort"])["watchdog"]["last_abort"]
    )
    took(
        "three such deaths: the trial is over, the bundle before it runs",
        running.detections(lambda body: body["model"]["version"] == "1.0.0", 400),
        "from the first recovery",
    )
    assert running.state(current="1.0.0", trial=None)["last_refusal"]["version"] == "1.1.0"


def test_a_call_that_holds_the_interpreter(running: Site, tmp_path: Path) -> None:
    """Nobody in the process can say so: systemd's watchdog ends it, and the next life knows why."""
    put_failing_backends(running.box)
    running.restart()
    path = make_signed(tmp_path, version="1.4.0", artifacts=[{"path": "model.onnx", "backend": "freezer"}])
    running.detections()
    before = running.newest_run()
    assert running.push(path).returncode == 0
    running.detections(lambda body: body["model"]["version"] == "1.4.0")
    took(
        "a call that holds the interpreter: systemd's watchdog, the same model again",
        running.detections(lambda body: body["run"] > before and body["model"]["version"] == "1.4.0"),
        "from its last detection; the watchdog gives it 30 s",
    )
    told = running.wait("box-01/health", lambda body: body["watchdog"]["last_abort"])["watchdog"]
    assert "held the interpreter" in told["last_abort"]
    running.detections(lambda body: body["model"]["version"] == "1.0.0", 400)


def test_an_unplugged_network(running: Site) -> None:
    running.detections()
    running.box.cable.pull()
    running.listener.wait_payload("box-01/available", b"offline", 60)
    time.sleep(10)
    plugged = time.time()
    running.box.cable.plug()
    took("network unplugged for a while, from the plug", running.detections(lambda body: body["frame_time"] > plugged))


@contextmanager
def small_state(site: Site) -> Iterator[None]:
    """The state directory on a partition of 8 MiB."""
    run = site.box.run
    run("systemctl", "stop", "camagent")
    run("cp", "-a", STATE, "/root/state")
    run("mount", "-t", "tmpfs", "-o", "size=8m,mode=750,uid=camagent,gid=camagent", "small", STATE)
    run("cp", "-a", "/root/state/.", STATE)
    site.start()
    try:
        yield
    finally:
        run("rm", "-rf", "/root/state", f"{STATE}/hog")
        run("systemctl", "stop", "camagent")
        run("cp", "-a", STATE, "/root/state")
        run("umount", STATE)
        run("cp", "-a", "/root/state/.", STATE)
        run("rm", "-rf", "/root/state")
        site.start()


def test_a_full_state_partition(running: Site) -> None:
    with small_state(running):
        running.detections()
        running.box.run("dd", "if=/dev/zero", f"of={STATE}/hog", "bs=4k", check=False)
        assert running.box.run("df", "--output=avail", STATE).stdout.split()[-1] == "0"
        running.detections()
        before = running.newest_run()
        running.kill()
        took("kill -9 with a full state partition", running.detections(lambda body: body["run"] != before))
        running.away.cut()
        time.sleep(10)
        again = time.time()
        running.away.restore()
        took(
            "a broker that was away for 10 s, with a full state partition",
            running.detections(lambda body: body["frame_time"] > again),
        )
        running.box.run("rm", f"{STATE}/hog")
        running.detections()
    running.detections()


def test_a_clock_at_1970(running: Site, library: str) -> None:
    running.set_environment(
        LD_PRELOAD=f"{library}/faketime/libfaketimeMT.so.1", FAKETIME="@1970-01-01 00:10:00", FAKETIME_DONT_FAKE_MONOTONIC="1"
    )
    with timed("restart with a clock at 1970"):
        running.restart()
        running.detections(lambda body: body["time"] < 86_400)
    warning = running.wait("box-01/health", lambda body: body["time"] < 86_400)["trust"]["warning"]
    assert warning.startswith("CLOCK_UNTRUSTED")
    running.set_environment()
    with timed("restart with the right clock again"):
        running.restart()
        running.detections(lambda body: body["time"] > 86_400)


def test_a_reboot(running: Site) -> None:
    running.detections()
    before = running.newest_run()
    began = time.monotonic()
    booted = running.box.reboot()
    running.detections(lambda body: body["run"] > before)
    took("reboot, from the command to detections", time.monotonic() - began, f"the system was up after {booted:.1f} s")


def test_power_off_in_mid_install(running: Site, tmp_path: Path) -> None:
    """The upload is in the staging folder when every process is gone; the bundle before runs, and nothing of it is left."""
    running.detections()
    before = running.newest_run()
    path = make_signed(tmp_path, version="1.2.0", model=blob_model(0.75, 200_000_000), golden=False)
    url = f"http://{running.box.cable.inside}:{PORT}"
    words = ["bundle", "push", str(path), "--to", url, "--token-file", str(running.token)]
    with subprocess.Popen(
        [sys.executable, "-m", "camagent", *words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as push:
        wait_for(lambda: staged(running) > 1_000_000, 60, "an upload that has begun")
        running.box.power_cut()
        push.wait(120)
    assert staged(running) > 0
    began = time.monotonic()
    booted = running.box.boot()
    running.detections(lambda body: body["run"] > before and body["model"]["version"] == "1.0.0")
    took("power off in mid-install, from switching on", time.monotonic() - began, f"the system was up after {booted:.1f} s")
    assert staged(running) == 0, "litter is swept at the start"
    small = make_signed(tmp_path, version="1.3.0")
    assert running.push(small).returncode == 0
    running.detections(lambda body: body["model"]["version"] == "1.3.0")
    running.json("bundle", "rollback", "blobs")
    running.detections(lambda body: body["model"]["version"] == "1.0.0")


def staged(site: Site) -> int:
    """Bytes of bundles that were never put in place."""
    folder = site.box.disk / STATE.lstrip("/") / "bundles" / STAGING
    return sum(path.stat().st_size for path in folder.iterdir())
