"""A running agent tests itself: over the control socket, MQTT and HTTP, and of its own accord, while its stream goes on."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from camagent.errors import StateError
from camagent.selftest.due import AFTER_BUNDLE_S, DAY_S, LOOK_S, SILENCE_S, Due, Look
from tests.support.agent import SCHEMAS, Agent, Body, Listener, camagent, camera
from tests.support.broker import Broker, free_port, running, wait_for
from tests.support.bundles import make_signed, make_unsigned, write_root
from tests.support.camera import Clips, RtspCamera
from tests.test_bundle_agent import agent_of, client_of, confirmed

REPORT = SCHEMAS["camagent.selftest/1"]
COMMAND = "camagent/cam-01/cmd/selftest"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path) as started:
        yield started


def selftest(agent: Agent, *options: str) -> tuple[int, dict[str, Any]]:
    done = camagent("selftest", "-c", str(agent.path), "--json", *options)
    assert "Traceback" not in done.stderr
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    REPORT.validate(report)
    return done.returncode, report


def step(report: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [item for item in report["steps"] if item["id"] == name]
    return dict(found)


def ids(report: dict[str, Any]) -> list[str]:
    return [cause["id"] for cause in report["causes"]]


def frames(listener: Listener) -> list[Body]:
    return [body for body in listener.bodies("front/detections") if not body.get("probe")]


def test_the_stream_goes_on_while_the_agent_is_asked(tmp_path: Path, broker: Broker) -> None:
    clip = Clips(tmp_path).make(gop=10, seconds=4)
    section = camera("{url}", make_unsigned(tmp_path), publish="every-frame", fps=10.0)
    with RtspCamera(clip) as source, Listener(broker.port) as listener:
        agent = Agent(tmp_path, broker.port, section.replace("{url}", source.url))
        with agent:
            listener.wait("front/detections", timeout_s=30)
            began = time.time()
            code, report = selftest(agent, "--html", str(tmp_path / "report.html"))
            ended = time.time()
            assert (step(report, "source")["status"], step(report, "delivery")["status"]) == ("pass", "pass"), report
            assert step(report, "source")["measured"]["decoded"] > 30
            assert step(report, "golden-picture")["status"] == "pass"
            assert code in (0, 1, 3)
            assert (tmp_path / "report.html").stat().st_size > 5000
            retained = listener.wait("cam-01/selftest")
            assert retained["agent"] == "cam-01"
            assert ids(retained) == ids(report)
            listener.wait("front/detections", lambda body: body["time"] > ended)
            times = [body["time"] for body in frames(listener) if began - 1 < body["time"] < ended + 1]
            assert max(later - earlier for earlier, later in pairwise(times)) < 2.0, "it was never stopped for the test"
            probes = [body for body in listener.bodies("front/detections") if body.get("probe")]
            assert len(probes) == 1
            seqs = [body["seq"] for body in listener.bodies("front/detections")]
            assert len(seqs) == len(set(seqs)), "a probe has a number of its own"
            health = listener.bodies("front/health")[-1]
            assert health["reconnects"] == 0
            assert agent.log.read_text().count("opened in") == 1, "no second session"


def test_over_mqtt_under_the_rules_for_commands(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    with Listener(broker.port) as early:
        early.publish(COMMAND, "{}", retain=True)  # an old command, retained by somebody
    with Listener(broker.port) as listener, Agent(tmp_path, broker.port, camera(pictures, make_unsigned(tmp_path))) as agent:
        listener.wait("front/detections", timeout_s=30)
        listener.publish(COMMAND, '{"id": "7", "more": 1}')  # not the form
        listener.publish(COMMAND, '{"id": "17"}')
        done = listener.wait("cam-01/selftest", lambda body: body.get("id") == "17", 40)
        assert done["command"]["id"] == "17"
        assert done["command"]["code"] is None
        assert done["verdict"] == "healthy"
        listener.publish(COMMAND, "")  # a minute has not passed
        refused = listener.wait("cam-01/selftest", lambda body: body["command"]["code"] == "COMMAND_TOO_OFTEN")
        assert refused["id"] == "17", "the last report stays"
        listener.publish(COMMAND, '{"id": "17"}')
        listener.wait("cam-01/health", lambda body: body["errors"].get("COMMAND_REPEATED") == 1)
        assert len({body["time"] for body in listener.bodies("cam-01/selftest")}) == 1, "one test, the retained one not obeyed"
        assert agent.stop() == 0
        agent.start()
        listener.clear()
        listener.wait("front/detections", timeout_s=30)
        listener.publish(COMMAND, '{"id": "17"}')
        listener.wait("cam-01/health", lambda body: body["errors"].get("COMMAND_REPEATED") == 1)
        assert not [body for body in listener.bodies("cam-01/selftest") if body["time"] > done["time"]]


def test_over_http_as_a_job_and_one_at_a_time(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    port = free_port()
    more = f'[web]\nlisten = "127.0.0.1:{port}"\n'

    def asked(path: str, method: str = "GET") -> tuple[int, bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, headers={"X-Camagent": "1"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as exc:
            return exc.code, exc.read()

    def listens() -> bool:
        try:
            return asked("/healthz")[0] == 200
        except urllib.error.URLError:
            return False

    section = camera(pictures, make_unsigned(tmp_path))
    with Listener(broker.port) as listener, Agent(tmp_path, broker.port, section, more=more) as agent:
        wait_for(listens, 20)
        listener.wait("front/detections", timeout_s=30)
        status, body = asked("/api/selftest?camera=front", "POST")
        assert status == 202
        assert asked("/api/selftest", "POST")[0] == 409
        busy = camagent("selftest", "-c", str(agent.path), "--json")
        assert (busy.returncode, busy.stdout) == (3, "")
        assert "BUSY" in busy.stderr
        events = [json.loads(line) for line in asked(f"/api/jobs/{json.loads(body)['job']}")[1].splitlines()]
        assert any("watching" in event.get("state", "") for event in events)
        REPORT.validate(events[-1]["result"])
        assert events[-1]["result"]["verdict"] == "healthy"
        status, body = asked("/api/selftest?camera=back", "POST")
        assert status == 202
        last = json.loads(asked(f"/api/jobs/{json.loads(body)['job']}")[1].splitlines()[-1])
        assert last["refusal"]["code"] == "NO_SUCH_CAMERA"
        assert asked("/api/selftest?camera=a%2Fb", "POST")[0] == 400


def test_what_only_a_running_agent_can_have(tmp_path: Path, broker: Broker, pictures: Path) -> None:
    """Another configuration than the file, a switch turned off, a store without the bundle."""
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path))
    with Listener(broker.port) as listener, agent_of(tmp_path, broker, pictures) as agent:
        listener.wait("front/detections", timeout_s=30)
        text = agent.path.read_text()
        agent.path.write_text(text.replace("fps = 10.0", "fps = 5.0"))
        code, report = selftest(agent)
        assert (code, ids(report)) == (1, ["wrong-config-loaded"])
        listener.publish("camagent/cam-01/front/cmd/detect", "OFF")
        listener.wait("front/detect", lambda body: body["state"] == "OFF")
        agent.path.write_text(text)
        code, report = selftest(agent)
        assert (code, report["verdict"], ids(report)) == (0, "healthy", [])
        off = step(report, "configuration")
        assert (off["status"], off["measured"]["reason"], off["measured"]["by"]) == ("warn", "disabled-by-request", "mqtt")
        agent.path.write_text(text.replace('bundle = "blobs"', 'bundle = "nothing"'))
        agent.signal(signal.SIGHUP)
        listener.wait("front/health", lambda body: body["state"] == "off" and body["model"] is None)
        code, report = selftest(agent)
        assert (code, ids(report)) == (1, ["no-bundle"])
        assert client_of(tmp_path).bundles()["bundles"]["blobs"]["current"] == "1.0.0"


def test_a_camera_that_is_away_and_a_topic_that_is_denied(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    words = ("health", "available", "selftest", "front/health", "front/available")
    acl.write_text("topic read camagent/#\n" + "".join(f"topic write camagent/cam-01/{word}\n" for word in words))
    acl.chmod(0o700)
    section = camera(f"rtsp://127.0.0.1:{free_port()}/x", make_unsigned(tmp_path), stall_timeout=1.0)
    with (
        running(tmp_path, ["allow_anonymous true", f"acl_file {acl}"]) as broker,
        Listener(broker.port) as listener,
        Agent(tmp_path, broker.port, section) as agent,
    ):
        listener.wait("front/health", lambda body: body["reason"] == "stream-unreachable", 30)
        code, report = selftest(agent)
        assert code == 1
        assert ids(report) == ["stream-unreachable", "mqtt-acl-denied"], "upstream first"
        denied = report["causes"][1]["evidence"]
        assert denied["topic"] == "camagent/cam-01/front/detections"
        assert ids(listener.wait("cam-01/selftest")) == ids(report)


class Remembered:
    def __init__(self, at: float = 0.0, *, full: bool = False) -> None:
        self.tested_at, self._full = at, full

    def remember_test(self, at: float) -> None:
        if self._full:
            raise StateError("no space", fix="")
        self.tested_at = at


class Bench:
    """A clock that is turned by hand, and what `Due` says at each moment."""

    def __init__(self, memory: Remembered | None = None) -> None:
        self.now = 1000.0
        self.memory = memory or Remembered()
        self.due = Due(lambda: self.now, lambda: self.now + 1.7e9, self.memory)

    def after(self, seconds: float, *looks: Look, on_trial: bool = False) -> str | None:
        self.now += max(seconds, LOOK_S)
        return self.due.camera(looks, on_trial=on_trial)


def test_a_new_bundle_is_tested_once_when_it_has_settled() -> None:
    bench = Bench()
    first, second, trial = (Look("front", digest, trial, None) for digest, trial in (("a", False), ("b", True), ("c", True)))
    assert bench.after(0, first) is None
    assert bench.after(1000, first) is None, "what an agent finds at its start is not new"
    assert bench.after(0, second, on_trial=True) is None
    assert bench.after(AFTER_BUNDLE_S - 2 * LOOK_S, second, on_trial=True) is None
    assert bench.after(2 * LOOK_S, second, on_trial=True) == "front"
    assert bench.after(1000, second) is None
    assert bench.after(1000, Look("front", "", False, "bundle-refused")) is None
    other = Bench()
    assert other.after(0, trial, on_trial=True) is None
    assert other.after(AFTER_BUNDLE_S, trial, on_trial=True) == "front", "a trial goes on over a restart"


@pytest.mark.parametrize("full", [True, False])
def test_an_unexplained_silence_is_tested_once_a_day(full: bool) -> None:
    bench = Bench(Remembered(full=full))
    silent, explained = Look("front", "a", False, "all-below-threshold"), Look("front", "a", False, "no-frames")
    assert bench.after(0, explained) is None
    assert bench.after(2 * SILENCE_S, explained) is None
    assert bench.after(0, silent) is None
    assert bench.after(SILENCE_S, silent, on_trial=True) is None, "not while a trial runs"
    assert bench.after(0, silent) == "front"
    assert bench.after(SILENCE_S, silent) is None
    assert bench.after(DAY_S - 2 * SILENCE_S, silent) is None
    assert bench.after(2 * SILENCE_S, silent) == "front"


def test_a_silence_that_ends_begins_anew_and_a_restart_forgets_nothing() -> None:
    bench = Bench(Remembered(1.7e9 + 900))
    silent, seen = Look("front", "a", False, "no-candidates"), Look("front", "a", False, None)
    assert bench.after(0, silent) is None
    assert bench.after(SILENCE_S - LOOK_S, seen) is None
    assert bench.after(LOOK_S, silent) is None
    assert bench.after(SILENCE_S, silent) is None, "tested a while ago, by the agent before this one"
    assert bench.after(DAY_S, silent) == "front"
