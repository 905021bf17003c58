"""The site's broker of docs/fleet.md: its very lines, towards a centre behind TLS, with a real agent at the site."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.agent import Agent, Listener, camagent, camera
from tests.support.broker import Authority, free_port, running
from tests.support.bundles import blob_picture, make_unsigned

PAGE = Path(__file__).resolve().parents[1] / "docs" / "fleet.md"


def site_lines(port: int, ca: Path) -> list[str]:
    """The page's block, with this machine's port and certificate; who may log in at the site is another matter."""
    (block,) = re.findall(r"^```\n(listener 1883\n.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert isinstance(block, str)
    changed = block.replace("centre.example.org:8883", f"127.0.0.1:{port}")
    changed = changed.replace("/etc/ssl/certs/ca-certificates.crt", str(ca))
    assert changed.count(str(port)) == changed.count(str(ca)) == 1
    lines = [line for line in changed.splitlines() if line]
    assert lines[:3] == ["listener 1883", "allow_anonymous false", "password_file /etc/mosquitto/passwords"]
    return ["allow_anonymous true", *lines[3:]]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "0.png").write_bytes(blob_picture())
    return folder


def test_states_go_up_and_orders_come_down_and_detections_stay(tmp_path: Path, pictures: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.issue("127.0.0.1")
    tls = free_port()
    centre_lines = [
        "allow_anonymous true", f"listener {tls} 127.0.0.1", f"certfile {certificate.cert}", f"keyfile {certificate.key}",
    ]  # fmt: skip
    with (
        running(tmp_path / "centre", centre_lines) as centre,
        running(tmp_path / "site", site_lines(tls, authority.file)) as site,
        Listener(centre.port, strict=False) as above, Listener(site.port) as below,
        Agent(tmp_path, site.port, camera(pictures, make_unsigned(tmp_path), publish="every-frame")),
    ):  # fmt: skip
        below.wait("cam-01/front/detections")
        above.wait_payload("cam-01/available", b"online")
        above.wait("cam-01/front/health", lambda body: body["state"] == "running")
        above.publish("camagent/group/lobby/cmd/bundle", "an order")
        below.wait_payload("group/lobby/cmd/bundle", b"an order")
        below.publish("camagent/cam-01/front/events", json.dumps({"schema": "of a test"}))  # as an agent's would
        above.wait("cam-01/front/events")
        told = camagent("fleet", "status", "--url", f"mqtt://127.0.0.1:{centre.port}", "--json")
        assert told.returncode == 0, told.stderr
        (agent,) = json.loads(told.stdout)["agents"]
        assert (agent["name"], agent["state"], agent["cameras"][0]["name"]) == ("cam-01", "online", "front")
        assert not above.payloads("front/detections")
        below.wrong.clear()  # the event of a test
