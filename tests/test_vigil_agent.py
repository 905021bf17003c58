"""A real agent under a real NOTIFY_SOCKET: ready without anything to run, fed while it lives, ended when a call hangs."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest

from camagent.lives import LAST_END_NAME, RECORD_NAME, Record
from firmware_pkg.disk import boot_id
from tests.support.agent import Agent, Listener, camera
from tests.support.broker import Broker, free_port
from tests.support.bundles import make_signed, root_json, write_root
from tests.support.notify import Systemd
from tests.support.plugin import install_failing_backends
from tests.test_bundle_agent import ME, blobs_state, client_of, confirmed, install


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    with Systemd(tmp_path) as manager:
        yield manager


def service(folder: Path, port: int, cameras: str, systemd: Systemd, **environment: str) -> Agent:
    """As the unit starts it: a run folder that outlives it, and a socket to speak to."""
    (folder / "run").mkdir(exist_ok=True)
    names = {"RUNTIME_DIRECTORY": str(folder / "run"), **systemd.environment, **environment}
    return Agent(folder, port, cameras, agent=f'trust = "{folder}/root.json"', **names)


def blobs(pictures: Path | str, name: str = "front", **keys: Any) -> str:
    return camera(pictures, Path("blobs"), name=name, fps=10.0, publish="every-frame", **keys)


def record(folder: Path) -> Record:
    return msgspec.json.decode((folder / "run" / RECORD_NAME).read_bytes(), type=Record)


def leave(folder: Path, **fields: Any) -> None:
    (folder / "run").mkdir()
    (folder / "run" / RECORD_NAME).write_bytes(msgspec.json.encode(Record(boot=boot_id(), **fields)))


def short_clip(folder: Path) -> Path:
    """A second of video, which plays again and again."""
    path = folder / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 64, 64
        for _ in range(10):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def become_a_pipe(path: Path) -> None:
    """Opening a pipe that nobody writes to does not come back, as a call into a hung driver does not."""
    os.mkfifo(path.with_suffix(".pipe"))
    path.with_suffix(".pipe").replace(path)


def died(agent: Agent, timeout_s: float = 60) -> int:
    assert agent.process is not None
    code = agent.process.wait(timeout_s)
    agent.process = None
    return code


def test_it_is_ready_with_nothing_to_run_says_so_everywhere_and_a_push_makes_it_detect(
    tmp_path: Path, broker: Broker, pictures: Path, systemd: Systemd
) -> None:
    with Listener(broker.port) as listener, service(tmp_path, broker.port, blobs(pictures), systemd) as agent:
        pid = agent.pid
        status = systemd.wait(lambda told: "READY=1" in told)  # with a line of status, which may know it already
        if "no-bundle" not in status:
            status = systemd.wait(lambda told: told.startswith("STATUS=") and "no-bundle" in told)
        assert "1 waiting-bundle" in status
        assert "front: no-bundle" in status
        assert "no trust root: camagent trust install root.json" in status
        waiting = listener.wait("bundle/state", lambda body: "waiting" in body["bundles"].get("blobs", {}))
        assert waiting["bundles"]["blobs"]["current"] is None
        assert listener.wait("front/health", lambda body: body["reason"] == "no-bundle")["state"] == "waiting-bundle"
        path = make_signed(tmp_path)
        with pytest.raises(Exception, match="trust") as caught:
            install(tmp_path, path)
        assert getattr(caught.value, "code", "") == "TRUST_MISSING"
        client_of(tmp_path).install_trust([root_json()], ME)
        install(tmp_path, path)
        listener.wait("front/detections", lambda body: len(body["detections"]) >= 2)
        running = systemd.wait(lambda told: told.startswith("STATUS=") and "1 running" in told)
        assert "no-bundle" not in running
        facts = blobs_state(listener, trial="1.0.0")
        assert facts["current"] == "1.0.0"
        listener.wait(
            "bundle/state", lambda b: b["bundles"].get("blobs", {}).get("trial") and "waiting" not in b["bundles"]["blobs"]
        )
        assert agent.pid == pid
        assert agent.process is not None
        assert agent.process.poll() is None
        assert agent.stop() == 0
        assert any("STOPPING=1" in told for told in [*systemd.told, *systemd.received()])


SLOW_API = """
import sys
import time


class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "uvicorn":
            sys.meta_path.remove(self)
            time.sleep(4)


sys.meta_path.insert(0, Slow())
"""


def test_who_hears_of_readiness_may_ask_over_http_at_once(tmp_path: Path, broker: Broker, systemd: Systemd) -> None:
    """`systemctl start camagent && camagent bundle push ..`, on a card from which the API is loaded slowly."""
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow/sitecustomize.py").write_text(SLOW_API)
    (tmp_path / "run").mkdir()
    port = free_port()
    names = {"RUNTIME_DIRECTORY": str(tmp_path / "run"), "PYTHONPATH": str(tmp_path / "slow"), **systemd.environment}
    with Agent(tmp_path, broker.port, "", more=f'[web]\nlisten = "127.0.0.1:{port}"\n', **names):
        systemd.wait(lambda told: "READY=1" in told)
        socket.create_connection(("127.0.0.1", port), 1).close()


def test_a_stored_bundle_without_a_root_says_which_refusal_keeps_it(
    tmp_path: Path, broker: Broker, pictures: Path, systemd: Systemd
) -> None:
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path))
    for path in (tmp_path / "root.json", *(tmp_path / "state" / "trust").glob("*")):
        path.unlink()
    with Listener(broker.port) as listener, service(tmp_path, broker.port, blobs(pictures), systemd):
        systemd.wait(lambda told: "front: bundle-refused (TRUST_MISSING)" in told)
        told = listener.wait("bundle/state", lambda body: "waiting" in body["bundles"].get("blobs", {}))
        assert told["bundles"]["blobs"]["waiting"].startswith("TRUST_MISSING: ")
        assert told["bundles"]["blobs"]["current"] == "1.0.0"


def test_who_waits_for_camera_and_broker_goes_on_feeding(tmp_path: Path, pictures: Path, systemd: Systemd) -> None:
    """Away is a loop that beats, not a state: nothing listens at either address, and one camera accepts and stays silent."""
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        section = blobs("rtsp://127.0.0.1:9/none") + blobs(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x", "porch")
        with service(tmp_path, free_port(), section, systemd) as agent:
            systemd.wait(lambda told: "READY=1" in told)
            began, fed, longest = time.monotonic(), time.monotonic(), 0.0
            while time.monotonic() - began < 25:
                if any("WATCHDOG=1" in told for told in systemd.received(0.2)):
                    fed = time.monotonic()
                longest = max(longest, time.monotonic() - fed)
            assert longest < systemd.watchdog_s / 2
            assert any("stream-unreachable" in told and "mqtt-unreachable" in told for told in systemd.told)
            assert agent.stop() == 0
        assert record(tmp_path).clean


def hanging(folder: Path, backend: str) -> str:
    """A confirmed bundle that runs on a device which stops answering; PYTHONPATH for it."""
    write_root(folder)
    good = make_signed(folder, version="1.0.0")
    confirmed(folder, good)
    artifacts = [{"path": "model.onnx", "backend": backend}]
    path = make_signed(folder, version="2.0.0", artifacts=artifacts)
    plugin = install_failing_backends(folder / "plugin")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(plugin)
        confirmed(folder, path)
    return plugin


def test_a_hung_inference_ends_the_process_and_says_where_every_thread_was(
    tmp_path: Path, broker: Broker, pictures: Path, systemd: Systemd
) -> None:
    plugin = hanging(tmp_path, "hanger")
    with (
        Listener(broker.port) as listener,
        service(tmp_path, broker.port, blobs(pictures), systemd, PYTHONPATH=plugin) as agent,
    ):
        listener.wait("front/detections")
        assert died(agent) == -signal.SIGABRT
        told = systemd.wait(lambda told: told.startswith("STATUS=aborted"))
        assert "front-worker: an inference has not come back for" in told
        log = agent.log.read_text()
        assert "watchdog: front-worker: an inference has not come back" in log
        assert "in fail" in log, "faulthandler names the function that hangs"
        left = record(tmp_path)
        assert left.hung
        assert left.device
        agent.start()
        listener.clear()
        body = listener.wait("cam-01/health", lambda body: body["watchdog"]["last_abort"] is not None)
        assert body["watchdog"]["npu_hangs"] == 1
        listener.wait("front/detections", lambda body: body["seq"] >= 1)  # it has tried again, with a good call in between
        assert record(tmp_path).hangs == 0


def test_a_call_that_holds_the_interpreter_is_ended_by_systemd(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    plugin = hanging(tmp_path, "freezer")
    with (
        Systemd(tmp_path, watchdog_s=8.0) as systemd,
        Listener(broker.port) as listener,
        service(tmp_path, broker.port, blobs(pictures), systemd, PYTHONPATH=plugin) as agent,
    ):
        listener.wait("front/detections")
        process = agent.process
        assert process is not None
        assert systemd.watch(process.send_signal, lambda: process.poll() is not None) > 8.0
        assert died(agent) == -signal.SIGABRT
        assert "in fail" in agent.log.read_text()
        (tmp_path / "run" / LAST_END_NAME).write_text("watchdog\n")  # ExecStopPost's part
        agent.start()
        listener.clear()
        body = listener.wait("cam-01/health", lambda body: body["watchdog"]["last_abort"] is not None)
        assert "held the interpreter" in body["watchdog"]["last_abort"]
        assert body["watchdog"]["npu_hangs"] == 1


def test_after_two_hangs_without_a_good_call_the_device_is_left_alone_until_a_reboot(
    tmp_path: Path, broker: Broker, pictures: Path, systemd: Systemd
) -> None:
    plugin = hanging(tmp_path, "hanger")
    leave(tmp_path, hangs=1, hung=True, device=True, abort="front-worker: an inference has not come back for 11 s")
    with (
        Listener(broker.port) as listener,
        service(tmp_path, broker.port, blobs(pictures), systemd, PYTHONPATH=plugin, GOOD_CALLS="0") as agent,
    ):
        told = listener.wait("front/health", lambda body: body["reason"] == "npu-hung")
        assert "reboot" in told["detail"]
        assert told["state"] == "waiting-bundle"
        systemd.wait(lambda told: "front: npu-hung (NPU_HUNG)" in told)
        assert (
            "NPU_HUNG"
            in listener.wait("bundle/state", lambda b: "waiting" in b["bundles"]["blobs"])["bundles"]["blobs"]["waiting"]
        )
        # a pushed bundle for the CPU runs, and one for the device neither hangs the agent nor loses its chance
        with pytest.raises(Exception, match="hung twice"):
            install(tmp_path, make_signed(tmp_path, version="3.0.0", artifacts=[{"path": "model.onnx", "backend": "hanger"}]))
        assert client_of(tmp_path).bundles()["bundles"]["blobs"]["last_refusal"]["code"] == "NPU_HUNG"
        install(tmp_path, make_signed(tmp_path, version="4.0.0"))
        listener.wait("front/detections", lambda body: body["model"]["version"] == "4.0.0")
        assert agent.stop() == 0
        agent.start()
        assert record(tmp_path).hangs == 2, "neither a clean stop nor a start forgives"
        leave_boot = msgspec.structs.replace(record(tmp_path), boot="another")
        assert leave_boot.boot != boot_id()


@pytest.mark.full(seconds=120)
def test_two_real_hangs_in_a_row_and_no_third(tmp_path: Path, broker: Broker, pictures: Path, systemd: Systemd) -> None:
    plugin = hanging(tmp_path, "hanger")
    with (
        Listener(broker.port) as listener,
        service(tmp_path, broker.port, blobs(pictures), systemd, PYTHONPATH=plugin, GOOD_CALLS="0") as agent,
    ):
        for hangs in (0, 1):
            assert died(agent, 120) == -signal.SIGABRT
            assert record(tmp_path).hangs == hangs
            agent.start()
        listener.wait("front/health", lambda body: body["reason"] == "npu-hung", 60)
        time.sleep(40)
        assert agent.process is not None
        assert agent.process.poll() is None, "no third attempt"


def test_a_reader_that_hangs_is_left_behind_and_the_others_do_not_notice(
    tmp_path: Path, broker: Broker, pictures: Path, systemd: Systemd
) -> None:
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path))
    clip = short_clip(tmp_path)
    section = blobs(pictures) + blobs(clip, "porch", stall_timeout=0.5)
    with Listener(broker.port) as listener, service(tmp_path, broker.port, section, systemd) as agent:
        listener.wait("porch/detections")
        become_a_pipe(clip)
        stuck = listener.wait("porch/health", lambda body: body["errors"].get("READER_STUCK"), 60)
        assert stuck["counters"]["decoded"] > 0, "counters go on where the reader before has left them"
        last = listener.bodies("front/detections")[-1]["seq"]
        listener.wait("front/detections", lambda body: body["seq"] >= last + 20)
        assert agent.log.read_text().count("another takes its place") == 1
        assert agent.stop() == 0


@pytest.mark.full(seconds=100)
def test_the_fourth_reader_that_hangs_ends_the_process(
    tmp_path: Path, broker: Broker, pictures: Path, systemd: Systemd
) -> None:
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path))
    clip = short_clip(tmp_path)
    section = blobs(pictures) + blobs(clip, "porch", stall_timeout=0.5)
    with Listener(broker.port) as listener, service(tmp_path, broker.port, section, systemd) as agent:
        listener.wait("porch/detections")
        become_a_pipe(clip)
        assert died(agent, 240) == -signal.SIGABRT
        assert agent.log.read_text().count("another takes its place") == 3
        left = record(tmp_path)
        assert left.abort is not None
        assert left.abort.startswith("porch-reader: opening the source anew")
        assert not left.hung, "the NPU is not to blame"


def test_after_many_early_deaths_cameras_wait_and_who_asks_is_served(
    tmp_path: Path, broker: Broker, pictures: Path, systemd: Systemd
) -> None:
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path))
    leave(tmp_path, early=7)
    with Listener(broker.port) as listener, service(tmp_path, broker.port, blobs(pictures), systemd) as agent:
        systemd.wait(lambda told: "READY=1" in told)
        assert listener.wait("cam-01/health")["watchdog"]["early_deaths"] == 8
        assert "cameras start in 60 s" in agent.log.read_text()
        time.sleep(3)
        assert not listener.payloads("front/detections")
        install(tmp_path, make_signed(tmp_path, version="2.0.0"))
        listener.wait("front/detections", lambda body: body["model"]["version"] == "2.0.0")
