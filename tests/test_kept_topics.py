"""What the broker keeps for us, and that it goes when it is gone: over lives, cameras, clients and disks that take nothing."""

from __future__ import annotations

from camagent.errors import StateError
from camagent.kept_topics import KeptTopics
from camagent.messages import Message, Topics
from camagent.mqtt.sender import Answer
from tests.support.objects import Memory

TOPICS = Topics("p", "cam-01")


class Desk:
    def __init__(self, memory: Memory) -> None:
        self.now, self.cleared = 100.0, list[str]()
        self.answers: dict[str, Answer] = {}
        self.kept = KeptTopics(memory, TOPICS, self._take, lambda: self.now)

    def _take(self, message: Message) -> None:
        assert (message.payload, message.qos, message.retain) == (b"", 1, True)
        self.cleared.append(message.topic)

    def answer(self, topic: str, outcome: str = "acknowledged") -> None:
        self.answers[topic] = Answer(outcome, "", self.now)  # type: ignore[arg-type]

    def tick(self) -> str | None:
        return self.kept.tick(self.answers.get)


def test_what_a_camera_has_no_more_is_cleared_and_remembered_until_the_broker_says_so() -> None:
    memory = Memory()
    desk = Desk(memory)
    desk.kept.keep("front", {"a", "b"})
    desk.answer("b")  # a count, long before
    desk.now += 1
    desk.kept.keep("front", {"a"})
    assert desk.cleared == ["b"]
    desk.tick()
    assert memory.kept_topics == {"front": ["a", "b"]}
    desk.answer("b", "refused")
    desk.tick()
    assert memory.kept_topics == {"front": ["a", "b"]}, "the broker has not let it go"
    desk.answer("b")
    desk.tick()
    assert memory.kept_topics == {"front": ["a"]}


def test_what_comes_back_is_not_leaving_any_more() -> None:
    memory = Memory()
    desk = Desk(memory)
    for topics in ({"a", "b"}, {"a"}, {"a", "b"}):
        desk.kept.keep("front", topics)
    desk.kept.tell_anew()
    desk.answer("b")
    desk.tick()
    assert desk.cleared == ["b"], "once, when it left"
    assert memory.kept_topics == {"front": ["a", "b"]}


def test_a_new_client_is_told_again_what_is_leaving() -> None:
    desk = Desk(Memory())
    desk.kept.keep("front", {"a", "b"})
    desk.kept.keep("front", ())
    desk.kept.tell_anew()
    assert sorted(desk.cleared) == ["a", "a", "b", "b"]


def test_cameras_of_earlier_days_are_cleared_with_all_that_every_camera_has() -> None:
    memory = Memory()
    memory.kept_topics = {"front": ["x/front/count/car"], "back": ["x/back/count/car"]}
    desk = Desk(memory)
    desk.kept.drop_all_but(["front"])
    own = [f"p/cam-01/back/{word}" for word in ("health", "available", "detect")]
    assert desk.cleared == ["x/back/count/car", *own]
    desk.kept.drop_all_but(["front"])
    assert len(desk.cleared) == 4
    assert desk.kept.of("front") == {"x/front/count/car"}


class FullDisk(Memory):
    def remember_topics(self, kept: dict[str, list[str]]) -> None:
        raise StateError("the state directory cannot be written: no space", fix="make room")


def test_a_disk_that_takes_nothing_is_told_once_per_change() -> None:
    desk = Desk(FullDisk())
    desk.kept.keep("front", {"a"})
    assert [desk.tick() for _ in range(3)] == [StateError.code, None, None]
    desk.kept.keep("front", {"a", "b"})
    assert desk.tick() == StateError.code
