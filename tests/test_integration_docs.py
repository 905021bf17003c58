"""What docs/home-assistant.md and docs/onvif.md show works as it stands there."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from camagent import config_file
from camagent.frame import Track, Tracks
from camagent.integrations import home_assistant as ha
from camagent.integrations.home_assistant import CameraFacts
from tests.support import things
from tests.support.agent import Agent, Body, Listener, camera
from tests.support.broker import password_file, running, wait_for
from tests.test_home_assistant import agent, of
from tests.test_home_assistant import things as named
from tests.test_home_assistant_agent import ON, TOPIC
from tests.test_onvif import MODULE as COCO
from tests.test_onvif import checked, found, frame, scenes

ROOT = Path(__file__).resolve().parents[1]
HOME = (ROOT / "docs" / "home-assistant.md").read_text("utf-8")
ONVIF = (ROOT / "docs" / "onvif.md").read_text("utf-8")


def block(text: str, kind: str) -> str:
    (only,) = re.findall(rf"^( *)```{kind}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return "\n".join(line.removeprefix(only[0]) for line in only[1].splitlines())


def entity(platform: str, name: str) -> str:
    """As Home Assistant makes an id of device and name."""
    return f"{platform}.{re.sub('[^a-z0-9]+', '_', f'cam-01 {name}'.lower()).strip('_')}"


def test_the_configuration_that_is_shown_gives_the_entities_that_are_named() -> None:
    config = config_file.parse(tomllib.loads(block(HOME, "toml")))
    (shown,) = config.camera
    assert config.home_assistant.enabled
    facts = CameraFacts(
        shown.name, named(*shown.filter.labels), chosen=True, zones=tuple(zone.name for zone in shown.zone),
        snapshots=shown.snapshots, classifies=True,
    )  # fmt: skip
    known = {entity(component["p"], component["name"]) for component in of(agent(facts))["cmps"].values()}
    named_there = set(re.findall(r"(?:binary_sensor|sensor|camera|switch|button)\.cam_01_[a-z_]+", HOME)) - {"camera.snapshot"}
    assert named_there <= known
    assert len(named_there) >= 14
    assert not {name for name in known - named_there if "car" not in name}, "every kind of entity is in the table"


def test_the_automation_listens_to_a_state_that_there_is() -> None:
    text = block(HOME, "yaml")
    assert "binary_sensor.cam_01_front_gate_person" in text
    assert "{{" not in text


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"{ha.BUDGET:,} bytes" in HOME
    for label in ha.USUAL:
        assert label in HOME
    assert "more than twelve labels" in HOME
    assert ha.FEW == 12


def test_the_access_list_that_is_shown_is_enough(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("user watcher\ntopic read #\ntopic write homeassistant/status\n\n" + block(HOME, "text") + "\n")
    users = password_file(tmp_path, {"camera": "secret", "watcher": "secret"})
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    bundle, pictures = things.bundle(tmp_path), things.folder_of(tmp_path / "pictures")
    login = f'username = "camera"\npassword_file = "{secret}"\n'

    def announced() -> int:
        return sum(topic == TOPIC for topic, _, _ in listener.messages)

    with (
        running(tmp_path, [f"password_file {users}", f"acl_file {acl}"]) as broker,
        Listener(broker.port, "#", strict=False, username="watcher", password="secret") as listener,
        Agent(tmp_path, broker.port, camera(pictures, bundle), mqtt=login, more=ON),
    ):
        listener.wait(TOPIC, lambda body: "front.count.ball.seen" in body["cmps"], 30)
        before = announced()
        listener.publish("homeassistant/status", b"online")
        wait_for(lambda: announced() > before, 20)

        def in_order(body: Body) -> bool:
            return bool(body["mqtt"]["notices"] == 1 and body["mqtt"]["refused"] == body["mqtt"]["subscriptions_refused"] == 0)

        listener.wait("cam-01/health", in_order, 20)


def test_the_metadata_frame_that_is_shown_is_what_is_sent() -> None:
    track = Track(7, 1, 0.75, (320.0, 240.0, 640.0, 480.0), (), 0)
    made = scenes().see(frame(), found(), COCO, Tracks(found=(track,)))
    assert made is not None
    assert json.loads(block(ONVIF, "json")) == checked(made.payload)
    assert config_file.parse(tomllib.loads(block(ONVIF, "toml"))).onvif.enabled
