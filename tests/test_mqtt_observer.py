"""The second client, for `watch` and the echo; and URLs that name no broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from camagent.clock import SystemClock
from camagent.config import Mqtt
from camagent.errors import ConfigError
from camagent.mqtt import LinkError, Observer
from tests.support.broker import free_port, running, wait_for
from tests.support.sending import AVAILABLE, sending


@pytest.mark.parametrize("url", ["http://x", "mqtt://", "x", "mqtt://u:p@host", "mqtt://host:99999", "mqtt://[::1"])
def test_a_wrong_url_is_said_at_once_and_holds_no_secret(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Observer(Mqtt(url=url), ["#"], SystemClock(), on_message=lambda *_: None, died=lambda *_: None)
    assert "u:p" not in caught.value.render()


def test_an_observer_sees_what_is_retained_and_what_comes(tmp_path: Path) -> None:
    got: list[tuple[str, bytes, bool]] = []
    with running(tmp_path) as broker, sending(tmp_path, broker.port) as agent:
        agent.wait_connected()
        config = Mqtt(url=broker.url)
        observer = Observer(config, ["p/#"], SystemClock(), on_message=lambda *what: got.append(what), died=lambda *_: None)
        observer.start()
        observer.wait_subscribed(5)
        agent.detection(7)
        wait_for(lambda: len(got) == 2)
        assert got[0] == (AVAILABLE, b"online", True)
        assert observer.status.state == "connected"
        observer.stop()


def test_an_observer_that_cannot_connect_says_why(tmp_path: Path) -> None:
    observer = Observer(
        Mqtt(url=f"mqtt://127.0.0.1:{free_port()}"), ["#"], SystemClock(), on_message=lambda *_: None, died=lambda *_: None
    )
    observer.start()
    with pytest.raises(LinkError) as caught:
        observer.wait_subscribed(0.5)
    assert caught.value.reason == "mqtt-unreachable"
    observer.stop()
