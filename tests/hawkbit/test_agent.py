"""A whole agent with `[fleet.hawkbit]`: real process, broker, model and sockets; only the server is a stand-in."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from camagent import cli
from camagent.bundles import Bundles, NoCameras
from camagent.clock import SystemClock
from camagent.config import Agent as AgentSection
from camagent.config import Config, Fleet
from camagent.config import Hawkbit as Section
from camagent.integrations.hawkbit import Hawkbit as Client
from camagent.integrations.hawkbit_book import Patience
from camagent.pulse import Promise
from camagent.watchdog import Overdue, Watchdog
from firmware_pkg.order import Limits
from tests.support.agent import Agent, Listener, camera
from tests.support.broker import Broker, running, wait_for
from tests.support.bundles import blob_picture, make_signed, write_root
from tests.support.hawkbit import Hawkbit
from tests.support.hawkbit_device import around_of
from tests.support.hawkbit_orders import BUNDLE, executions, failure_of
from tests.support.http_server import Request, Server, head
from tests.support.plugin import install_failing_backends
from tests.test_bundle_agent import confirmed, failing

TOKEN = "geheim-7f3a-kennwort"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path) as made:
        yield made


@pytest.fixture
def hawkbit() -> Iterator[Hawkbit]:
    made = Hawkbit(token=f"TargetToken {TOKEN}")
    with made.listening():
        yield made


def agent_of(folder: Path, broker: Broker, hawkbit: Hawkbit, fps: float = 10.0, **environment: str) -> Agent:
    """An agent that runs blobs 1.0.0, confirmed, and asks the server every second."""
    write_root(folder)
    confirmed(folder, make_signed(folder, version="1.0.0"))
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(3):
        (pictures / f"{number}.png").write_bytes(blob_picture(red=1 + number))
    (folder / "token").write_text(TOKEN + "\n")
    more = f'[fleet.hawkbit]\nurl = "{hawkbit.url}"\ntarget_token_file = "{folder}/token"\npoll = 1\n'
    section = camera(pictures, Path("blobs"), fps=fps, publish="every-frame")
    return Agent(folder, broker.port, section, agent=f'trust = "{folder}/root.json"', more=more, **environment)


def client_facts(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["fleet"].get("hawkbit", {})
    return found


def test_a_roll_out_that_fails_on_trial_is_told_and_taken_back(
    tmp_path: Path, broker: Broker, hawkbit: Hawkbit, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = install_failing_backends(tmp_path / "plugin")
    with Listener(broker.port) as listener, agent_of(tmp_path, broker, hawkbit, PYTHONPATH=plugin) as agent:
        listener.wait("front/detections")
        facts = client_facts(listener.wait("cam-01/health", lambda body: client_facts(body).get("polled") is not None, 30))
        assert (facts["server"], facts["controller_id"], facts["state"]) == (hawkbit.url, "cam-01", "idle")
        action = hawkbit.assign((BUNDLE, failing(tmp_path, "stumbler").read_bytes()))
        listener.wait("front/detections", lambda body: body["model"]["version"] == "2.0.0", 30)
        wait_for(lambda: action.finals, 30, what="the end of the action")
        found = failure_of(action)
        assert found["code"] == "TRIAL_FAILED"
        assert found["what"].startswith("blobs 2.0.0 was taken back: ")
        assert executions(action) == ["proceeding", "proceeding", "closed"]
        refusal = listener.wait("bundle/state", lambda body: body["bundles"]["blobs"]["last_refusal"] is not None)
        assert refusal["bundles"]["blobs"]["current"] == "1.0.0"
        assert hawkbit.count("GET", "/artifacts/") == 1
        listener.clear()
        listener.wait("cam-01/health", lambda body: client_facts(body).get("state") == "idle", 30)
        assert cli.run(["service", "status", "-c", str(agent.path)]) == 0
        assert f"hawkBit {hawkbit.url}: idle" in capsys.readouterr().out
        audit = (tmp_path / "state" / "audit.jsonl").read_text()
        assert '"origin": "hawkbit action 1"' in audit


def test_a_wrong_token_is_seen_in_health_and_no_camera_minds(
    tmp_path: Path, broker: Broker, hawkbit: Hawkbit, capsys: pytest.CaptureFixture[str]
) -> None:
    hawkbit.token = "TargetToken another"
    with Listener(broker.port) as listener, agent_of(tmp_path, broker, hawkbit) as agent:
        health = listener.wait("cam-01/health", lambda body: client_facts(body).get("code") is not None, 30)
        assert client_facts(health)["code"] == "HAWKBIT_UNAUTHORISED"
        assert health["errors"]["HAWKBIT_UNAUTHORISED"] == 1
        assert cli.run(["service", "status", "-c", str(agent.path)]) == 0
        assert "HAWKBIT_UNAUTHORISED: the hawkBit server does not accept this device's token" in capsys.readouterr().out
        target = tmp_path / "support.tar"
        assert cli.run(["support", "-c", str(agent.path), "-o", str(target)]) == 0
        assert TOKEN.encode() not in target.read_bytes()
        asked = len(hawkbit.asked)
        listener.wait("front/detections", lambda body: body["seq"] >= 40)
        assert len(hawkbit.asked) == asked == 1, "it is not hammered"
        (tmp_path / "token").write_text("another")
        agent.path.write_text(agent.path.read_text().replace("poll = 1", "poll = 2"))  # what has changed begins anew
        agent.signal(signal.SIGHUP)
        listener.wait("cam-01/health", lambda body: client_facts(body).get("polled") is not None, 40)
        assert TOKEN not in agent.log.read_text() + str(listener.messages)


def test_a_download_that_hangs_stops_nothing_and_nobody(tmp_path: Path, broker: Broker, hawkbit: Hawkbit) -> None:
    data = make_signed(tmp_path, version="2.0.0").read_bytes()

    def hanging(server: Server, request: Request, wire: Any) -> None:
        wire.sendall(head(200, f"Content-Length: {len(data)}") + data[:600])
        server.over.wait(60)

    hawkbit.files[BUNDLE] = hanging
    hawkbit.assign((BUNDLE, data))
    with Listener(broker.port) as listener, agent_of(tmp_path, broker, hawkbit) as agent:
        wait_for(lambda: hawkbit.count("GET", "/artifacts/"), 30)
        begun = listener.bodies("front/detections")[-1]["seq"] if listener.bodies("front/detections") else 0
        listener.wait("front/detections", lambda body: body["seq"] >= begun + 30)
        numbers = [body["seq"] for body in listener.bodies("front/detections")]
        assert all(later == earlier + 1 for earlier, later in pairwise(numbers))
        asked_at = time.monotonic()
        assert agent.stop() == 0
        assert time.monotonic() - asked_at < 10


@pytest.mark.full(seconds=130)
def test_a_roll_out_from_assignment_to_confirmation_over_a_kill(tmp_path: Path, broker: Broker, hawkbit: Hawkbit) -> None:
    hawkbit.wants_attributes = True
    action = hawkbit.assign((BUNDLE, make_signed(tmp_path, version="2.0.0").read_bytes()))
    with Listener(broker.port) as listener, agent_of(tmp_path, broker, hawkbit, fps=20.0) as agent:
        listener.wait("front/detections", lambda body: body["model"]["version"] == "2.0.0", 40)
        wait_for(lambda: len(action.statuses) == 2, 30, what="that it is on trial")
        agent.kill()
        agent.start()
        wait_for(lambda: action.finals, 150, what="600 frames and a minute")
        assert action.finals == ["success"]
        assert executions(action)[-1] == "closed"
        assert len(action.statuses) <= 4, "a step may be told again by who was killed while it was heard; the end is not"
        assert action.late == []
        assert action.statuses[-1]["details"] == ["blobs 2.0.0: confirmed"]
        wait_for(lambda: hawkbit.attributes.get("bundle.blobs") == "2.0.0", 20)
        facts = client_facts(listener.bodies("cam-01/health")[-1])
        assert facts["code"] is None
        assert hawkbit.count("GET", "/artifacts/") == 1


def test_a_thread_that_hangs_is_left_behind_and_another_one_goes_on(tmp_path: Path, hawkbit: Hawkbit) -> None:
    data = make_signed(tmp_path, version="2.0.0").read_bytes()
    write_root(tmp_path)

    def hanging(server: Server, request: Request, wire: Any) -> None:
        wire.sendall(head(200, f"Content-Length: {len(data)}"))
        server.over.wait(60)

    hawkbit.files[BUNDLE] = hanging
    (tmp_path / "token").write_text(TOKEN)
    section = Section(url=hawkbit.url, target_token_file=tmp_path / "token", poll=1.0)
    (tmp_path / "state").mkdir()
    agent = AgentSection(id="cam-01", state_dir=tmp_path / "state", trust=tmp_path / "root.json")
    config = Config(agent=agent, fleet=Fleet(hawkbit=section))
    bundles, errors, clock = Bundles(config, SystemClock(), NoCameras()), Counter[str](), SystemClock()
    bundles.live.recover()
    watchdog = Watchdog(clock, lambda _: None, abort=lambda: pytest.fail("aborted"))
    patience = Patience(start_s=0.0, download=Limits(read_s=60.0))
    client = Client(config, around_of(config, bundles, clock, errors), watchdog, patience=patience)
    hawkbit.assign((BUNDLE, data))
    client.start()
    try:
        wait_for(lambda: hawkbit.count("GET", "/artifacts/") == 1)
        assert client.facts()["state"] == "fetching"
        assert client._mend(Overdue("hawkbit", Promise(0.0, 1.0, "of somebody who has ended"), 2.0))
        assert hawkbit.count("GET", "/artifacts/") == 1
        assert client._stage is not None
        assert client._stage.pulse.promise is not None
        assert client._mend(Overdue("hawkbit", client._stage.pulse.promise, 2.0))
        wait_for(lambda: hawkbit.count("GET", "/artifacts/") == 2, what="a second thread that fetches it")
        assert errors["HAWKBIT_HUNG"] == 2
    finally:
        asked_at = time.monotonic()
        client.stop()
        assert time.monotonic() - asked_at < 2
    assert client.facts() == {}
