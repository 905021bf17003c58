"""How many objects of each label are there: the topics of a camera and its model, and what changed on them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """One count: of a class of the model, in the whole picture or in a zone."""

    class_id: int
    label: str
    words: tuple[str, ...]  # of the topic, below the camera
    zone: str | None = None


def places(
    labels: Sequence[str], slugs: Sequence[str], wanted: Collection[int] | None, zones: Iterable[str]
) -> tuple[Place, ...]:
    """Every count of a model with these labels, each with its topic level.

    `wanted`: class ids that the filter lets through; None: all.
    """
    named = [(index, label, name) for index, (label, name) in enumerate(zip(labels, slugs, strict=True))]
    kept = [item for item in named if wanted is None or item[0] in wanted]
    whole = [Place(index, label, ("count", name)) for index, label, name in kept]
    return (*whole, *(Place(index, label, ("zone", zone, name), zone) for zone in zones for index, label, name in kept))


class Counts:
    """What was said on each place, and what is to be said anew."""

    def __init__(self, places: tuple[Place, ...]) -> None:
        """Nothing has been said: the first `changed` names every place."""
        self.places = places
        self._said: dict[Place, int] = {}
        self._present: Sequence[tuple[int, tuple[str, ...]]] | None = None  # what `_said` was made of

    def changed(self, present: Iterable[tuple[int, tuple[str, ...]]]) -> list[tuple[Place, int]]:
        """Places whose count is another than was said last, given class id and zones of everything that is there."""
        seen = tuple(present)
        if seen == self._present:  # most frames show what the one before showed, and a model has eighty labels
            return []
        self._present = seen
        there: Counter[tuple[int, str | None]] = Counter()
        for class_id, zones in seen:
            there[class_id, None] += 1
            there.update((class_id, zone) for zone in zones)
        news = [
            (place, number)
            for place in self.places
            if self._said.get(place) != (number := there[place.class_id, place.zone])
        ]  # fmt: skip
        self._said.update(news)
        return news

    def forget(self) -> None:
        """Who was told knows nothing any more."""
        self._said.clear()
        self._present = None
