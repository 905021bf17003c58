"""Many agents behind one broker: what is told of them, the table, and one order for a group of them."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.cli.fleet_status import QUIET_S, Inbox, listen
from camagent.cli.fleet_view import lines_of
from camagent.fleet import SILENT_S, SORTS, Fleet, summary
from tests.support.agent import Agent, Listener, camagent, camera
from tests.support.broker import Broker, running
from tests.support.bundles import make_signed, write_root
from tests.support.http_server import Files, serving
from tests.support.plugin import install_failing_backends
from tests.test_bundle_agent import confirmed, order
from tests.test_errors import NASTY

NOW = 1_800_000_000.0


def health(age: float = 3.0, **changes: Any) -> bytes:
    body = {"schema": "camagent.health/1", "time": NOW - age, "version": "0.1.0", "uptime": 60.0, "run": 1} | changes
    return json.dumps(body).encode()


def camera_health(**changes: Any) -> bytes:
    model = {"name": "roads", "version": "1.0.0", "backend": "onnx", "signature": "verified"}
    body = {"schema": "camagent.camera-health/1", "time": NOW, "state": "running", "fps": 9.9, "model": model} | changes
    return json.dumps(body).encode()


def bundles(**changes: Any) -> bytes:
    facts = {"current": "1.0.0", "trial": None, "previous": None, "last_refusal": None} | changes
    return json.dumps({"schema": "camagent.bundle-state/1", "bundles": {"roads": facts}}).encode()


def fleet(*messages: tuple[str, bytes]) -> Fleet:
    made = Fleet("camagent")
    for topic, payload in messages:
        made.note(f"camagent/{topic}", payload)
    return made


def a_camera(name: str = "cam-01") -> list[tuple[str, bytes]]:
    return [
        (f"{name}/available", b"online"), (f"{name}/health", health()), (f"{name}/front/available", b"online"),
        (f"{name}/front/health", camera_health()), (f"{name}/bundle/state", bundles()),
    ]  # fmt: skip


def test_an_agent_that_is_well() -> None:
    (view,) = fleet(*a_camera()).views(NOW)
    assert (view.name, view.state, view.version, view.age_s, view.troubled) == ("cam-01", "online", "0.1.0", 3.0, False)
    (front,) = view.cameras
    assert (front.name, front.sees, front.fps, front.model, front.signature) == ("front", True, 9.9, "roads 1.0.0", "verified")
    assert view.bundles[0].current == "1.0.0"


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        (("cam-01/health", health(SILENT_S + 1)), "silent"),
        (("cam-01/available", b"offline"), "offline"),
        (("cam-01/available", b"stopped"), "stopped"),
        (("cam-01/available", b"?"), "unknown"),
        (("cam-01/health", health(10_000, clock={"synchronised": False})), "online"),  # its clock is no witness
        (("cam-01/health", health(-500)), "online"),
    ],
)
def test_where_an_agent_stands(changed: tuple[str, bytes], state: str) -> None:
    (view,) = fleet(*a_camera(), changed).views(NOW)
    assert view.state == state
    assert view.troubled == (state != "online")


def test_who_sees_nothing_and_why_and_what_was_refused() -> None:
    refusal = {"code": "GOLDEN_FAILED", "what": "x", "fix": "y", "version": "2.0.0", "time": NOW}
    made = fleet(
        *a_camera("a"), *a_camera("b"), ("b/front/health", camera_health(reason="stream-unreachable", detail="no route")),
        *a_camera("c"), ("c/bundle/state", bundles(last_refusal=refusal)), ("d/available", b"offline"),
    )  # fmt: skip
    views = made.views(NOW)
    assert [view.troubled for view in views] == [False, True, True, True]
    assert summary(views) == {
        "agents": 4, "states": {"online": 3, "offline": 1}, "cameras": 3, "seeing": 2, "reasons": {"stream-unreachable": 1},
        "models": {"roads 1.0.0": 3}, "refused": {"2.0.0: GOLDEN_FAILED": 1},
    }  # fmt: skip
    text = "\n".join(lines_of(summary(views)))
    assert "4 agents: 3 online, 1 offline; 3 cameras: 2 see" in text
    assert "refused: 2.0.0: GOLDEN_FAILED (1)" in text
    assert [view.name for view in sorted(views, key=SORTS["trouble"])] == ["d", "b", "c", "a"]
    for sort in SORTS.values():
        assert len(sorted(views, key=sort)) == 4


def test_what_was_taken_back_is_gone() -> None:
    made = fleet(*a_camera(), ("cam-01/front/health", b""), ("cam-01/front/available", b""))
    assert made.views(NOW)[0].cameras == ()
    for topic in ("health", "available", "bundle/state"):
        made.note(f"camagent/cam-01/{topic}", b"")
    assert made.views(NOW) == []


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("camagent/cam 01/health", health()),
        ("other/cam-01/health", health()),
        ("camagent/cam-01/health", b"{"), ("camagent/cam-01/health", b'{"schema":"camagent.health/1"}'),
        ("camagent/cam-01/health", camera_health()), ("camagent/cam-01/health", b"[" * 50_000),
        ("camagent/cam-01/health", health(version=7)), ("camagent/cam-01/available", b"\xff"),
        ("camagent/group/lobby/health", camera_health()),
    ],
)  # fmt: skip
def test_what_camagent_does_not_publish_is_counted(topic: str, payload: bytes) -> None:
    made = fleet(*a_camera())
    before = made.views(NOW)
    made.note(topic, payload)
    assert made.strange == 1
    assert made.views(NOW) == before


def test_what_a_broker_sends_unasked_is_passed_over() -> None:
    made = fleet(*a_camera(), ("cam-01/front/detect", b"{}"), ("cam-01/y/z/health", camera_health()))
    assert made.strange == 0
    assert made.views(NOW) == fleet(*a_camera()).views(NOW)


@given(st.lists(st.tuples(st.sampled_from(["a/health", "a/available", "a/b/health", "a/bundle/state"]), st.binary())))
def test_no_bytes_end_it(messages: list[tuple[str, bytes]]) -> None:
    made = fleet(*messages)
    summary(made.views(NOW))


def status(port: int, *arguments: str) -> Any:
    return camagent("fleet", "status", "--url", f"mqtt://127.0.0.1:{port}", *arguments)


def test_the_command(tmp_path: Path) -> None:
    with running(tmp_path) as broker, Listener(broker.port, strict=False) as speaker:
        nobody = status(broker.port)
        assert nobody.returncode == 0
        assert "no agent has published below camagent/" in nobody.stderr
        for name in ("cam-02", "cam-01"):
            for topic, payload in a_camera(name):
                fresh = payload.replace(str(NOW - 3).encode(), str(time.time()).encode())
                speaker.publish(f"camagent/{topic}", fresh, retain=True)
        for text in NASTY:
            if "\ud800" not in text:
                nasty = camera_health(reason=text, detail=text, model={"name": text, "version": text, "signature": text})
                speaker.publish("camagent/cam-02/front/health", nasty, retain=True)
                shown = status(broker.port)
                assert shown.returncode == 0, shown.stderr
                assert not any(ord(sign) < 32 and sign != "\n" for sign in shown.stdout)
        speaker.publish("camagent/cam-02/health", b"junk", retain=True)
        people, machine = status(broker.port), status(broker.port, "--json", "--sort", "trouble")
        troubled = status(broker.port, "--json", "--troubled")
    assert people.stdout.index("cam-01") < people.stdout.index("cam-02")
    assert "2 agents: 2 online; 2 cameras: 1 see" in people.stdout
    assert "1 messages there are not what camagent publishes" in people.stderr
    body = json.loads(machine.stdout)
    assert body["schema"] == "camagent.fleet-status/1"
    assert [agent["name"] for agent in body["agents"]] == ["cam-02", "cam-01"]
    assert body["summary"]["seeing"] == 1
    assert [agent["name"] for agent in json.loads(troubled.stdout)["agents"]] == ["cam-02"]


def test_it_listens_while_the_broker_sends_what_it_keeps_and_no_longer() -> None:
    """Of many agents all states come first, then all of their cameras; what is published meanwhile never ends."""
    inbox: Inbox = SimpleQueue()
    over = threading.Event()

    def broker() -> None:
        for topic, payload in a_camera():
            inbox.put((f"camagent/{topic}", payload, True))
            over.wait(QUIET_S * 0.7)
        while not over.wait(QUIET_S * 0.1):
            inbox.put(("camagent/cam-01/front/health", camera_health(fps=1.0), False))

    thread = threading.Thread(target=broker)
    thread.start()
    try:
        (view,) = listen(Fleet("camagent"), inbox, [], wait_s=30.0).views(NOW)
    finally:
        over.set()
        thread.join()
    assert view.bundles, "the last that was kept"
    assert view.cameras[0].fps == 1.0, "what is newer counts"


def test_a_broker_that_is_not_there_and_one_that_lets_nobody_read(tmp_path: Path) -> None:
    absent = status(1)
    assert absent.returncode == 3
    assert absent.stderr.startswith("error[")
    acl = tmp_path / "acl"
    acl.write_text("topic write camagent/#\n")
    acl.chmod(0o644)
    with running(tmp_path, ("allow_anonymous true", f"acl_file {acl}")) as broker:
        denied = status(broker.port)
    assert denied.returncode in (0, 3)
    assert denied.stderr.strip(), "3.1.1-like brokers grant the subscription and send nothing: then nobody has published"


# -- real agents ----------------------------------------------------------------------------------------------------------


def member(folder: Path, broker: Broker, pictures: Path, allowed: str, name: str, **environment: str) -> Agent:
    folder.mkdir()
    write_root(folder)
    confirmed(folder, make_signed(folder, version="1.0.0"))
    more = f'[commands]\nallow = ["bundle"]\nbundle_from = ["{allowed}"]\n[fleet]\ngroups = ["lobby"]\n'
    section = camera(pictures, Path("blobs"), fps=4.0, publish="every-frame")
    return Agent(
        folder, broker.port, section, agent=f'trust = "{folder}/root.json"', more=more, name=name, **environment
    )  # fmt: skip


def ordered_group(tmp_path: Path, pictures: Path, number: int, spread_s: float) -> dict[str, Any]:
    """One order for a group of `number` agents, the last of which cannot run what it gets; `fleet status` afterwards."""
    plugin = {"PYTHONPATH": install_failing_backends(tmp_path / "plugin")}
    path = make_signed(tmp_path, version="2.0.0", artifacts=[{"path": "model.onnx", "backend": "weak"}])
    names = [f"cam-{index:02}" for index in range(number)]
    with serving(Files(path.read_bytes())) as server, running(tmp_path) as broker, Listener(broker.port) as listener, \
            ExitStack() as agents:  # fmt: skip
        for index, name in enumerate(names):
            weak = {"WEAK": "1"} if index == number - 1 else {}
            agents.enter_context(member(tmp_path / name, broker, pictures, server.url("/models/"), name, **plugin, **weak))
        for name in names:
            listener.wait(f"{name}/front/detections", timeout_s=60)
        command = json.loads(order(path, server.url("/models/b"), id="all")) | {"spread_s": spread_s}
        listener.publish("camagent/group/lobby/cmd/bundle", json.dumps(command))
        began = time.monotonic()
        for name in names:
            listener.wait(f"{name}/front/detections", lambda body: body["model"]["version"] == "2.0.0", spread_s + 30)
        took = time.monotonic() - began
        assert took < spread_s + 30
        back = names[-1]
        listener.wait(f"{back}/bundle/state", lambda body: body["bundles"]["blobs"]["last_refusal"] is not None, 60)
        listener.wait(f"{back}/front/health", lambda body: body["model"] and body["model"]["version"] == "1.0.0")
        done = status(broker.port, "--json")
        text = status(broker.port, "--sort", "trouble").stdout
        print(text)
        answers = [listener.wait(f"{name}/bundle/state", lambda body: body["command"] is not None)["command"] for name in names]
    assert {answer["id"] for answer in answers} == {"all"}
    delays = {answer["what"] for answer in answers}
    if spread_s >= 2 * number:  # told in whole seconds: three within three may well be told the same
        assert len(delays) > number // 2, f"everyone at once: {delays}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def judge_group(body: dict[str, Any], number: int) -> None:
    agents = {agent["name"]: agent for agent in body["agents"]}
    assert len(agents) == number
    bad = agents.pop(f"cam-{number - 1:02}")
    assert bad["troubled"]
    assert bad["bundles"][0]["current"] == "1.0.0"
    assert bad["bundles"][0]["refused"].startswith("2.0.0: ")
    assert body["summary"]["refused"] == {bad["bundles"][0]["refused"]: 1}
    for agent in agents.values():
        assert (agent["bundles"][0]["current"], agent["bundles"][0]["refused"]) == ("2.0.0", None)


def test_three_agents_follow_one_order_and_the_bad_one_goes_back(tmp_path: Path, pictures: Path) -> None:
    judge_group(ordered_group(tmp_path, pictures, 3, 3.0), 3)


@pytest.mark.full(seconds=120)
def test_ten_agents_follow_one_order_and_the_bad_one_goes_back(tmp_path: Path, pictures: Path) -> None:
    judge_group(ordered_group(tmp_path, pictures, 10, 20.0), 10)


def test_agents_outside_a_group_hear_nothing_of_it(tmp_path: Path, pictures: Path) -> None:
    path = make_signed(tmp_path, version="2.0.0")
    with serving(Files(path.read_bytes())) as server, running(tmp_path) as broker, Listener(broker.port) as listener:
        with member(tmp_path / "cam-01", broker, pictures, server.url("/models/"), "cam-01"):
            listener.wait("cam-01/front/detections")
            listener.publish("camagent/group/attic/cmd/bundle", order(path, server.url("/models/b"), id="1"))
            listener.publish("camagent/group/lobby/cmd/bundle", "nonsense")
            heard = listener.wait("bundle/state", lambda body: body["command"] is not None)
        assert heard["command"]["code"] == "COMMAND_INVALID", "the second one was heard, and only that"
        assert not [request for request in server.requests if "/models/" in request.target]
