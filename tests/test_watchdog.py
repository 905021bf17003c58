"""The watchdog's policy with a clock that is turned by hand, and its words to systemd over a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.pulse import Promise, Pulse
from camagent.watchdog import Durations, Gap, Overdue, Watchdog, gap, overdue, patience
from tests.support.notify import Systemd


class Hand:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    with Systemd(tmp_path) as manager:
        for name, value in manager.environment.items():
            monkeypatch.setenv(name, value)
        yield manager


def made(hand: Hand, said: list[Overdue], aborted: list[bool]) -> Watchdog:
    return Watchdog(hand, said.append, lambda: aborted.append(True))


@given(st.lists(st.floats(0.001, 100), max_size=40))
def test_patience_is_ten_medians_and_never_less_than_ten_seconds(durations: list[float]) -> None:
    found = patience(durations)
    assert found >= 10.0
    if durations:
        assert found == max(10.0, 10 * sorted(durations)[len(durations) // 2])


def test_one_slow_inference_does_not_raise_the_patience_and_a_slow_model_does() -> None:
    durations = Durations()
    for seconds in [0.05] * 20 + [90.0]:
        durations.note(seconds)
    assert durations.patience_s == 10.0
    for _ in range(31):
        durations.note(3.0)
    assert durations.patience_s == 30.0


def test_a_promise_is_kept_until_its_last_moment() -> None:
    promise = Promise(100.0, 5.0, "a turn")
    assert overdue([("reader", promise)], 105.0) == []
    (late,) = overdue([("reader", promise), ("other", Promise(104.0, 5.0, "x"))], 105.1)
    assert late.name == "reader"
    assert late.sentence == "reader: a turn has not come back for 5 s"


def test_a_process_that_was_stopped_blames_nobody() -> None:
    stood_still = gap(100.0, 161.0, 1.0)
    assert stood_still == Gap(161.0, 60.0)
    assert gap(100.0, 103.0, 1.0) is None
    promise = Promise(99.0, 5.0, "a turn")
    assert overdue([("reader", promise)], 162.0, [stood_still]) == []
    assert overdue([("reader", promise)], 165.0, [stood_still]), "what it has run counts"
    assert overdue([("reader", Promise(161.5, 5.0, "a turn"))], 167.0, [stood_still]), "given after the gap"


def test_who_beats_is_left_alone_and_who_does_not_ends_the_process() -> None:
    hand, said, aborted = Hand(), list[Overdue](), list[bool]()
    dog, pulse = made(hand, said, aborted), Pulse("worker", hand.monotonic)
    dog.watch(pulse)
    assert dog.look(), "nothing was promised yet"
    for _ in range(20):
        pulse.beat(10.0, "an inference")
        hand.now += 9.0
        assert dog.look()
    hand.now += 2.0
    assert not dog.look()
    assert aborted == [True]
    assert [late.name for late in said] == ["worker"]


def test_a_thread_that_has_ended_or_is_forgotten_owes_nothing() -> None:
    hand, said, aborted = Hand(), list[Overdue](), list[bool]()
    dog, ended, forgotten = made(hand, said, aborted), Pulse("ended", hand.monotonic), Pulse("forgotten", hand.monotonic)
    for pulse in (ended, forgotten):
        dog.watch(pulse)
        pulse.beat(1.0, "a turn")
    ended.rest()
    dog.forget(forgotten)
    hand.now += 100
    assert dog.look()
    with dog.step("golden", 60.0, "testing"):
        hand.now += 59
        assert dog.look()
    hand.now += 100
    assert dog.look()
    assert not aborted


@pytest.mark.parametrize("mended", [True, False])
def test_what_can_be_mended_is(*, mended: bool) -> None:
    hand, said, aborted = Hand(), list[Overdue](), list[bool]()
    dog, pulse = made(hand, said, aborted), Pulse("front-reader", hand.monotonic)
    asked: list[str] = []

    def mend(late: Overdue) -> bool:
        asked.append(late.promise.doing)
        return mended

    dog.watch(pulse, mend)
    pulse.beat(5.0, "reading")
    hand.now += 6
    assert dog.look() is mended
    assert asked == ["reading"]
    assert bool(aborted) is not mended


def test_the_call_into_the_device_is_named_first() -> None:
    hand, said, aborted = Hand(), list[Overdue](), list[bool]()
    dog, outer, inner = made(hand, said, aborted), Pulse("worker", hand.monotonic), Pulse("golden", hand.monotonic)
    for pulse in (outer, inner):
        dog.watch(pulse)
    outer.beat(5.0, "loading the bundle")
    inner.beat(5.0, "testing", on_device=True)
    hand.now += 6
    assert not dog.look()
    assert said[0].name == "golden"


def test_systemd_is_fed_while_all_is_well_and_not_after(systemd: Systemd) -> None:
    hand, said, aborted = Hand(), list[Overdue](), list[bool]()
    dog, pulse = made(hand, said, aborted), Pulse("worker", hand.monotonic)
    dog.watch(pulse)
    dog.phase = "running"
    pulse.beat(10.0, "an inference")
    assert dog.look()
    assert systemd.received() == ["WATCHDOG=1"]
    hand.now += 11
    assert not dog.look()
    assert systemd.received() == ["STATUS=aborted: worker: an inference has not come back for 11 s"]


def test_a_long_step_is_announced_before_it_begins_and_its_end_is_told(systemd: Systemd) -> None:
    hand = Hand()
    dog, pulse = made(hand, [], []), Pulse("worker", hand.monotonic)
    dog.watch(pulse)
    dog.phase = "running"
    pulse.announce(300.0, "opening the model")
    assert systemd.received() == ["WATCHDOG_USEC=310000000\nWATCHDOG=1"], "told at once, by the thread that announces"
    pulse.announce(2.0, "a short one")
    assert systemd.received() == []
    pulse.announce(300.0, "opening the model")
    with dog.step("golden", 100.0, "testing"):
        assert systemd.received() == ["WATCHDOG_USEC=310000000\nWATCHDOG=1"] * 2, (
            "a shorter one takes nothing from a longer one"
        )
        hand.now += 200
    assert dog.look()
    assert systemd.received() == ["WATCHDOG=1"]
    pulse.beat(10.0, "an inference")
    assert dog.look()
    assert systemd.received() == ["WATCHDOG_USEC=30000000", "WATCHDOG=1"]


@pytest.mark.parametrize("phase", ["starting", "stopping"])
def test_start_and_stop_ask_for_the_time_that_was_announced(systemd: Systemd, phase: str) -> None:
    hand = Hand()
    dog, pulse = made(hand, [], []), Pulse("main", hand.monotonic)
    dog.watch(pulse)
    dog.phase = "starting" if phase == "starting" else "stopping"
    pulse.beat(300.0, "clearing up")
    hand.now += 100
    assert dog.look()
    assert systemd.received() == ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=210000000"]


def test_nothing_is_fed_where_systemd_does_not_watch_this_process(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    dog = made(Hand(), [], [])
    dog.phase = "running"
    assert dog.look()
    assert systemd.received() == []


def test_a_systemd_that_is_gone_harms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from camagent import notify

    monkeypatch.setattr(notify, "_trouble", notify._Trouble())
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not notify.notify(READY="1")
    assert not notify.notify(READY="1")
    assert len(caplog.records) == 1
    assert "systemd was not told READY" in caplog.text


def test_an_abstract_socket_is_spoken_to(monkeypatch: pytest.MonkeyPatch) -> None:
    from camagent.notify import notify

    name = f"camagent-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert notify(STATUS="line")
        assert receiver.recv(100) == b"STATUS=line"


def test_the_real_thread_looks_and_aborts(tmp_path: Path) -> None:
    del tmp_path
    import threading

    from camagent.clock import SystemClock

    gone = threading.Event()
    said: list[Overdue] = []
    abort: Callable[[], None] = gone.set
    dog, pulse = Watchdog(SystemClock(), said.append, abort, look_s=0.02), Pulse("worker")
    dog.watch(pulse)
    dog.start()
    pulse.beat(0.1, "an inference")
    assert gone.wait(30)
    assert said[0].promise.doing == "an inference"
    dog.stop()
