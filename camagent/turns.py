"""Who may use a shared backend next: weighted fair queueing by measured time. Pure: moments and seconds in, names out.

Start-time fair queueing (Goyal, Vin, Cheng 1996): every camera has a mark on one virtual line, the lowest goes first, and a
turn moves its camera on by seconds / weight. With weights as the frames per second that were asked for, cameras that together
ask for too much all get the same share of it; a slow model pays with its own camera's frames. What a turn costs is known only
when it ends, so it is charged then. docs/decisions/013-turns.md says what was weighed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

SMOOTHING = 0.2  # weight of the newest time that a camera was away between two turns
PATIENCE = 4.0  # times that: so long a place is kept, and never longer than its last turn took
SLOWER = 2.0  # times: so much slower is a call beside which a quicker one goes between
_LONGEST_GAP = 4.0  # turns


class Place(Enum):
    """Where a camera is."""

    AWAY = auto()  # it has nothing to show
    COMING = auto()  # its next frame lies ready, and its worker is still busy with the answer to the one before
    WAITING = auto()
    INSIDE = auto()


_FIRST = (Place.INSIDE, Place.COMING)


@dataclass(slots=True, eq=False)
class Member:
    """A camera among those that share."""

    name: str
    weight: float  # frames per second that it asks for
    mark: float  # where its next turn stands on the virtual line
    place: Place = Place.AWAY
    cost: float = 0.0  # of its last turn, on the virtual line
    cost_s: float = 0.0  # the same in seconds
    usual_gap_s: float = 0.0  # between two turns, where a frame lay ready
    left_at: float | None = None  # monotonic: the end of its last turn, where a frame lay ready then
    kept_until: float = 0.0  # while it is coming
    kept_since: float | None = None  # others have been waiting for it since then
    order: int = 0  # among equal marks, who came first
    began_at: float = 0.0  # of its turn, on the clock of a core that they share

    def charge(self, seconds: float) -> None:
        """It has used the backend, or kept others from it."""
        self.mark += seconds / self.weight

    def stop_keeping(self, now: float) -> None:
        """Whoever keeps others waiting pays for it."""
        if self.kept_since is not None:
            self.charge(max(0.0, min(now, self.kept_until) - self.kept_since))
        self.kept_since = None

    def note_gap(self, now: float) -> None:
        """It is back, and had a frame all the time; one long absence must not be remembered for ever."""
        if self.left_at is not None:
            gap_s = min(now - self.left_at, _LONGEST_GAP * self.cost_s)
            self.usual_gap_s += SMOOTHING * (gap_s - self.usual_gap_s)
        self.left_at = None


@dataclass(slots=True)
class Turns:
    """The turns at one backend. Belongs to whoever holds its lock.

    `at_once`: calls that the backend works on at the same time. Turns beyond these: `ahead`, that prepare meanwhile, at a
    device; `between`, at a CPU, whose system can interrupt a call that began before its time.
    """

    at_once: int = 1
    ahead: int = 0
    between: int = 0
    members: dict[str, Member] = field(default_factory=dict)
    _line: float = 0.0  # the highest mark at which a turn has begun
    _line_cost: float = 0.0  # what the turn that began there is expected to cost
    _orders: int = 0
    _worked: float = 0.0  # seconds that a call inside has had a core to itself, since the start
    _worked_until: float = 0.0  # monotonic

    def join(self, name: str, weight: float) -> None:
        """One camera more, or its new weight; it stands with those that are served now."""
        if name in self.members:
            self.members[name].weight = weight
        else:
            self.members[name] = Member(name, weight, self._line)

    def leave(self, name: str) -> None:
        """That camera shares no longer, wherever it was."""
        self.members.pop(name, None)

    def ask(self, name: str, now: float) -> None:
        """It has a frame. Who was away for long comes back at most one turn ahead of the others: idleness is no credit."""
        member = self.members[name]
        member.stop_keeping(now)
        member.note_gap(now)
        member.mark = max(member.mark, self._line - max(member.cost, self._line_cost))
        self._orders += 1
        member.place, member.order = Place.WAITING, self._orders

    def has_turn(self, name: str) -> bool:
        """Whether its turn has begun and not ended."""
        member = self.members.get(name)
        return member is not None and member.place is Place.INSIDE

    def give_up(self, name: str) -> None:
        """It waits no longer, without a turn."""
        if name in self.members:
            self.members[name].place = Place.AWAY

    def done(self, name: str, now: float, seconds: float, *, more: bool) -> None:
        """Its turn ends, having cost `seconds`. `more`: another frame lies ready, so it will be back in a moment."""
        member = self.members.get(name)
        if member is None:
            return
        if self.between:
            self._work(now)
            seconds = min(seconds, self._worked - member.began_at)
        member.charge(seconds)
        member.cost, member.cost_s, member.left_at = seconds / member.weight, seconds, now if more else None
        member.place = Place.COMING if more else Place.AWAY
        # who is away for longer than a turn could not use the time that is kept for it
        keep_s = PATIENCE * (member.usual_gap_s or seconds) if member.usual_gap_s <= seconds else 0.0
        member.kept_until = now + min(keep_s, seconds)

    def begin(self, now: float) -> list[str]:
        """Gives every free turn to the lowest mark; returns the cameras whose turn begins."""
        begun: list[str] = []
        kept: list[Member] = []
        if not any(member.place is Place.WAITING for member in self.members.values()):
            self._note_kept(kept, now)
            return begun
        taken = sum(member.place is Place.INSIDE for member in self.members.values())
        for member in sorted(self._present(now), key=lambda member: (member.mark, member.order)):
            if not self._is_free(taken, member):
                continue
            taken += 1
            if member.place is Place.COMING:
                kept.append(member)
                continue
            self._work(now)
            member.place, member.began_at = Place.INSIDE, self._worked
            if member.mark >= self._line:
                self._line, self._line_cost = member.mark, member.cost
            begun.append(member.name)
        self._note_kept(kept, now)
        return begun

    def look_again_at(self) -> float | None:
        """When a place that is kept now falls to the others; None while none keeps anybody waiting."""
        moments = [member.kept_until for member in self.members.values() if member.kept_since is not None]
        return min(moments, default=None)

    def _present(self, now: float) -> Iterator[Member]:
        for member in self.members.values():
            if member.place is Place.COMING and now >= member.kept_until:
                member.stop_keeping(now)
                member.place = Place.AWAY
            if member.place in (Place.COMING, Place.WAITING):
                yield member

    def _work(self, now: float) -> None:
        """Where more are inside than there are cores, none has one to itself, and none is charged for the others."""
        inside = sum(member.place is Place.INSIDE for member in self.members.values())
        self._worked += (now - self._worked_until) * min(1.0, self.at_once / max(1, inside))
        self._worked_until = now

    def _is_free(self, taken: int, member: Member) -> bool:
        """Whether, with so many turns taken, there is one for this camera."""
        beyond = taken - self.at_once
        return beyond < 0 or (beyond < self.ahead and self._may_prepare(member)) or (
            beyond < self.between and member.place is Place.WAITING and self._may_go_between(member)
        )  # fmt: skip

    def _may_go_between(self, member: Member) -> bool:
        """A clearly slower call has begun because nobody was there, and after its turn it would still be behind that one."""
        return any(
            other.place is Place.INSIDE
            and other.cost_s >= SLOWER * member.cost_s
            and member.mark + member.cost < other.mark
            for other in self.members.values()
        )  # fmt: skip

    def _may_prepare(self, member: Member) -> bool:
        """Who prepares ahead gets the next call for certain: only who will be next once the turns of now are charged."""
        others = (other for other in self.members.values() if other is not member)
        after = [other.mark + other.cost * (other.place is Place.INSIDE) for other in others if other.place in _FIRST]
        return member.mark <= min(after, default=member.mark)

    def _note_kept(self, kept: Sequence[Member], now: float) -> None:
        """A place is kept at others' cost where somebody goes on waiting."""
        left_out = bool(kept) and any(member.place is Place.WAITING for member in self.members.values())
        for member in self.members.values():
            if left_out and member in kept:
                member.kept_since = now if member.kept_since is None else member.kept_since
            elif member.kept_since is not None:
                member.stop_keeping(now)
