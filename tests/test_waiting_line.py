"""Threads at one backend (camagent/waiting_line.py): nobody is forgotten, a turn always ends, who waits is not hung."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.pulse import Pulse
from camagent.waiting_line import Guest, Line, Lines

SOON_S = 20.0


def guest(name: str = "front", weight: float = 10.0, *, more: bool = False, ends: Callable[[], bool] = lambda: False) -> Guest:
    return Guest(name, weight, Pulse(name), has_more=lambda: more, ends=ends)


@contextmanager
def thread(body: Callable[[], None]) -> Iterator[threading.Thread]:
    """A thread that has ended, one way or the other, before the test does."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            body()
        except BaseException as exc:
            raised.append(exc)

    made = threading.Thread(target=run, daemon=True)
    made.start()
    yield made
    made.join(SOON_S)
    assert not made.is_alive(), "it waits for ever"
    assert not raised, raised


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_two_never_have_the_only_turn_at_the_same_time() -> None:
    line, inside, most = Line(1), [0], [0]

    def work(one: Guest) -> None:
        for _ in range(200):
            with one.turn(line) as turn:
                assert turn
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    with thread(lambda: work(guest("a", 1, more=True))), thread(lambda: work(guest("b", 30))), thread(lambda: work(guest("c"))):
        pass
    assert most == [1]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0.5, 30.0), min_size=2, max_size=6), st.integers(1, 3), st.sampled_from([(0, 0), (1, 0), (0, 2)]),
    st.booleans(), st.integers(0, 2**32),
)  # fmt: skip
def test_no_wakeup_is_lost(weights: list[float], at_once: int, beyond: tuple[int, int], more: bool, seed: int) -> None:
    """Everybody gets all its turns, whatever the others do meanwhile: fail, leave, say that more is coming and stay away."""
    line, done = Line(at_once, *beyond), Counter[int]()

    def work(index: int, weight: float) -> None:
        dice = Random(seed + index)
        one = guest(str(index), weight, more=more)
        for _ in range(30):
            try:
                with one.turn(line) as turn:
                    turn.prepared()
                    if dice.random() < 0.2:
                        time.sleep(dice.random() / 2000)
                    if dice.random() < 0.1:
                        raise OSError
                    turn.over()
            except OSError:
                pass
            done[index] += 1
            if dice.random() < 0.1:
                one.leave()
        one.leave()

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in enumerate(weights)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(SOON_S)
    assert dict(done) == dict.fromkeys(range(len(weights)), 30)
    assert line.room.cameras == 0


def test_an_exception_ends_the_turn() -> None:
    line = Line(1)
    with pytest.raises(ZeroDivisionError), guest().turn(line):
        raise ZeroDivisionError
    with guest().turn(line) as turn:
        assert turn


def test_the_next_one_comes_when_the_model_has_answered_and_not_when_the_result_is_handed_over() -> None:
    line, first, second = Line(1), guest("a"), guest("b")
    with first.turn(line) as turn:
        turn.over()
        with second.turn(line) as another:
            assert another
        turn.over()


def test_who_ends_while_it_waits_leaves_without_a_turn() -> None:
    line, stop = Line(1), threading.Event()
    waiting, got = guest("b", ends=stop.is_set), []

    def wait() -> None:
        with waiting.turn(line) as turn:
            got.append(bool(turn))

    with guest("a").turn(line), thread(wait):
        eventually(lambda: waiting.pulse.promise is not None)
        stop.set()
    assert got == [False]
    with guest("c").turn(line) as turn:
        assert turn, "its place is nobody's"


def test_who_waits_keeps_its_pulse_and_says_what_it_waits_for() -> None:
    line, waiting = Line(1), guest("b")

    def wait() -> None:
        with waiting.turn(line):
            pass

    with guest("a").turn(line) as held, thread(wait):
        eventually(lambda: waiting.pulse.promise is not None)
        first = waiting.pulse.promise
        assert first is not None
        assert first.doing == "waiting for its turn"
        assert not first.on_device
        eventually(lambda: waiting.pulse.promise is not first)
        held.over()
    assert waiting.waited_s > 0.3


def test_who_is_left_behind_in_a_call_does_not_keep_the_others_out() -> None:
    line, hung, free = Line(1), guest("a"), threading.Event()

    def hang() -> None:
        with hung.turn(line):
            free.wait(SOON_S)

    with thread(hang):
        eventually(lambda: line.room.cameras == 1)
        with guest("b", ends=lambda: True).turn(line) as turn:
            assert not turn
        hung.leave()  # its camera was stopped
        with guest("b").turn(line) as turn:
            assert turn
        free.set()
    with guest("c").turn(line) as turn:
        assert turn


def test_a_hung_device_does_not_touch_the_cpu() -> None:
    lines, free = Lines(cores=1), threading.Event()
    device = lines.on_device("rknn", 1)

    def hang(one: Guest) -> None:
        with one.turn(device) as turn:
            turn.prepared()
            free.wait(SOON_S)

    with thread(lambda: hang(guest("a"))), thread(lambda: hang(guest("b"))):
        eventually(lambda: device.room.cameras == 2)
        with guest("c").turn(lines.on_cpu(1)) as turn:
            assert turn
        free.set()


def test_one_prepares_while_another_is_in_its_call() -> None:
    line, calling, most, together = Lines(cores=1).on_device("rknn", 1), [0], [0], threading.Barrier(2, timeout=SOON_S)

    def work(one: Guest) -> None:
        with one.turn(line) as turn:
            together.wait()  # both have a turn
            turn.prepared()
            calling[0] += 1
            most[0] = max(most[0], calling[0])
            time.sleep(0.05)
            calling[0] -= 1

    with thread(lambda: work(guest("a"))), thread(lambda: work(guest("b"))):
        pass
    assert most == [1], "the device works on one call at a time"


def test_waiting_for_the_call_before_costs_nothing_and_the_promise_comes_back() -> None:
    line, first, second = Lines(cores=1).on_device("rknn", 1), guest("a"), guest("b")
    inside, free = threading.Event(), threading.Event()

    def hold() -> None:
        with first.turn(line) as turn:
            turn.prepared()
            inside.set()
            free.wait(SOON_S)

    def follow() -> None:
        with second.turn(line) as turn:
            second.pulse.beat(7.0, "an inference", on_device=True)
            turn.prepared()
            assert second.pulse.promise is not None
            assert second.pulse.promise[1:] == (7.0, "an inference", True)

    with thread(hold):
        assert inside.wait(SOON_S)
        with thread(follow):
            eventually(lambda: second.pulse.promise is not None and second.pulse.promise.doing == "waiting for its turn")
            time.sleep(0.3)
            free.set()
    marks = {key.split()[0]: member for key, member in line._turns.members.items()}
    assert marks["b"].cost_s < 0.2 < marks["a"].cost_s


def test_lines_are_one_for_the_cpu_and_one_for_every_device() -> None:
    lines = Lines(cores=8)
    assert lines.on_cpu(3) is lines.on_cpu(3)
    assert lines.on_cpu(3).room.at_once == 2
    assert lines.on_cpu(1).room.at_once == 8, "a reload has changed the threads"
    assert lines.on_cpu(16).room.at_once == 1
    assert lines.on_device("rknn", 3) is lines.on_device("rknn", 3)
    assert lines.on_device("rknn", 3) is not lines.on_device("another", 3)
    assert Lines().on_cpu(1).room.at_once >= 1


def test_a_guest_that_changes_its_line_leaves_the_other() -> None:
    lines, one = Lines(cores=1), guest()
    with one.turn(lines.on_cpu(1)):
        pass
    with one.turn(lines.on_device("rknn", 3)):
        pass
    assert lines.on_cpu(1).room.cameras == 0
    assert one.room is not None
    assert (one.room.cameras, one.room.at_once) == (1, 3)
    one.leave()
    assert one.room is None
