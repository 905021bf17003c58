"""A camera's events, counts and pictures together: what ends them, what outlives a kill, what the broker keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import jsonschema
import pytest

from camagent.bodies import schemas
from camagent.config import Zone
from camagent.happenings import REMEMBERED_S, SNAPSHOT_KEPT_S, Known, ends_of_the_last_life
from camagent.messages import Topics
from tests.support.objects import KNOWN, LABELS, Memory, Scene, Script, check, track

GATE: dict[str, Any] = {"zone": (Zone(name="gate", polygon=((0, 0), (1, 0), (1, 1))),)}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    made.happenings.follow(KNOWN)
    return made


def nobody(_: str) -> None:
    """No broker has said anything."""


def test_bodies_fit_their_schemas_and_go_where_the_contract_says(scene: Scene) -> None:
    known = {name: jsonschema.Draft202012Validator(document) for name, document in schemas().items()}
    scene.look(track(zones=("gate",)))
    scene.look(ended=[1])
    assert [body["type"] for body in scene.events()] == ["new", "end"]
    for message in scene.sent:
        body = json.loads(message.payload)
        known[body["schema"]].validate(body)
        is_event = body["schema"] == "camagent.events/1"
        assert (message.qos, message.retain, message.lane) == ((1, False, "events") if is_event else (1, True, None))
        assert set(body) == (
            {"schema", "time", "agent", "camera", "type", "before", "after"}
            if is_event
            else {"schema", "time", "agent", "camera", "label", "count"}
        )


def test_counts_are_of_certain_objects_and_one_that_a_frame_misses_still_counts(tmp_path: Path) -> None:
    scene = Scene(tmp_path, **GATE)
    scene.happenings.follow(KNOWN)
    assert scene.counts() == {f"{place}/{label}": 0 for place in ("count", "zone/gate") for label in LABELS}
    scene.look(track(1, zones=("gate",)), track(2, 300, class_id=1))
    there = {"count/person": 1, "count/car": 1, "count/dog": 0, "zone/gate/person": 1, "zone/gate/car": 0, "zone/gate/dog": 0}
    assert scene.counts() == there
    scene.clear()
    scene.look(track(2, 300, class_id=1), missed=[1])
    assert scene.counts() == there
    assert not scene.sent, "only changes are told"
    scene.look(track(2, 300, class_id=1), ended=[1])
    assert scene.counts()["count/person"] == scene.counts()["zone/gate/person"] == 0


def test_switching_off_ends_everything_once(scene: Scene) -> None:
    scene.look(track(1), track(2, 300))
    assert isinstance(scene.tracker, Script)
    scene.tracker.knows = (1, 2)
    for _ in range(3):
        scene.happenings.turn(looking=False)
    assert len(check(scene.events())) == 2
    assert scene.described_ends[-1] == ("front", (1, 2)), "those who speak ONVIF hear of it, too"
    assert scene.tracker.flushed == 2, "once at the start, once now"
    assert set(scene.counts().values()) == {0}


def test_a_source_that_is_lost_for_longer_than_the_tracker_remembers_ends_everything(scene: Scene) -> None:
    scene.look(track())
    for _ in range(round((REMEMBERED_S - 0.5) / 0.5)):
        scene.clock.now += 0.5
        scene.happenings.turn(looking=True)
    assert scene.happenings.open == 1
    scene.clock.now += 1.5
    scene.happenings.turn(looking=True)
    assert scene.happenings.open == 0
    assert len(check(scene.events())) == 1


def test_a_camera_with_few_frames_a_minute_does_not_end_events_between_two_of_them(tmp_path: Path) -> None:
    scene = Scene(tmp_path, fps=0.1)
    scene.happenings.follow(KNOWN)
    for _ in range(10):
        scene.look(track(), after=10.0)
    assert [body["type"] for body in scene.events()][:2] == ["new", "update"]
    check(scene.events(), may_be_open=True)
    scene.clock.now += 50.0
    scene.happenings.turn(looking=True)
    check(scene.events())


def test_another_model_ends_what_the_one_before_saw_and_clears_its_labels(scene: Scene) -> None:
    scene.look(track(class_id=1))
    scene.happenings.follow(Known(("cat", "dog"), None))
    check(scene.events())
    assert scene.counts() == {"count/cat": 0, "count/dog": 0}
    scene.happenings.follow(Known((), None, gives_boxes=False))
    assert scene.counts() == {}


def test_while_there_is_no_model_the_counts_stand_at_0(scene: Scene) -> None:
    scene.look(track(class_id=1))
    scene.happenings.follow(None)
    check(scene.events())
    assert scene.counts() == {f"count/{label}": 0 for label in LABELS}
    scene.clear()
    scene.happenings.follow(KNOWN)
    assert len(scene.counts()) == 3


def test_labels_and_zones_that_went_while_the_agent_was_down_are_cleared(tmp_path: Path) -> None:
    memory = Memory()
    first = Scene(tmp_path, memory=memory, **GATE)
    first.happenings.follow(KNOWN)
    first.kept.tick(nobody)
    assert len(memory.kept_topics["front"]) == 6
    second = Scene(tmp_path, memory=memory)
    second.retained = first.retained
    second.happenings.follow(Known(LABELS, frozenset({0})))
    assert second.counts() == {"count/person": 0}
    second.kept.tick(nobody)
    assert len(memory.kept_topics["front"]) == 6, "nobody knows yet that the broker has let them go"
    second.kept.tick(second.taken)
    assert memory.kept_topics == {"front": ["p/cam-01/front/count/person"]}
    writes = memory.writes
    for _ in range(100):
        second.look(track(1))
        second.kept.tick(second.taken)
    assert memory.writes == writes, "nothing is written in normal operation"


def test_a_first_start_without_a_model_clears_what_the_life_before_has_left(tmp_path: Path) -> None:
    memory = Memory()
    first = Scene(tmp_path, memory=memory)
    first.happenings.follow(KNOWN)
    first.kept.tick(nobody)
    second = Scene(tmp_path, memory=memory)
    second.retained = first.retained
    second.happenings.follow(None)
    assert second.counts() == {}


def test_a_new_client_is_told_every_count_again(scene: Scene) -> None:
    scene.look(track())
    scene.retained.clear()
    scene.happenings.tell_anew()
    scene.happenings.turn(looking=True)
    assert scene.counts() == {"count/person": 1, "count/car": 0, "count/dog": 0}


def test_what_a_killed_agent_has_left_open_is_ended_by_the_next(scene: Scene, tmp_path: Path) -> None:
    scene.look(track(1), track(2, 300))
    scene.look(track(1, zones=("gate",)), track(2, 300))
    scene.look(track(1, zones=("gate",)), ended=[2])
    ends = [json.loads(message.payload) for message in ends_of_the_last_life(tmp_path, Topics("p", "cam-01"), 1.9e9)]
    assert [body["type"] for body in ends] == ["end"]
    check([*scene.events(), *ends])
    assert not list(tmp_path.iterdir())
    assert not list(ends_of_the_last_life(tmp_path, Topics("p", "cam-01"), 1.9e9))


def test_the_next_life_knows_an_event_before_anybody_hears_of_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.happenings.follow(KNOWN)
    heard: list[tuple[str, list[str]]] = []
    take = scene._take

    def spying(message: object) -> None:
        files = [json.loads(path.read_bytes()) for path in tmp_path.glob("open-events-*.json")]
        heard.append((json.loads(message.payload).get("type"), [item["id"] for file in files for item in file]))  # type: ignore[attr-defined]
        take(message)  # type: ignore[arg-type]

    scene.happenings._outlet = replace(scene.happenings._outlet, send=spying)
    scene.look(track())
    scene.look(ended=[1])
    (new, end) = [ids for kind, ids in heard if kind in {"new", "end"}]
    assert len(new) == 1
    assert new == end, "and forgets it only after its end was handed over"


def test_whoever_does_not_come_back_is_ended_by_others_and_says_nothing_any_more(tmp_path: Path) -> None:
    scene = Scene(tmp_path, snapshots=True, retain_snapshots=True, **GATE)
    scene.happenings.follow(KNOWN)
    scene.look(track(zones=("gate",)))
    scene.happenings.leave(1.0)
    check(scene.events())
    assert set(scene.counts().values()) == {0}
    assert not list(tmp_path.iterdir()), "its successor ends nothing twice"
    scene.clear()
    (tmp_path / "open-events-front.json").write_bytes(b"[]")  # the successor's
    scene.look(track(2, zones=("gate",)))
    scene.happenings.tell_anew()
    scene.happenings.turn(looking=False)
    scene.happenings.follow(None)
    scene.happenings.end_all()
    scene.happenings.leave(1.0)
    assert not scene.sent
    assert list(tmp_path.iterdir())


def test_a_damaged_file_of_the_life_before_costs_its_ends_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "open-events-front.json").write_bytes(b"[{")
    assert not list(ends_of_the_last_life(tmp_path, Topics("p", "cam-01"), 1.9e9))
    assert not list(tmp_path.iterdir())


def test_a_run_folder_that_takes_nothing_costs_no_event(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    scene = Scene(folder)
    scene.happenings.follow(KNOWN)
    scene.look(track())
    scene.look(ended=[1])
    check(scene.events())


def test_a_picture_goes_with_the_event_and_a_better_one_replaces_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path, snapshots=True)
    scene.happenings.follow(KNOWN)
    scene.look(track(score=0.5))
    assert scene.events()[0]["after"]["has_snapshot"]
    (first,) = scene.snapshots()
    assert first.payload.startswith(b"\xff\xd8")
    assert (first.qos, first.retain, first.lane, first.expires_at) == (0, False, None, None)
    for _ in range(30):
        scene.look(track(score=0.5))
    assert len(scene.snapshots()) == 1, "no better one came"
    scene.look(track(score=0.9))
    assert len(scene.snapshots()) == 2
    scene.look(track(score=0.9), track(2, 300, score=0.5))
    assert len(scene.snapshots()) == 2, "one a second"
    assert scene.happenings.open == 2
    scene.look(track(score=0.9), track(2, 300, score=0.5), after=1.0)
    assert len(scene.snapshots()) == 3, "who has none yet"
    assert len(scene.sent) < 40


def test_a_retained_picture_expires_and_is_cleared_where_the_broker_cannot(tmp_path: Path) -> None:
    scene = Scene(tmp_path, snapshots=True, retain_snapshots=True)
    scene.happenings.follow(KNOWN)
    scene.look(track())
    (picture,) = scene.snapshots()
    assert picture.retain
    assert picture.expires_at == scene.clock.now + SNAPSHOT_KEPT_S
    scene.clock.now += SNAPSHOT_KEPT_S
    scene.happenings.turn(looking=True)
    assert [message.payload for message in scene.snapshots()[1:]] == [b""]
    assert "p/cam-01/front/snapshot" not in scene.retained


def with_a_retained_picture(folder: Path) -> tuple[Scene, Memory]:
    """A camera of which the broker keeps a picture, and what its next life remembers."""
    memory = Memory()
    scene = Scene(folder, memory=memory, snapshots=True, retain_snapshots=True)
    scene.happenings.follow(KNOWN)
    scene.look(track())
    scene.kept.tick(nobody)
    return scene, memory


def test_a_retained_picture_is_cleared_when_that_is_switched_off_while_the_agent_is_down(tmp_path: Path) -> None:
    first, memory = with_a_retained_picture(tmp_path)
    for snapshots in (True, False):
        second = Scene(tmp_path, memory=memory, snapshots=snapshots)
        second.retained = dict(first.retained)
        second.happenings.follow(KNOWN)
        assert "p/cam-01/front/snapshot" not in second.retained


def test_a_retained_picture_goes_when_its_camera_starts_anew_for_a_mask_may_have_come(tmp_path: Path) -> None:
    first, memory = with_a_retained_picture(tmp_path)
    for known in (KNOWN, None):
        second = Scene(tmp_path, memory=memory, snapshots=True, retain_snapshots=True)
        second.retained = dict(first.retained)
        second.happenings.follow(known)
        assert "p/cam-01/front/snapshot" not in second.retained
        second.happenings.follow(KNOWN)
        second.look(track(), after=11)
        second.happenings.follow(Known(("cat", "dog"), None))
        assert "p/cam-01/front/snapshot" in second.retained, "another model changes no mask"


def test_without_snapshots_no_event_claims_to_have_one(scene: Scene) -> None:
    scene.look(track())
    scene.look(track(), after=11)
    assert not any(body["after"]["has_snapshot"] for body in scene.events())
    assert not scene.snapshots()


def test_a_picture_that_cannot_be_made_costs_no_event_and_is_tried_once_a_second(tmp_path: Path) -> None:
    scene = Scene(tmp_path, snapshots=True)
    scene.picture = av.VideoFrame(64, 1, "yuv444p")
    scene.happenings.follow(KNOWN)
    for _ in range(30):
        scene.look(track())
    scene.look(ended=[1])
    check(scene.events())
    assert not any(body["after"]["has_snapshot"] for body in scene.events())
    assert 2 <= scene.counters.errors["SNAPSHOT_FAILED"] <= 4
