"""The network thread of a real agent dies: another one takes its place, and knows what the broker has to keep."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

from camagent import config_file
from camagent.pipeline import Agent
from tests.support import things
from tests.support.agent import Agent as Child
from tests.support.agent import Listener, camera
from tests.support.broker import running, wait_for
from tests.test_events_agent import kept as kept_of_front
from tests.test_home_assistant_agent import ON, TOPIC, retained

GONE = "camagent/cam-01/gone/count/ball"  # what its predecessor was told to clear, and could not


def test_a_network_thread_that_dies_is_replaced_and_everything_that_is_kept_is_told_again(tmp_path: Path) -> None:
    bundle, pictures = things.bundle(tmp_path), things.folder_of(tmp_path / "pictures")
    with running(tmp_path) as broker:
        written = Child(tmp_path, broker.port, camera(pictures, bundle), more=ON)
        agent = Agent(config_file.load(written.path))
        thread = threading.Thread(target=agent.run)
        thread.start()
        try:
            words = {"count/ball", "count/box", "detect", "available", "health"}
            wait_for(lambda: words <= kept_of_front(broker, "").keys() and retained(broker, TOPIC), 30)
            announced = retained(broker, TOPIC)
            agent.mqtt.stop(0.0)
            broker.stop(signal.SIGKILL)  # it has forgotten everything, and so has whoever speaks to it next
            broker.start()
            assert not kept_of_front(broker, "")
            for kept in ((GONE,), ()):
                agent.kept.keep("gone", kept)
            with Listener(broker.port) as listener:
                agent._network_died("mqtt", RuntimeError("a defect"))
                listener.wait_payload(GONE, b"", 30)
            wait_for(lambda: words <= kept_of_front(broker, "").keys(), 30, "what is kept of the camera")
            wait_for(lambda: retained(broker, TOPIC) == announced, 20, "what Home Assistant was told")
            assert retained(broker, "camagent/cam-01/available") == [b"online"]
            assert retained(broker, "camagent/cam-01/bundle/state")
            assert agent.health().errors["NETWORK_DIED"] == 1
        finally:
            agent.request_stop()
            thread.join(30)
        assert not thread.is_alive()
        assert retained(broker, "camagent/cam-01/available") == [b"stopped"]
