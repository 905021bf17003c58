"""Two-threshold association over time.

After ByteTrack (Zhang et al., arXiv 2110.06864): first the detections that are published look for their tracks, then the
fainter ones for tracks that found nothing, so that an object that is half hidden keeps its id. One threshold only lies between
what may start a track and what may keep one alive; no score falls between two of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from math import ceil

from camagent.boxes import Box, overlap
from camagent.frame import Detections, Result, Track, Tracks, detections_of, numbered
from camagent.track.cadence import Cadence
from camagent.track.motion import Motion, Passed, begin, correct
from camagent.track.neighbours import Neighbours
from camagent.track.pairing import Expected, pair
from camagent.track.rule import TrackRule

_RULE = TrackRule()
_ANYWHERE = (float("inf"), float("inf"))
_NEVER = float("inf")
_ROUNDING_S = 1e-6  # five frames at 25 a second are 0.2 s or a little less


@dataclass(slots=True)
class _Life:
    """What is remembered of one track. Times are seconds of the caller's clock."""

    motion: Motion
    since: float
    found: float  # in any way
    strong: float  # well enough to be published
    frame: int  # in which it was found last
    hits: int = 0
    sure: int = 0  # of these, how many scored high
    id: int | None = None  # None: not certain
    votes: dict[int, float] = field(default_factory=dict)
    class_id: int = -1


@dataclass(frozen=True, slots=True)
class _Sight:
    """What a frame shows, published and faint: the first `strong` rows are the published ones, in their order."""

    boxes: Sequence[Box]
    scores: Sequence[float]
    class_ids: Sequence[int]
    zones: Sequence[tuple[str, ...]]
    strong: int


class Tracker:
    """One camera's objects over time. Belongs to one thread."""

    def __init__(self, ids: Iterator[int] | None = None, rule: TrackRule = _RULE) -> None:
        """`ids` numbers the objects; who makes another tracker for the same camera and run hands on the same one."""
        self._rule = rule
        self._ids = ids or count(1)
        self._lives: list[_Life] = []
        self._cadence = Cadence()
        self._frame = 0

    def update(
        self, found: Detections, faint: Detections | None, at: float, *, pts: float | None = None,
        size: tuple[float, float] = _ANYWHERE, sure: float = _NEVER,
    ) -> Tracks:  # fmt: skip
        """What a frame changed.

        Args:
            found: its detections as published; every one may start a track.
            faint: those below the threshold; they only keep tracks alive.
            at: when it came, seconds of a clock that does not go back.
            pts: when it was taken, seconds of the stream's own time line; used where it agrees with `at`.
            size: width and height of the picture, pixels: what has left it is soon given up.
            sure: a score that false alarms hardly have: two such finds are enough.
        """
        passed = self._cadence.step(at, pts)
        self._frame += 1
        ended = self._forget(size)
        if not self._lives and not len(found):
            return Tracks((), (), ended)
        time = Passed(passed, self._rule)
        for life in self._lives:
            life.motion = time.predict(life.motion, known=life.frame == self._frame - 1)
        sight = _sight(found)
        pairs = self._pair(sight, range(len(self._lives)), slice(0, sight.strong), self._rule.overlap)
        alone = [track for track in range(len(self._lives)) if track not in pairs]
        if alone and faint is not None and len(faint):  # mostly everything has been found by now
            sight = self._with_faint(sight, faint)
            pairs |= self._pair(sight, alone, slice(sight.strong, None), self._rule.faint_overlap)
        self._find(sight, pairs, sure)
        tracks = [_told(self._lives[track], sight, row) for track, row in pairs.items()]
        missed = tuple(life.id for life in self._lives if life.id is not None and life.frame != self._frame)
        self._begin(sight, pairs, sure)
        certain = sorted((track for track in tracks if track is not None), key=lambda track: track.id)
        return Tracks(tuple(certain), missed, ended)

    def follow(self, result: Result, *, at: float | None = None, sure: float = _NEVER) -> Result:
        """The result with its tracks, and with ids at its detections; as it is where it has none.

        `at` instead of when the frame came: of a file that is read faster than it was taken, the file's own time.
        """
        found = detections_of(result.outcome)
        if found is None:
            return result
        frame = result.frame
        moment = frame.arrived if at is None else at
        tracks = self.update(found, result.faint, moment, pts=frame.pts, size=(frame.width, frame.height), sure=sure)
        return replace(result, outcome=numbered(result.outcome, tracks), tracks=tracks)

    def flush(self) -> tuple[int, ...]:
        """Gives everything up, as when the model changes or detection is switched off: ids of certain objects that end now."""
        ended = tuple(life.id for life in self._lives if life.id is not None)
        self._lives = []
        return ended

    def _forget(self, size: tuple[float, float]) -> tuple[int, ...]:
        """Gives up what was not found for too long; ids of those that were certain."""
        if not self._lives:
            return ()
        kept = [life for life in self._lives if not self._is_gone(life, size)]
        if len(kept) == len(self._lives):
            return ()
        staying = {id(life) for life in kept}
        ended = tuple(life.id for life in self._lives if life.id is not None and id(life) not in staying)
        self._lives = kept
        return ended

    def _is_gone(self, life: _Life, size: tuple[float, float]) -> bool:
        rule, now, interval = self._rule, self._cadence.now, self._cadence.interval
        unseen = now - life.found
        if life.id is None:
            return unseen > max(rule.doubtful_s, rule.doubtful_frames * interval)
        has_left = not (0 <= life.motion.x <= size[0] and 0 <= life.motion.y <= size[1])
        if has_left and unseen > max(rule.outside_s, rule.outside_frames * interval):
            return True
        remembered = max(rule.remembered_s, rule.remembered_frames * interval)
        return unseen > remembered or now - life.strong > max(rule.faint_s, remembered)

    def _with_faint(self, sight: _Sight, faint: Detections) -> _Sight:
        """Both kinds in one value, without faint boxes that lie on published ones."""
        weak, near = _sight(faint), Neighbours(sight.boxes)
        apart = [row for row, box in enumerate(weak.boxes) if not self._is_on(box, (sight.boxes[one] for one in near.of(box)))]
        return _Sight(
            [*sight.boxes, *(weak.boxes[row] for row in apart)], [*sight.scores, *(weak.scores[row] for row in apart)],
            [*sight.class_ids, *(weak.class_ids[row] for row in apart)], [*sight.zones, *(weak.zones[row] for row in apart)],
            sight.strong,
        )  # fmt: skip

    def _is_on(self, box: Box, others: Iterable[Box]) -> bool:
        return any(overlap(box, other) > self._rule.same_thing for other in others)

    def _pair(self, sight: _Sight, tracks: Sequence[int], rows: slice, least: float) -> dict[int, int]:
        """Which of `tracks` is which of the `rows` in sight."""
        boxes = sight.boxes[rows]
        if not tracks or not boxes:
            return {}
        rule, interval = self._rule, self._cadence.interval
        lives = [self._lives[track] for track in tracks]
        expected = [Expected(life.motion.box(), life.motion.margin(rule, interval), life.class_id) for life in lives]
        start = rows.start or 0
        partners = pair(expected, boxes, sight.class_ids[rows], least, rule)
        return {tracks[track]: start + row for track, row in enumerate(partners) if row is not None}

    def _find(self, sight: _Sight, pairs: dict[int, int], sure: float) -> None:
        """Moves the tracks that found something to where it is, and makes those certain that have shown to be."""
        now = self._cadence.now
        for track, row in pairs.items():
            life = self._lives[track]
            life.motion = correct(life.motion, sight.boxes[row], self._rule)
            life.found, life.frame = now, self._frame
            if row >= sight.strong:
                continue
            life.strong = now
            self._note(life, sight, row, sure)
            if life.id is None and self._is_certain(life):
                life.id = next(self._ids)

    def _note(self, life: _Life, sight: _Sight, row: int, sure: float) -> None:
        """What a published find says of the object."""
        score = sight.scores[row]
        life.hits += 1
        life.sure += score >= sure
        _vote(life, sight.class_ids[row], score, self._rule.vote_kept)

    def _is_certain(self, life: _Life) -> bool:
        rule, interval = self._rule, max(self._cadence.interval, _ROUNDING_S)
        enough = min(rule.certain_hits, 1 + ceil(rule.certain_s / interval - _ROUNDING_S))
        lasted = self._cadence.now - life.since >= rule.certain_s - _ROUNDING_S
        return life.sure >= rule.sure_hits or (life.hits >= enough and lasted)

    def _begin(self, sight: _Sight, pairs: dict[int, int], sure: float) -> None:
        """Every published detection that is no track's starts one, unless a better box lies on the same thing."""
        taken = set(pairs.values())
        new = [row for row in range(sight.strong) if row not in taken]
        if not new:
            return
        near, now = Neighbours(sight.boxes[: sight.strong]), self._cadence.now
        for row in new:
            box = sight.boxes[row]
            if self._is_on(box, [sight.boxes[other] for other in near.of(box) if other in taken]):
                continue
            taken.add(row)
            life = _Life(begin(box, self._rule), now, now, now, self._frame)
            self._note(life, sight, row, sure)
            self._lives.append(life)


def _sight(found: Detections) -> _Sight:
    """Detections in plain numbers: NumPy costs more by the call than by the box."""
    zones = tuple(found.zones) or ((),) * len(found)
    boxes = [(x1, y1, x2, y2) for x1, y1, x2, y2 in found.boxes.tolist()]
    return _Sight(boxes, found.scores.tolist(), found.class_ids.tolist(), zones, len(boxes))


def _vote(life: _Life, class_id: int, score: float, kept: float) -> None:
    """One frame's word on the class, weighted by its score; earlier words lose weight slowly."""
    life.votes = {one: weight * kept for one, weight in life.votes.items()}
    life.votes[class_id] = life.votes.get(class_id, 0.0) + score
    if life.votes[class_id] > life.votes.get(life.class_id, 0.0):
        life.class_id = class_id


def _told(life: _Life, sight: _Sight, row: int) -> Track | None:
    """The object as this frame shows it; None while it is not certain."""
    if life.id is None:
        return None
    index = row if row < sight.strong else None
    return Track(life.id, life.class_id, sight.scores[row], sight.boxes[row], sight.zones[row], index)
