"""A running agent with its store: pushed to, swapped between two frames, taken back. Real agent, broker, models, sockets."""

from __future__ import annotations

import json
import re
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest

from camagent.bundles import open_alone
from camagent.config import Agent as AgentSection
from camagent.config import Camera, Config
from camagent.control.client import Client, connect
from camagent.service import Event, Origin
from signing import trust, trust_edit
from tests.signing.support import key
from tests.support.agent import Agent, Listener, camera
from tests.support.broker import Broker, persistent, running, wait_for
from tests.support.bundles import blob_picture, make_signed, root_json, write_root
from tests.support.http_server import Files, refusing, serving, sha256, trap
from tests.support.plugin import install_failing_backends
from tests.test_bundles import LATER, LOCAL

ME = Origin("local", "test")
Events = list[Event]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    running.start()
    yield running
    running.stop()


def confirmed(folder: Path, *paths: Path) -> None:
    """What a camera looks like that has run these for a while: installed and confirmed, in order."""
    section = AgentSection(state_dir=folder / "state", trust=folder / "root.json")
    config = Config(agent=section, camera=(Camera(name="front", url="x.mp4", bundle="blobs"),))
    with open_alone(config) as bundles:
        for path in paths:
            with path.open("rb") as source:
                bundles.install(source, LOCAL, lambda _: None)
            running = bundles.live.store.slots("blobs").running
            assert running is not None
            bundles.live.store.confirm("blobs", running.digest)


def agent_of(folder: Path, broker: Broker, pictures: Path, fps: float = 10.0, **environment: str) -> Agent:
    section = camera(pictures, Path("blobs"), fps=fps, publish="every-frame")
    return Agent(folder, broker.port, section, agent=f'trust = "{folder}/root.json"', **environment)


def client_of(folder: Path) -> Client:
    found = connect(folder / "state", 10)
    assert found is not None
    return found


def install(folder: Path, path: Path, events: Events | None = None) -> dict[str, Any]:
    with path.open("rb") as source:
        return client_of(folder).install(source, ME, (events if events is not None else []).append)


def blobs_state(listener: Listener, timeout_s: float = 20, **wanted: Any) -> dict[str, Any]:
    """The first `bundle/state` in which blobs has these values."""

    def fits(body: dict[str, Any]) -> bool:
        facts = body["bundles"].get("blobs")
        return facts is not None and all(facts[name] == value for name, value in wanted.items())

    facts: dict[str, Any] = listener.wait("bundle/state", fits, timeout_s)["bundles"]["blobs"]
    return facts


def test_an_agent_without_trust_and_bundle_is_up_and_learns_both(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    with Listener(broker.port) as listener, agent_of(tmp_path, broker, pictures) as agent:
        told = listener.wait("front/health", lambda body: body["reason"] == "no-bundle" and "store" in body["detail"])
        assert told["state"] == "waiting-bundle"
        assert listener.wait("cam-01/health")["trust"]["root"] is None
        root = root_json()
        answer = client_of(tmp_path).install_trust([root], ME)
        assert answer["in_force"] == 1
        events: Events = []
        path = make_signed(tmp_path)
        path.chmod(0o600)
        assert install(tmp_path, path, events)["outcome"] == "trial"
        assert [event["state"] for event in events if "state" in event] == ["verifying", "testing"]
        listener.wait("front/detections", lambda body: len(body["detections"]) >= 2)
        facts = blobs_state(listener, trial="1.0.0")
        assert facts["current"] == "1.0.0"
        health = listener.wait("front/health", lambda body: body["model"] is not None)
        assert health["model"]["signature"] == "verified"
        told = listener.wait("cam-01/health", lambda body: body["trust"]["root"] == 1)
        assert told["trust_expires"] == trust.read_root(root).expires.timestamp()
        assert agent.process is not None
        assert agent.process.poll() is None


def test_a_new_model_takes_over_between_two_frames(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path, version="1.0.0"))
    with Listener(broker.port) as listener, agent_of(tmp_path, broker, pictures):
        listener.wait("front/detections", lambda body: body["seq"] >= 20)
        install(tmp_path, make_signed(tmp_path, version="2.0.0"))
        first = listener.wait("front/detections", lambda body: body["model"]["version"] == "2.0.0")
        listener.wait("front/detections", lambda body: body["seq"] >= first["seq"] + 20)
        client_of(tmp_path).rollback("blobs", ME, lambda _: None)
        listener.wait("front/detections", lambda body: body["seq"] > first["seq"] and body["model"]["version"] == "1.0.0")
        bodies = listener.bodies("front/detections")
        versions = [body["model"]["version"] for body in bodies]
        assert [version for version, _ in groupby(versions)] == ["1.0.0", "2.0.0", "1.0.0"], "never mixed"
        assert [body["seq"] for body in bodies] == list(range(1, len(bodies) + 1)), "no message was lost"
        pauses = [later["time"] - earlier["time"] for earlier, later in pairwise(bodies)]
        assert max(pauses) <= 2 * statistics.median(pauses) + 0.5


def test_a_bundle_whose_golden_check_fails_is_not_seen_by_a_camera(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path, version="1.0.0"))
    with Listener(broker.port) as listener, agent_of(tmp_path, broker, pictures):
        listener.wait("front/detections")
        with pytest.raises(Exception, match="does not see on golden") as caught:
            install(tmp_path, make_signed(tmp_path, version="2.0.0", gain=0))
        assert getattr(caught.value, "code", "") == "GOLDEN_FAILED"
        facts = blobs_state(listener, trial=None)
        facts = listener.wait("bundle/state", lambda body: body["bundles"]["blobs"]["last_refusal"] is not None)
        assert facts["bundles"]["blobs"]["last_refusal"]["code"] == "GOLDEN_FAILED"
        last = listener.bodies("front/detections")[-1]["seq"]
        listener.wait("front/detections", lambda body: body["seq"] >= last + 10)
        assert {body["model"]["version"] for body in listener.bodies("front/detections")} == {"1.0.0"}


def failing(folder: Path, backend: str) -> Path:
    return make_signed(folder, version="2.0.0", artifacts=[{"path": "model.onnx", "backend": backend}])


@pytest.mark.parametrize("backend", ["stumbler", "defective"])
def test_a_model_that_fails_on_a_frame_is_taken_back(tmp_path: Path, broker: Broker, pictures: Path, backend: str) -> None:
    plugin = install_failing_backends(tmp_path / "plugin")
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path, version="1.0.0"))
    with Listener(broker.port) as listener, agent_of(tmp_path, broker, pictures, PYTHONPATH=plugin):
        listener.wait("front/detections")
        assert install(tmp_path, failing(tmp_path, backend))["outcome"] == "trial"
        seen = listener.wait("front/detections", lambda body: body["model"]["version"] == "2.0.0")
        listener.wait("front/detections", lambda body: body["seq"] > seen["seq"] and body["model"]["version"] == "1.0.0", 15)
        refusal = blobs_state(listener, current="1.0.0", trial=None)["last_refusal"]
        refusal = listener.bodies("bundle/state")[-1]["bundles"]["blobs"]["last_refusal"]
        assert refusal["code"] == "TRIAL_FAILED"
        assert refusal["version"] == "2.0.0"
        new = [body for body in listener.bodies("front/detections") if body["model"]["version"] == "2.0.0"]
        old = next(b for b in listener.bodies("front/detections") if b["seq"] == new[-1]["seq"] + 1)
        assert old["time"] - new[-1]["time"] < 10


def test_a_model_that_kills_the_process_is_taken_back_after_the_third_death(
    tmp_path: Path, broker: Broker, pictures: Path
) -> None:
    plugin = install_failing_backends(tmp_path / "plugin")
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path, version="1.0.0"))
    with Listener(broker.port) as listener, agent_of(tmp_path, broker, pictures, PYTHONPATH=plugin) as agent:
        listener.wait("front/detections")
        install(tmp_path, failing(tmp_path, "killer"))
        deaths = 0
        until = time.monotonic() + 60
        while time.monotonic() < until:  # what systemd does: Restart=always
            assert agent.process is not None
            try:
                agent.process.wait(0.2)
            except subprocess.TimeoutExpired:
                if deaths and listener.bodies("front/detections")[-1]["model"]["version"] == "1.0.0":
                    break
                continue
            assert agent.process.returncode == -signal.SIGKILL
            deaths, died = deaths + 1, time.time()
            agent.start()
        assert deaths == 3
        back = next(b for b in listener.bodies("front/detections") if b["time"] > died and b["model"]["version"] == "1.0.0")
        assert back["time"] - died < 10
        refusal = blobs_state(listener, trial=None, current="1.0.0", previous=None)["last_refusal"]
        last = listener.bodies("bundle/state")[-1]["bundles"]["blobs"]["last_refusal"]
        assert last["code"] == "TRIAL_FAILED", refusal
        assert "3 times" in last["what"]


def test_an_absent_or_dark_camera_and_clean_stops_are_no_failures(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path, version="1.0.0"))
    for path in pictures.iterdir():
        path.write_bytes(blob_picture(red=0, blue=0))
    with Listener(broker.port) as listener, agent_of(tmp_path, broker, pictures) as agent:
        listener.wait("front/detections")
        install(tmp_path, make_signed(tmp_path, version="2.0.0"))
        for _ in range(4):
            assert agent.stop() == 0
            listener.clear()
            agent.start()
            listener.wait("front/detections", lambda body: body["model"]["version"] == "2.0.0")
        section = agent.path.read_text().replace(f'url = "{pictures}"', 'url = "rtsp://127.0.0.1:9/none"')
        agent.path.write_text(section)
        agent.signal(signal.SIGHUP)
        listener.wait("front/health", lambda body: body["reason"] == "stream-unreachable", 30)
        facts = blobs_state(listener, trial="2.0.0")
        assert facts["last_refusal"] is None


def test_revocation_acts_at_once_and_says_so(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path, version="1.0.0"))
    first = root_json()
    second = trust_edit.add_signer(trust.read_root(first), key("second").public, [key("root")], expires=LATER)
    third = trust_edit.remove_signer(trust.read_root(second), key("release").public.id, [key("root")], expires=LATER)
    with Listener(broker.port) as listener, agent_of(tmp_path, broker, pictures) as agent:
        listener.wait("front/detections")
        client = client_of(tmp_path)
        assert client.install_trust([second, third], ME, dry_run=True)["losing"] == [{"name": "blobs", "version": "1.0.0"}]
        client.install_trust([second, third], ME)
        told = listener.wait(
            "front/health", lambda body: body["state"] == "waiting-bundle" and body["reason"] not in ("no-bundle", "starting")
        )
        assert told["reason"] == "bundle-refused"
        assert "SIGNER_REVOKED" in told["detail"]
        assert agent.process is not None
        assert agent.process.poll() is None
        assert install(tmp_path, make_signed(tmp_path, version="1.0.1", signers=("second",)))["outcome"] == "trial"
        listener.wait("front/detections", lambda body: body["model"]["version"] == "1.0.1")


def ordering(folder: Path, broker: Broker, pictures: Path, allowed: str) -> Agent:
    made = agent_of(folder, broker, pictures)
    made.more += f'[commands]\nallow = ["detect", "bundle"]\nbundle_from = ["{allowed}"]\n'
    made.write(camera(pictures, Path("blobs"), fps=10.0, publish="every-frame"))
    return made


def connections(broker: Broker) -> int:
    return len(re.findall(r" as cam-01 ", broker.log.read_text(errors="replace")))


def wait_connected(broker: Broker, times: int) -> None:
    wait_for(lambda: connections(broker) >= times, 40, what=f"connection {times}")


def answer_to(listener: Listener, command: str) -> dict[str, Any]:
    """The answer to the command of this id."""

    def fits(body: dict[str, Any]) -> bool:
        return (body["command"] or {}).get("id") == command and body["command"]["code"] is not None

    answer: dict[str, Any] = listener.wait("bundle/state", fits)["command"]
    return answer


def order(path: Path, url: str, **changes: Any) -> str:
    data = path.read_bytes()
    return json.dumps({"id": "17", "url": url, "sha256": sha256(data), "size": len(data)} | changes)


def test_a_bundle_is_ordered_over_mqtt(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path, version="1.0.0"))
    path = make_signed(tmp_path, version="2.0.0")
    with serving(Files(path.read_bytes())) as server, Listener(broker.port) as listener:
        allowed = server.url("/models/")
        with ordering(tmp_path, broker, pictures, allowed) as agent:
            listener.wait("front/detections")
            topic = "camagent/cam-01/cmd/bundle"
            listener.publish(topic, order(path, server.url("/models/b")))
            done = listener.wait("bundle/state", lambda body: body["command"] and "trial" in body["command"]["what"])
            assert done["command"] | {"time": 0} == {
                "id": "17", "code": None, "what": "blobs 2.0.0: trial", "fix": None, "time": 0,
            }  # fmt: skip
            listener.wait("front/detections", lambda body: body["model"]["version"] == "2.0.0")
            requests = len(server.requests)
            listener.publish(topic, order(path, server.url("/models/b")))
            listener.wait("cam-01/health", lambda body: body["errors"].get("COMMAND_REPEATED") == 1)
            listener.publish(topic, order(path, server.url("/models/b"), id="18"))
            listener.wait("bundle/state", lambda body: body["command"] and body["command"]["code"] == "COMMAND_TOO_OFTEN")
            assert agent.stop() == 0
            agent.start()
            listener.clear()
            listener.wait("front/detections")
            listener.publish(topic, order(path, server.url("/models/b")))
            listener.wait("cam-01/health", lambda body: body["errors"].get("COMMAND_REPEATED") == 1)
            assert len(server.requests) == requests, "an id is never obeyed twice, not even after a restart"
            assert "mqtt id 17" in (tmp_path / "state" / "audit.jsonl").read_text()


def test_a_stranger_on_the_broker_reaches_nothing(tmp_path: Path, pictures: Path) -> None:
    """Retained commands over reconnects, forbidden URLs, a redirect to loopback: the trap counts nothing, all are answered.

    20 reconnects at the default back-off take a quarter of an hour: tests/test_bundle_command.py makes them, less patiently.
    """
    write_root(tmp_path)
    path, reconnects = make_signed(tmp_path), 2
    topic = "camagent/cam-01/cmd/bundle"
    with serving(trap) as caught, running(tmp_path, persistent(tmp_path)) as broker:
        redirect = refusing(302, f"Location: {caught.url('/secret')}")
        with serving(redirect) as server:
            retained = order(path, server.url("/models/b"))
            with Listener(broker.port) as listener:
                listener.publish(topic, retained, retain=True)
            with ordering(tmp_path, broker, pictures, server.url("/models/")):
                for number in range(reconnects):
                    wait_connected(broker, number + 1)
                    broker.stop()
                    broker.start()
                wait_connected(broker, reconnects + 1)
                with Listener(broker.port) as later:
                    wait_for(lambda: retained.encode() in later.payloads("cmd/bundle"), what="the command, kept by the broker")
                    forbidden = (caught.url("/x"), "http://169.254.169.254/latest", "file:///etc/passwd", "http://localhost/")
                    for number, url in enumerate(forbidden):
                        later.publish(topic, order(path, url, id=f"evil-{number}"))
                        assert answer_to(later, f"evil-{number}")["code"] == "DOWNLOAD_FAILED"
                    assert not server.requests, "nothing retained was obeyed"
                    later.publish(topic, order(path, server.url("/models/b"), id="redirected"))
                    assert answer_to(later, "redirected")["code"] == "DOWNLOAD_FAILED"
                    assert len(server.requests) == 1
                    assert not caught.requests


@pytest.mark.full(seconds=100)
def test_600_frames_and_a_minute_confirm(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path, version="1.0.0"))
    with Listener(broker.port) as listener, agent_of(tmp_path, broker, pictures, 15.0):
        listener.wait("front/detections")
        install(tmp_path, make_signed(tmp_path, version="2.0.0", index=3))
        began = time.monotonic()
        blobs_state(listener, 20, trial="2.0.0")
        facts = blobs_state(listener, 90, current="2.0.0", trial=None)
        assert 59 < time.monotonic() - began < 80
        assert (facts["previous"], facts["rollback_index"]) == ("1.0.0", 3)
