"""Who gets the next turn (camagent/turns.py): shares, starvation, idleness and kept places, in simulated time."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from camagent.turns import Place, Turns
from tests.support.crowd import Cam, Crowd

WITHIN = 0.1
START_S, LONG_S = 10.0, 120.0
FPS = st.sampled_from([1.0, 2.0, 3.0, 5.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0])
CALLS = st.floats(0.005, 0.25)
ROOMS = [(1, 0, 0), (2, 0, 0), (1, 0, 2), (2, 0, 2), (1, 1, 0), (3, 1, 0)]  # at once, ahead, between
PHASES = st.floats(0.0, 0.99)


def after_a_while(cams: list[Cam], calls_at_once: int = 1, ahead: int = 0, between: int = 0, seconds: float = LONG_S) -> Crowd:
    crowd = Crowd(cams, calls_at_once, ahead, between)
    crowd.run(START_S)
    crowd.forget()
    crowd.run(START_S + seconds)
    return crowd


def fractions(crowd: Crowd, seconds: float = LONG_S) -> list[float]:
    """Of the frames that each asked for."""
    return [crowd.served[index] / (cam.fps * seconds) for index, cam in enumerate(crowd.cams)]


def alike(values: list[float]) -> bool:
    return max(values) <= (1 + WITHIN) * min(values)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(FPS, st.floats(2.5, 10.0), PHASES), min_size=2, max_size=6),
    st.sampled_from(ROOMS),
)
def test_time_is_shared_by_what_was_asked_for(asked: list[tuple[float, float, float]], room: tuple[int, int, int]) -> None:
    """Every camera asks for clearly more than its share, and could use it: then all shares are in proportion."""
    at_once, ahead, _ = room
    prepare_s, weights = 0.002 * ahead, sum(fps for fps, _, _ in asked)
    cams = [Cam(fps, much * at_once / weights, prepare_s, phase=phase) for fps, much, phase in asked]
    entitled = [at_once * cam.fps / weights for cam in cams]
    possible = [cam.call_s / (cam.call_s + cam.after_s + prepare_s) for cam in cams]  # of a call's core, by one worker
    assume(all(share <= 0.7 * most for share, most in zip(entitled, possible, strict=True)))
    seconds = max(50 * cam.call_s / share for share, cam in zip(entitled, cams, strict=True))
    crowd = after_a_while(cams, *room, seconds)
    assert alike([crowd.used_s[index] / cam.fps for index, cam in enumerate(cams)])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(FPS, PHASES), min_size=2, max_size=6), st.floats(1.6, 8.0))
def test_cameras_of_one_model_get_the_same_fraction(asked: list[tuple[float, float]], overload: float) -> None:
    wanted = sum(fps for fps, _ in asked)
    assume(all(fps <= 0.8 * wanted for fps, _ in asked))
    crowd = after_a_while([Cam(fps, overload / wanted, phase=phase) for fps, phase in asked])
    assert alike(fractions(crowd))
    assert sum(crowd.used_s.values()) > 0.9 * LONG_S, "the backend has worked all the time"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(FPS, PHASES), min_size=1, max_size=6), st.floats(0.05, 0.5))
def test_where_there_is_enough_everybody_gets_every_frame(asked: list[tuple[float, float]], load: float) -> None:
    wanted = sum(fps for fps, _ in asked)
    call_s = load / wanted
    assume(call_s * len(asked) <= 0.9 / max(fps for fps, _ in asked))  # all of them at once are done before the next frame
    crowd = after_a_while([Cam(fps, call_s, phase=phase) for fps, phase in asked])
    assert min(fractions(crowd)) > 1 - 2 / (min(fps for fps, _ in asked) * LONG_S)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(FPS, CALLS, PHASES), min_size=2, max_size=6), st.sampled_from(ROOMS))
def test_nobody_starves(asked: list[tuple[float, float, float]], room: tuple[int, int, int]) -> None:
    """However different they are, nobody waits longer than its own share of turns and one call of every other camera."""
    crowd = after_a_while([Cam(fps, call_s, phase=phase) for fps, call_s, phase in asked], *room)
    assert crowd.most_inside <= sum(room)
    weights = sum(cam.fps for cam in crowd.cams)
    others_s = sum(cam.call_s for cam in crowd.cams)
    for index, cam in enumerate(crowd.cams):
        share_s = cam.call_s * weights / cam.fps / room[0]
        assert max(crowd.waits[index]) <= 2 * share_s + 4 * others_s


def test_a_slow_model_pays_with_its_own_frames() -> None:
    heavy, *light = [Cam(40, 0.09), *[Cam(40, 0.009, phase=0.3 * number) for number in range(3)]]
    crowd = after_a_while([heavy, *light])
    assert alike([float(crowd.used_s[index]) for index in range(4)])
    assert crowd.served[1] > 9 * crowd.served[0]


def test_quick_calls_go_between_slow_ones_that_began_for_want_of_others() -> None:
    """A CPU can be taken from a call; without that, two slow models on two cores keep everybody waiting."""
    cams = [Cam(10, 0.2), Cam(10, 0.2, phase=0.4), Cam(10, 0.008), Cam(10, 0.008, phase=0.3)]
    waited = fractions(after_a_while(cams, 2))
    between = after_a_while(cams, 2, 0, 2)
    assert max(waited[2:]) < 0.6
    assert min(fractions(between)[2:]) > 0.99
    assert alike([between.used_s[0], between.used_s[1]])
    assert sum(between.used_s.values()) > 0.95 * 2 * LONG_S
    assert between.most_inside <= 4


def test_calls_of_one_model_never_go_between_each_other() -> None:
    crowd = after_a_while([Cam(fps, 0.03, phase=0.23 * number) for number, fps in enumerate((2, 5, 10, 20))], 1, 0, 2)
    assert crowd.most_inside == 1


def test_who_is_interrupted_is_not_charged_for_it() -> None:
    turns = Turns(1, 0, 1)
    for name in ("slow", "quick"):
        turns.join(name, 10.0)
        turns.ask(name, 0.0)
        assert turns.begin(0.0) == [name]
        turns.done(name, 0.0, 0.0, more=False)
    turns.ask("slow", 0.0)
    turns.begin(0.0)
    turns.done("slow", 1.0, 1.0, more=False)
    turns.ask("slow", 1.0)
    assert turns.begin(1.0) == ["slow"]
    turns.ask("quick", 1.2)
    assert turns.begin(1.2) == ["quick"]
    turns.done("quick", 1.4, 0.2, more=False)
    turns.done("slow", 2.2, 1.2, more=False)
    assert turns.members["quick"].cost_s == pytest.approx(0.1)
    assert turns.members["slow"].cost_s == pytest.approx(1.1)


def test_on_two_cores_a_slow_model_does_not_touch_the_others() -> None:
    crowd = after_a_while([Cam(10, 0.2), *[Cam(10, 0.02, phase=0.3 * number) for number in range(3)]], 2)
    heavy, *light = fractions(crowd)
    assert min(light) > 0.99
    assert heavy == pytest.approx(0.5, rel=0.02)  # a call takes two of its intervals


def test_preparing_ahead_keeps_the_device_busy() -> None:
    cams = [Cam(30, 0.02, 0.005, phase=0.2 * number) for number in range(4)]
    alone, overlapped = (sum(after_a_while(cams, 1, ahead).served.values()) for ahead in (0, 1))
    assert overlapped > 1.2 * alone


def test_preparing_ahead_is_not_for_who_has_had_more_than_its_share() -> None:
    crowd = after_a_while([Cam(30, 0.2, 0.005), Cam(200, 0.02, 0.005)], 1, 1)
    assert alike([crowd.used_s[0] / 30, crowd.used_s[1] / 200])


def test_idleness_is_no_credit() -> None:
    busy, late = Cam(20, 0.05), Cam(20, 0.05, since=600.0)
    crowd = Crowd([busy, late])
    crowd.run(600.0)
    crowd.forget()
    crowd.run(602.0)
    assert abs(crowd.served[0] - crowd.served[1]) <= 2


def test_an_idle_share_goes_to_the_others() -> None:
    crowd = after_a_while([Cam(10, 0.1), Cam(10, 0.1, phase=0.5), Cam(10, 0.1, until=5.0)])
    assert crowd.served[2] <= 1
    assert fractions(crowd)[:2] == pytest.approx([0.5, 0.5], abs=0.02)


# -- kept places --------------------------------------------------------------------------------------------------------------


def two(weight: float = 20.0) -> Turns:
    """`much` has just ended a turn of 0.1 s with another frame ready and is still the first by right; `little` waits."""
    turns = Turns()
    turns.join("much", weight)
    turns.join("little", 1.0)
    for name in ("little", "much"):
        turns.ask(name, 0.0)
        assert turns.begin(0.0) == [name]
        turns.done(name, 0.1, 0.1, more=name == "much")
    turns.ask("little", 0.1)
    return turns


def test_a_place_is_kept_for_who_comes_back_at_once() -> None:
    turns = two()
    assert turns.begin(0.1) == []
    turns.ask("much", 0.11)
    assert turns.begin(0.11) == ["much"]


def test_a_place_is_not_kept_for_ever() -> None:
    turns = two()
    assert turns.begin(0.1) == []
    again = turns.look_again_at()
    assert again is not None
    assert again <= 0.1 + 0.1, "not longer than its turn took"
    assert turns.begin(again) == ["little"]
    assert turns.look_again_at() is None


def test_who_keeps_others_waiting_pays_for_it() -> None:
    turns = two()
    turns.begin(0.1)
    before = turns.members["much"].mark
    turns.ask("much", 0.15)
    assert turns.members["much"].mark == pytest.approx(before + 0.05 / 20)


def test_who_is_away_for_longer_than_its_turn_takes_is_not_waited_for() -> None:
    turns = Turns()
    turns.join("slow to answer", 20.0)
    turns.join("other", 1.0)
    now = 0.0
    for _ in range(20):
        turns.ask("slow to answer", now)
        turns.begin(now)
        now += 0.01
        turns.done("slow to answer", now, 0.01, more=True)
        now += 0.05
    turns.members["other"].mark = turns.members["slow to answer"].mark + 1
    turns.ask("slow to answer", now)
    turns.begin(now)
    turns.ask("other", now)
    turns.done("slow to answer", now + 0.01, 0.01, more=True)
    assert turns.begin(now + 0.01) == ["other"]


def test_who_leaves_or_gives_up_holds_nothing() -> None:
    turns = two()
    turns.begin(0.1)
    turns.leave("much")
    assert turns.begin(0.1) == ["little"]
    turns.join("third", 1.0)
    turns.ask("third", 0.2)
    turns.give_up("third")
    turns.done("little", 0.3, 0.2, more=False)
    assert turns.begin(0.3) == []
    assert turns.members["third"].place is Place.AWAY
    turns.done("much", 0.4, 0.1, more=True)  # late news of one that has left
    assert "much" not in turns.members


def test_joining_again_changes_the_weight_alone() -> None:
    turns = two()
    mark = turns.members["much"].mark
    turns.join("much", 3.0)
    assert (turns.members["much"].mark, turns.members["much"].weight) == (mark, 3.0)
