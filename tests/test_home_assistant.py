"""The discovery message: against a schema from Home Assistant's documentation, and its templates in real Jinja."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jinja2.sandbox
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.bodies import AgentHealthBody, CameraHealthBody, DetectBody, HealthModel, encode
from camagent.integrations import home_assistant as ha
from camagent.integrations.home_assistant import AgentFacts, CameraFacts, Thing
from camagent.labels import COCO80
from camagent.messages import slugs
from tests.support.home_assistant import Json, checked, singles
from tests.test_errors import NASTY

HOSTILE = [*NASTY, "{{ states('sensor.x') }}", "{% for x in y %}", "a/b/#", "+", '"}, "cmps": {', "~", "$SYS/broker"]
IDS = st.from_regex(r"[A-Za-z0-9_-]{1,48}", fullmatch=True)


def things(*labels: str) -> tuple[Thing, ...]:
    return tuple(Thing(label, slug) for label, slug in zip(labels, slugs(labels), strict=True))


def agent(*cameras: CameraFacts, **changes: Any) -> AgentFacts:
    return AgentFacts(
        "camagent/cam-01", "cam-01", "0.1.0", cameras, **{"commands": frozenset({"selftest", "detect"}), **changes}
    )


FRONT = CameraFacts("front", things("person", "car"), chosen=True, zones=("gate",), snapshots=True)


def of(facts: AgentFacts, before: dict[str, str] | None = None) -> Json:
    return checked(ha.message(facts, before or {})[1])


def test_a_camera_with_two_labels_and_a_zone() -> None:
    message = of(agent(FRONT, device="rk3568", page="http://10.0.0.7:8420"))
    assert message["dev"] == {
        "ids": ["camagent-cam-01"], "name": "cam-01", "mf": "camagent", "mdl": "rk3568", "sw": "0.1.0",
        "cu": "http://10.0.0.7:8420",
    }  # fmt: skip
    assert sorted(message["cmps"]) == sorted([
        "selftest", "verdict", "temperature", "front.online", "front.reason", "front.model", "front.fps", "front.detect",
        "front.snapshot",
        *(f"front.{place}.{label}.{kind}" for place in ("count", "zone.gate") for label in ("person", "car")
          for kind in ("seen", "number")),
    ])  # fmt: skip
    seen, number = message["cmps"]["front.zone.gate.person.seen"], message["cmps"]["front.zone.gate.person.number"]
    assert (seen["p"], seen["dev_cla"], seen["name"]) == ("binary_sensor", "occupancy", "front gate person")
    assert seen["stat_t"] == number["stat_t"] == "camagent/cam-01/front/zone/gate/person"
    assert (number["p"], number["stat_cla"], number["name"]) == ("sensor", "measurement", "front gate person count")
    assert message["cmps"]["front.count.car.number"]["stat_t"] == "camagent/cam-01/front/count/car"
    assert message["cmps"]["front.snapshot"]["t"] == "camagent/cam-01/front/snapshot"
    button = message["cmps"]["selftest"]
    assert (button["cmd_t"], button["pl_prs"]) == ("camagent/cam-01/cmd/selftest", "{}")
    switch = message["cmps"]["front.detect"]
    assert (switch["cmd_t"], switch["stat_t"]) == ("camagent/cam-01/front/cmd/detect", "camagent/cam-01/front/detect")


def test_what_may_not_be_asked_and_what_is_not_made_is_not_offered() -> None:
    message = of(agent(replace(FRONT, snapshots=False), commands=frozenset()))
    assert not {"selftest", "front.detect", "front.snapshot"} & message["cmps"].keys()
    assert "verdict" in message["cmps"], "the agent tests itself unasked, too"
    assert of(agent(commands=frozenset({"detect"})))["cmps"].keys() == {"verdict", "temperature"}, "no camera, no switch"


def test_what_a_camera_sees_is_available_while_agent_and_camera_are() -> None:
    made = singles(of(agent(FRONT)))
    both = ["camagent/cam-01/available", "camagent/cam-01/front/available"]
    for key, component in made.items():
        topics = [entry["topic"] for entry in component["availability"]]
        looks = key.startswith("front.") and key.split(".")[1] in ("count", "zone", "snapshot")
        assert topics == (both if looks else both[:1]), f"{key}: what is wrong with a camera is asked while it is away"
        assert component["availability_mode"] == "all"


def test_a_classifier_has_a_class_and_no_counts() -> None:
    message = of(agent(CameraFacts("belt", classifies=True)))
    assert message["cmps"]["belt.class"]["stat_t"] == "camagent/cam-01/belt/classification"
    assert not [key for key in message["cmps"] if ".count." in key]


def test_eighty_labels_do_not_flood_anybody() -> None:
    camera = CameraFacts("front", things(*COCO80), zones=("gate",), snapshots=True)
    announcement, payload = ha.message(agent(camera), {})
    message = checked(payload)
    on = {key for key, component in message["cmps"].items() if component.get("en", True)}
    assert {key.split(".")[2] for key in on if ".count." in key} == {
        "person", "bicycle", "car", "motorcycle", "bus", "truck", "cat", "dog",
    }  # fmt: skip
    assert "front.zone.gate.person.seen" in on
    assert len(on) <= 45
    off = message["cmps"].keys() - on - {"front.fps"}
    assert off == {f"front.count.{slug}.number" for slug in slugs(COCO80)} - on
    assert announcement.left_out == 0
    assert len(payload) < 50_000


def test_labels_that_somebody_has_named_are_all_wanted() -> None:
    camera = CameraFacts("front", things(*COCO80[:20]), chosen=True)
    assert all(component.get("en", True) for key, component in of(agent(camera))["cmps"].items() if ".count." in key)
    few = CameraFacts("front", things(*COCO80[40:52]))
    assert all(component.get("en", True) for key, component in of(agent(few))["cmps"].items() if ".count." in key)


def test_what_does_not_fit_is_left_out_from_the_least_on_and_said() -> None:
    cameras = tuple(CameraFacts(f"cam{i}", things(*COCO80), zones=("a", "b"), chosen=i == 0) for i in range(4))
    whole = ha.announce(agent(*cameras), 10**9)
    announcement, payload = ha.message(agent(*cameras), {})
    message = checked(payload)
    assert 0.98 * ha.BUDGET < len(payload) <= ha.BUDGET
    assert announcement.left_out == len(whole.components) - len(announcement.components) > 0
    assert {f"cam{i}.reason" for i in range(4)} <= message["cmps"].keys()
    assert {f"cam{i}.count.person.seen" for i in range(4)} <= message["cmps"].keys(), "no camera goes without its first"
    kept = list(whole.components)[: len(announcement.components)]
    assert kept == list(announcement.components)


@pytest.mark.parametrize("budget", [0, 200, 1000, 3000, 20_000])
def test_a_broker_that_takes_little_gets_little(budget: int) -> None:
    before = {f"gone.count.x{i}.seen": "binary_sensor" for i in range(20)}
    announcement, payload = ha.message(agent(FRONT, replace(FRONT, name="back")), before, budget)
    checked(payload)
    assert len(payload) <= budget or not announcement.components


def test_what_is_gone_is_removed_by_its_platform_alone() -> None:
    before = ha.announce(agent(FRONT, replace(FRONT, name="back"))).platforms
    message = of(agent(replace(FRONT, zones=())), before)
    gone = {key: component for key, component in message["cmps"].items() if component.keys() == {"p"}}
    assert gone == {key: {"p": platform} for key, platform in before.items() if key.startswith("back.") or ".zone." in key}
    assert "front.count.person.seen" not in gone
    assert of(agent(FRONT), ha.announce(agent(FRONT)).platforms) == of(agent(FRONT)), "nothing changed, nothing is removed"


@st.composite
def facts(draw: st.DrawFn) -> AgentFacts:
    labels = st.lists(st.one_of(st.text(max_size=80), st.sampled_from([*HOSTILE, *COCO80])), max_size=20)
    names = draw(st.lists(IDS, max_size=4, unique=True))
    cameras = [
        CameraFacts(
            name, things(*draw(labels)), draw(st.booleans()), tuple(draw(st.lists(IDS, max_size=3, unique=True))),
            draw(st.booleans()), draw(st.booleans()),
        )
        for name in names
    ]  # fmt: skip
    identity = draw(IDS)
    return AgentFacts(
        f"{draw(st.sampled_from(['camagent', 'a/b', '~x', 'ä ö']))}/{identity}", identity, "0.1.0", tuple(cameras),
        draw(st.text(max_size=80)), draw(st.sampled_from([None, "https://cam.local:8420"])),
        frozenset(draw(st.sets(st.sampled_from(["selftest", "detect", "bundle"])))),
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(facts(), facts())
def test_every_agents_message_is_one(before: AgentFacts, now: AgentFacts) -> None:
    announcement, payload = ha.message(now, ha.announce(before).platforms)
    message = checked(payload)
    made = singles(message)
    assert made.keys() == announcement.components.keys()
    ids = [component["unique_id"] for component in made.values()]
    assert len(set(ids)) == len(ids)
    topics = {value for one in made.values() for key, value in one.items() if key.endswith("topic") or key == "topic"}
    topics |= {entry["topic"] for one in made.values() for entry in one["availability"]}
    assert all(topic.startswith(f"{now.root}/") and not set("+#") & set(topic) for topic in topics)
    assert all(name.isprintable() for name in (one["name"] for one in made.values()))


@pytest.mark.parametrize("label", HOSTILE)
def test_a_hostile_label_is_text_in_a_name_and_nothing_else(label: str) -> None:
    def skeleton(text: str) -> Any:
        message = of(agent(CameraFacts("front", (Thing(text, "class_0"),), chosen=True, zones=("gate",))))
        for component in message["cmps"].values():
            name = component.pop("name")
            assert name.isprintable()
            assert len(name) < 100
        return message

    assert skeleton(label) == skeleton("harmless")


def test_two_agents_never_share_an_id() -> None:
    one = ha.announce(AgentFacts("p/a", "a", "1", (CameraFacts("b_c", things("d")),)))
    two = ha.announce(AgentFacts("p/a_b", "a_b", "1", (CameraFacts("c", things("d")),)))
    ids = [{component["unique_id"] for component in made.components.values()} for made in (one, two)]
    assert not ids[0] & ids[1]


# -- the templates, in Jinja, as Home Assistant renders them ----------------------------------------------------------

JINJA = jinja2.sandbox.ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)


def rendered(template: str, payload: bytes) -> str:
    """`value` is the payload, `value_json` what it says where it is JSON."""
    text = payload.decode()
    try:
        known = {"value": text, "value_json": json.loads(text)}
    except ValueError:
        known = {"value": text}
    return JINJA.from_string(template).render(known)


def health(**changes: Any) -> bytes:
    model = HealthModel(name="fastestdet", version="1.0.0", backend="onnx", signature="verified", task="detect")
    facts: dict[str, Any] = {
        "schema": "camagent.camera-health/1", "time": 0.0, "agent": "a", "camera": "front", "run": 1, "state": "running",
        "reason": None, "detail": None, "counters": {}, "score_max": None, "frame_age": None, "fps": 9.97, "reconnects": 0,
        "rss": 1, "model": model, "latency_ms": {}, **changes,
    }  # fmt: skip
    return encode(CameraHealthBody(**facts))


def agent_health(temperature: float | None) -> bytes:
    empty: dict[str, Any] = {key: {} for key in ("clock", "trust", "disk", "outbox", "mqtt", "config")}
    return encode(AgentHealthBody(
        schema="camagent.health/1", time=0.0, agent="a", version="0.1.0", run=1, uptime=1.0, previous=None, trust_expires=None,
        temperature=temperature, allow_unsigned=False, **empty,
    ))  # fmt: skip


def switch(state: Any) -> bytes:
    return encode(
        DetectBody(schema="camagent.detect/1", time=0.0, agent="a", camera="front", state=state, since=0.0, by="mqtt")
    )


# component, its option, body, what Home Assistant then has
STATES = [
    ("front.count.person.seen", "value_template", b'{"count": 0, "label": "{{ 7 }}"}', "OFF"),
    ("front.count.person.seen", "value_template", b'{"count": 3, "label": "person"}', "ON"),
    ("front.zone.gate.car.seen", "value_template", b'{"count": 1}', "ON"),
    ("front.count.person.seen", "value_template", b"", "OFF"),
    ("front.count.person.number", "value_template", b'{"count": 3}', "3"),
    ("front.count.person.number", "value_template", b"", "0"),
    ("front.detect", "value_template", switch("ON"), "ON"),
    ("front.detect", "value_template", switch("OFF"), "OFF"),
    ("front.detect", "value_template", b"", "None"),  # which it takes for unknown
    ("front.reason", "value_template", b"", "None"),
    ("front.reason", "json_attributes_template", b"", '{"detail": null}'),
    ("front.model", "value_template", b"", "none"),
    ("front.fps", "value_template", b"", "None"),
    ("front.reason", "value_template", health(), "ok"),
    ("front.reason", "value_template", health(reason="dark", detail="black for 12 s"), "dark"),
    ("front.reason", "json_attributes_template", health(), '{"detail": null}'),
    ("front.reason", "json_attributes_template", health(reason="dark", detail='say "x"'), '{"detail": "say \\"x\\""}'),
    ("front.model", "value_template", health(), "fastestdet 1.0.0"),
    ("front.model", "value_template", health(model=None), "none"),
    ("front.fps", "value_template", health(), "9.97"),
    ("temperature", "value_template", agent_health(48.5), "48.5"),
    ("temperature", "value_template", agent_health(None), "None"),
    ("verdict", "value_template", b'{"verdict": "fault", "causes": [{"id": "dark"}, {"id": "masked"}]}', "fault"),
    ("verdict", "json_attributes_template", b'{"verdict": "fault", "causes": [{"id": "dark"}]}', '{"causes": ["dark"]}'),
    ("belt.class", "value_template", '{"top": [{"label": "汉字", "score": 0.5}]}'.encode(), "汉字"),
    ("belt.class", "json_attributes_template", b'{"top": [{"label": "x", "score": 0.5}]}', '{"score": 0.5}'),
]  # fmt: skip
EXAMPLE = agent(FRONT, CameraFacts("belt", classifies=True))


@pytest.mark.parametrize(("key", "option", "payload", "state"), STATES)
def test_states(key: str, option: str, payload: bytes, state: str) -> None:
    assert rendered(singles(of(EXAMPLE))[key][option], payload) == state


def test_every_template_is_tried() -> None:
    made = singles(of(EXAMPLE))
    used = {one[option] for one in made.values() for option in ("value_template", "json_attributes_template") if option in one}
    assert used == {made[key][option] for key, option, _, _ in STATES}


@pytest.mark.parametrize(
    ("word", "state"), [(b"online", "online"), (b"stopped", "offline"), (b"offline", "offline"), (b"", "offline")]
)
def test_a_stopped_agent_is_not_there(word: bytes, state: str) -> None:
    (agent_only,) = singles(of(EXAMPLE))["verdict"]["availability"]
    assert rendered(agent_only["value_template"], word) == state


@pytest.mark.parametrize(
    ("listen", "hosts", "https", "page"),
    [
        ("", (), False, None),
        ("127.0.0.1:8420", (), False, None),
        ("127.0.0.2:8420", ("cam.local",), False, None),
        ("[::1]:8420", (), False, None),
        ("localhost:8420", (), False, None),
        ("10.0.0.7:8420", (), False, "http://10.0.0.7:8420"),
        ("[fd00::7]:8420", (), True, "https://[fd00::7]:8420"),
        ("0.0.0.0:8420", (), False, None),
        ("0.0.0.0:8420", ("cam.local",), True, "https://cam.local:8420"),
        ("[::]:8420", ("cam.local:443",), True, "https://cam.local:8420"),
        (":8420", ("[fd00::7]",), False, "http://[fd00::7]:8420"),
    ],
)
def test_the_page_is_linked_where_others_can_reach_it(
    listen: str, hosts: tuple[str, ...], https: bool, page: str | None
) -> None:
    assert ha.page_address(listen, hosts, https=https) == page


def test_topics() -> None:
    assert ha.topic("homeassistant", "cam-01") == "homeassistant/device/cam-01/config"
    assert ha.birth_topics("homeassistant") == ("homeassistant/status",)
    assert ha.birth_topics("ha/eu") == ("ha/eu/status", "homeassistant/status")
