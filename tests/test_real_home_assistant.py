"""What we announce, in real Home Assistants: their schemas, their Jinja, their entities, their services.

The first run installs them into the user's cache, some minutes and 400 MB each; where that cannot be, these tests are skipped.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from camagent.integrations import home_assistant as ha
from camagent.integrations.home_assistant import CameraFacts
from camagent.labels import COCO80
from tests.support import things
from tests.support.agent import Agent, Listener, camera
from tests.support.broker import Broker, running
from tests.support.data import shared
from tests.support.home_assistant import checked, singles
from tests.support.real_home_assistant import NEW, OLD, Bridge, RealHome, Release, apart, environment
from tests.test_home_assistant import FRONT, HOSTILE, agent, agent_health, health, of, switch
from tests.test_home_assistant import things as named
from tests.test_home_assistant_agent import ON, ZONE

pytestmark = pytest.mark.full(seconds=90)


@pytest.fixture(scope="module", params=[OLD, NEW], ids=str)
def release(request: pytest.FixtureRequest) -> Release:
    made: Release = request.param
    return made


@pytest.fixture(scope="module")
def python(release: Release) -> Path:
    return environment(release)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path) as started:
        yield started


def test_its_own_schemas_take_every_component(python: Path, tmp_path: Path, broker: Broker) -> None:
    hostile = named(*(label for label in HOSTILE if label.isprintable()))
    examples = {
        "usual": agent(FRONT, CameraFacts("belt", classifies=True), device="rk3568", page="https://cam.local:8420"),
        "many": agent(CameraFacts("front", named(*COCO80), zones=("gate", "yard"), snapshots=True)),
        "hostile": agent(CameraFacts("front", hostile, chosen=True, zones=("gate",))),
        "bare": agent(commands=frozenset()),
    }
    with RealHome(python, tmp_path / "home", broker.port) as home:
        for name, example in examples.items():
            made = {}
            for key, config in singles(checked(ha.message(example, {})[1])).items():
                made[key] = (config.pop("platform"), config)
            wrong = {key: what for key, what in home.ask(schemas=made).items() if what}
            assert not wrong, name
            assert made.keys() == apart(of(example)).keys()
        bad = {"sensor": ("sensor", {"unique_id": "x"}), "class": ("binary_sensor", {"state_topic": "x", "device_class": "no"})}
        assert all(home.ask(schemas=bad).values()), "a schema that takes everything would prove nothing"


def test_its_entities_say_what_the_bodies_say(release: Release, python: Path, tmp_path: Path, broker: Broker) -> None:
    odd = "汉字" * 32
    example = agent(
        replace(FRONT, things=named("person", "car", odd)),
        CameraFacts("belt", classifies=True),
        CameraFacts("x" * 48, named("a")),
    )
    bodies = {
        "available": b"online", "health": agent_health(48.5), "front/available": b"online", "belt/available": b"online",
        "front/health": health(reason="dark", detail='"black" {{ 7 }}'), "belt/health": health(model=None),
        "front/count/person": b'{"count": 2}', "front/count/car": b'{"count": 0}', "front/zone/gate/person": b'{"count": 1}',
        "front/detect": switch("OFF"), "belt/detect": switch("ON"),
        "selftest": b'{"verdict": "fault", "causes": [{"id": "dark"}]}',
        "belt/classification": b'{"top": [{"label": "{{ 7 }}", "score": 0.5}]}',
    }  # fmt: skip
    picture = shared("images/portrait.jpg").read_bytes()
    with (
        Bridge(broker.port, release),
        Listener(broker.port, "x/#") as other,
        RealHome(python, tmp_path / "home", broker.port) as home,
    ):
        other.publish("homeassistant/device/cam-01/config", ha.message(example, {})[1], retain=True)
        for topic, body in bodies.items():
            other.publish(f"camagent/cam-01/{topic}", body, retain=True)
        expected = {
            "binary_sensor.cam_01_front_person": "on", "binary_sensor.cam_01_front_car": "off",
            "binary_sensor.cam_01_front_gate_person": "on", "binary_sensor.cam_01_front_gate_car": "unknown",
            "sensor.cam_01_front_person_count": "2", "sensor.cam_01_front_car_count": "0",
            "binary_sensor.cam_01_front_online": "on", "sensor.cam_01_temperature": "48.5",
            "sensor.cam_01_front_reason": "dark", "sensor.cam_01_belt_reason": "ok",
            "sensor.cam_01_front_model": "fastestdet 1.0.0", "sensor.cam_01_belt_model": "none",
            "switch.cam_01_front_detection": "off", "switch.cam_01_belt_detection": "on",
            "sensor.cam_01_self_test": "fault", "sensor.cam_01_belt_class": "{{ 7 }}",
        }  # fmt: skip
        home.wait_for(lambda: {entity: home.state(entity) for entity in expected} == expected, 30, "states")
        other.publish("camagent/cam-01/front/snapshot", picture)
        states = home.ask(states=True)
        assert states["sensor.cam_01_front_reason"][1]["detail"] == '"black" {{ 7 }}'
        assert states["sensor.cam_01_self_test"][1]["causes"] == ["dark"]
        assert states["sensor.cam_01_temperature"][1]["unit_of_measurement"] == "°C"
        home.wait_for(lambda: home.ask(picture="camera.cam_01_front_snapshot")["bytes"] == len(picture), 10, "the picture")
        registered = home.ask(registered=True)
        assert len(registered) == len(apart(of(example))), "every component has become an entity"
        assert [entity for entity, disabled in registered.items() if disabled] == [
            entity for entity in registered if entity.endswith("inferences_per_second")
        ]  # fmt: skip
        assert max(map(len, registered)) <= 255
        for word, state in (("stopped", "unavailable"), ("online", "on")):
            other.publish("camagent/cam-01/available", word, retain=True)
            home.wait("binary_sensor.cam_01_front_person", state)
        other.publish("camagent/cam-01/front/available", "offline", retain=True)
        home.wait("binary_sensor.cam_01_front_person", "unavailable")
        assert home.state("sensor.cam_01_front_reason") == "dark", "why it is away is not unavailable with it"
        assert home.complaints() == []


def test_an_agent_lives_in_it(release: Release, python: Path, tmp_path: Path, broker: Broker) -> None:
    bundle, pictures = things.bundle(tmp_path), things.folder_of(tmp_path / "pictures")
    sections = camera(pictures, bundle) + ZONE + camera(pictures, bundle, "back")
    with (
        Bridge(broker.port, release),
        RealHome(python, tmp_path / "home", broker.port) as home,
        Agent(tmp_path, broker.port, sections, more=ON) as running_agent,
    ):
        home.wait("sensor.cam_01_front_model", "float 1.0.0", 60)
        home.wait("binary_sensor.cam_01_front_online", "on")
        home.wait("binary_sensor.cam_01_back_online", "on")
        home.wait("switch.cam_01_front_detection", "on")
        for service, state in (("turn_off", "off"), ("turn_on", "on")):
            home.call("switch", service, "switch.cam_01_front_detection")
            home.wait("switch.cam_01_front_detection", state)
        home.wait("sensor.cam_01_front_reason", "ok", 60)
        home.call("button", "press", "button.cam_01_run_self_test")
        home.wait_for(lambda: home.state("sensor.cam_01_self_test") in ("healthy", "inconclusive", "fault"), 60, "a verdict")
        zone = "binary_sensor.cam_01_front_gate_ball"
        assert zone in home.ask(registered=True)
        running_agent.write(camera(pictures, bundle))
        running_agent.signal(signal.SIGHUP)
        home.wait_for(lambda: zone not in home.ask(registered=True), 30, "the zone's entities are removed")
        left = {name for name in home.ask(registered=True) if "_back_" in name}
        assert left <= {"sensor.cam_01_back_inferences_per_second"}, "a disabled one stays, in versions before spring 2026"
        assert "binary_sensor.cam_01_front_ball" in home.ask(registered=True)
        assert running_agent.stop() == 0
        home.wait("switch.cam_01_front_detection", "unavailable")
        running_agent.path.write_text(running_agent.path.read_text().replace("enabled = true", "enabled = false"))
        running_agent.start()
        home.wait_for(lambda: home.ask(registered=True) == {}, 30, "nothing of it is left")
        assert home.complaints() == []
