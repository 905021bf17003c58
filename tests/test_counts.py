"""How many of what are there: topics, changes, labels that come to the same topic."""

from __future__ import annotations

from camagent.counts import Counts, places
from camagent.messages import slugs


def test_labels_that_come_to_the_same_topic_are_told_apart() -> None:
    assert slugs(["Car", "car", "餐厨", "a b", "a_b"]) == ["car", "class_1", "class_2", "a_b", "class_4"]
    assert slugs(["class_1", "!"]) == ["class_1", "class_1_"]
    assert slugs(["x", "x", "class_1"]) == ["x", "class_1", "class_2"]
    many = ["class_2", "class_1", "?", "??", "Class 2"]
    assert len(set(slugs(many))) == len(many)


def test_every_label_of_the_filter_has_a_place_in_the_picture_and_in_each_zone() -> None:
    labels = ["Person", "person", "dog"]
    made = places(labels, slugs(labels), frozenset({1, 2}), ["gate"])
    assert [(place.words, place.label, place.zone) for place in made] == [
        (("count", "class_1"), "person", None), (("count", "dog"), "dog", None),
        (("zone", "gate", "class_1"), "person", "gate"), (("zone", "gate", "dog"), "dog", "gate"),
    ]  # fmt: skip
    assert len(places(labels, slugs(labels), None, [])) == 3


def test_only_changes_are_told_and_everything_at_first() -> None:
    labels = ["person", "car"]
    counts = Counts(places(labels, slugs(labels), None, ["gate"]))

    def said(*present: tuple[int, tuple[str, ...]]) -> dict[str, int]:
        return {"/".join(place.words): number for place, number in counts.changed(present)}

    assert said() == {"count/person": 0, "count/car": 0, "zone/gate/person": 0, "zone/gate/car": 0}
    assert said() == {}
    assert said((0, ("gate",)), (0, ())) == {"count/person": 2, "zone/gate/person": 1}
    assert said((0, ("gate",)), (0, ("gate",))) == {"zone/gate/person": 2}
    assert said((1, ("gate",)), (0, ())) == {"count/person": 1, "count/car": 1, "zone/gate/person": 0, "zone/gate/car": 1}
    everything = {"count/person": 1, "count/car": 1, "zone/gate/person": 0, "zone/gate/car": 1}
    counts.forget()
    assert said((1, ("gate",)), (0, ())) == everything, "also where the same is there as before"
    assert said((1, ("gate",)), (0, ())) == {}


def test_a_class_or_zone_without_a_place_is_counted_nowhere() -> None:
    counts = Counts(places(["person"], ["person"], None, []))
    counts.changed([])
    assert counts.changed([(7, ("gone",))]) == []
