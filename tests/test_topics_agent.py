"""What an agent publishes as a broker sees it: topics, QoS and what is kept; a semantic map's way to a subscriber."""

from __future__ import annotations

from pathlib import Path

from tests.support.agent import SINET, Agent, Listener, camera, make_bundle
from tests.support.broker import running, subscribed, wait_for
from tests.support.data import shared


def test_a_map_is_published_with_every_frame_live_and_not_retained(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, "SINet.onnx", SINET, a="background", b="person")
    section = camera(shared("images/portrait.jpg"), bundle, fps=4.0)
    with running(tmp_path) as broker, Listener(broker.port) as listener, Agent(tmp_path, broker.port, section):
        made = listener.wait("front/segmentation", timeout_s=30)
        shares = {item["label"]: item["share"] for item in made["classes"]}
        assert 0.55 <= shares["person"] <= 0.63
        assert sum(shares.values()) <= 1.001
        assert made["frame"] == {"width": 1314, "height": 1752}
        health = listener.wait("front/health", lambda body: body["counters"]["published"] >= 10, 30)
        assert (health["state"], health["reason"]) == ("running", None)
        assert len(listener.bodies("front/segmentation")) >= 10
        # QoS 0: nothing of it is kept, and nothing waits for an answer
        assert health["counters"]["acknowledged"] == 0
        assert listener.bodies("cam-01/health")[-1]["outbox"]["messages"] == 0
        assert not listener.bodies("front/detections")
        with Listener(broker.port) as late:
            late.wait("front/health")
            assert not [retain for topic, _, retain in late.messages if topic.endswith("segmentation") and retain]


def test_topics_qos_and_what_is_retained_are_those_of_the_contract(tmp_path: Path) -> None:
    root = "camagent/cam-01"
    kept = {  # topic -> QoS
        f"{root}/available": 1, f"{root}/health": 0, f"{root}/bundle/state": 1,
        f"{root}/front/available": 1, f"{root}/front/health": 0, f"{root}/front/detect": 1,
        f"{root}/front/count/person": 1, f"{root}/front/count/car": 1, f"{root}/front/snapshot": 0,
        f"{root}/front/zone/all/person": 1, f"{root}/front/zone/all/car": 1,
    }  # fmt: skip
    section = camera(
        shared("images/street.jpg"), make_bundle(tmp_path), publish="every-frame", snapshots=True, retain_snapshots=True
    )
    section += '[camera.filter]\nlabels = ["person", "car"]\n'
    section += '[[camera.zone]]\nname = "all"\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\n'
    with running(tmp_path) as broker, subscribed(broker.port) as early, Agent(tmp_path, broker.port, section) as agent:
        wait_for(lambda: len(early.on(f"{root}/front/detections")) >= 5, 30)
        wait_for(lambda: early.on(f"{root}/front/available")[-1:] == [b"online"], 30)
        wait_for(lambda: early.on(f"{root}/front/snapshot"), 30)
        with subscribed(broker.port, client_id="late") as late:
            wait_for(lambda: kept.keys() <= {topic for (topic, _), flag in zip(late.got, late.retained, strict=False) if flag})
            found = [(topic, qos, flag) for (topic, _), qos, flag in zip(late.got, late.qos, late.retained, strict=False)]
        assert {topic: qos for topic, qos, is_kept in found if is_kept} == kept
        live = {(topic, qos) for (topic, _), qos in zip(early.got, early.qos, strict=False)}
        assert live == {*kept.items(), (f"{root}/front/detections", 1), (f"{root}/front/events", 1)}
        assert agent.stop() == 0
        wait_for(lambda: early.on(f"{root}/available")[-1] == b"stopped")
        assert early.on(f"{root}/front/available")[-1] == b"offline"
