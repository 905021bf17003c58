"""A semantic map's way to a subscriber: a real network, a real picture, a real broker."""

from __future__ import annotations

from pathlib import Path

from tests.support.agent import SINET, Agent, Listener, camera, make_bundle
from tests.support.broker import running
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
