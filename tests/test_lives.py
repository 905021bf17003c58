"""What a process learns from how those before it ended. The policy is pure; the file lies in a real folder."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from camagent.lives import FREE_DEATHS, LAST_END_NAME, RECORD_NAME, Heritage, Lives, Record, inherit, pause_s
from camagent.pulse import Promise
from camagent.watchdog import Overdue
from firmware_pkg.disk import boot_id

HERE, ELSEWHERE = "boot-1", "boot-2"
IN_DEVICE = Overdue("front-worker", Promise(1.0, 10.0, "an inference", on_device=True), 11.0)
IN_READER = Overdue("front-reader", Promise(1.0, 10.0, "reading a file"), 11.0)


class Hand:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


def test_the_first_life_and_the_first_after_a_reboot_inherit_nothing() -> None:
    assert inherit(None, HERE) == Heritage()
    assert inherit(Record(boot=ELSEWHERE, early=9, hung=True, hangs=2, abort="x"), HERE, "watchdog") == Heritage()


@pytest.mark.parametrize(
    ("before", "last_end", "hangs", "aborted"),
    [
        (Record(boot=HERE), "signal", 0, False),  # kill -9
        (Record(boot=HERE, device=True), "signal", 0, False),
        (Record(boot=HERE, device=True, hung=True, abort="worker hung"), "core-dump", 1, True),  # our own abort
        (Record(boot=HERE, device=True, hangs=1, hung=True, abort="worker hung"), "core-dump", 2, True),
        (Record(boot=HERE, device=True, hangs=1, abort="reader hung"), "core-dump", 1, True),  # says nothing of the device
        (Record(boot=HERE, device=True), "watchdog", 1, True),  # the interpreter was held: systemd had to do it
        (Record(boot=HERE, device=False), "watchdog", 0, True),  # .. by something else
        (Record(boot=HERE, device=True, clean=True), "watchdog", 0, False),
        (Record(boot=HERE, device=True, hangs=1), "signal", 1, False),  # neither good nor bad came of it
    ],
)
def test_hangs_in_the_device_are_counted_and_nothing_else(before: Record, last_end: str, hangs: int, aborted: bool) -> None:
    found = inherit(before, HERE, last_end)
    assert found.hangs == hangs
    assert (found.abort is not None) is aborted


def test_two_hangs_bar_the_device_and_one_does_not() -> None:
    assert Heritage(hangs=1, abort="worker hung").why_barred == ""
    assert Heritage(hangs=2, abort="worker hung").why_barred == "worker hung"
    assert Heritage(hangs=2).why_barred, "a third life that was killed meanwhile changes nothing"


def test_early_deaths_in_a_row_are_counted() -> None:
    assert inherit(Record(boot=HERE, early=4), HERE).early == 5
    assert inherit(Record(boot=HERE, early=4, clean=True), HERE).early == 0
    assert inherit(Record(boot=HERE, early=4, settled=True), HERE).early == 0


def test_the_pause_grows_and_has_an_end() -> None:
    pauses = [pause_s(early) for early in range(20)]
    assert pauses[: FREE_DEATHS + 1] == [0.0] * (FREE_DEATHS + 1)
    assert pauses[FREE_DEATHS + 1 : FREE_DEATHS + 5] == [4.0, 8.0, 16.0, 32.0]
    assert max(pauses) == pauses[-1] == pause_s(100_000) == 60.0


def life(folder: Path, hand: Hand | None = None) -> Lives:
    return Lives(folder, hand or Hand())


def test_a_good_call_between_two_hangs_forgives_the_first(tmp_path: Path) -> None:
    first = life(tmp_path)
    first.uses_device()
    first.note_abort(IN_DEVICE)
    second = life(tmp_path)
    assert second.heritage.hangs == 1
    assert second.heritage.abort == "front-worker: an inference has not come back for 11 s"
    second.good_call()
    second.note_abort(IN_DEVICE)
    third = life(tmp_path)
    assert third.heritage.hangs == 1
    third.note_abort(IN_DEVICE)
    assert life(tmp_path).heritage.why_barred
    assert life(tmp_path).heritage.hangs == 2, "a life that touched nothing leaves it as it was"


def test_an_abort_for_a_reader_does_not_blame_the_device(tmp_path: Path) -> None:
    for _ in range(3):
        one = life(tmp_path)
        one.uses_device()
        one.note_abort(IN_READER)
    assert life(tmp_path).heritage.hangs == 0


def test_systemds_word_is_read_once(tmp_path: Path) -> None:
    life(tmp_path).uses_device()
    (tmp_path / LAST_END_NAME).write_text("watchdog\n")
    assert life(tmp_path).heritage.hangs == 1
    assert not (tmp_path / LAST_END_NAME).exists()
    assert life(tmp_path).heritage.abort is None


def test_who_lives_a_minute_or_stops_in_order_has_not_died_early(tmp_path: Path) -> None:
    hand = Hand()
    for number in range(3):
        assert life(tmp_path, hand).heritage.early == number
    old = life(tmp_path, hand)
    hand.now += 59
    old.tick()
    assert msgspec.json.decode((tmp_path / RECORD_NAME).read_bytes(), type=Record).settled is False
    hand.now += 2
    old.tick()
    stopped = life(tmp_path, hand)
    assert stopped.heritage.early == 0
    stopped.end()
    assert life(tmp_path, hand).heritage.early == 0


@pytest.mark.parametrize("left", [b"", b"{", b'{"boot": 1}', b"\xff" * 100])
def test_a_damaged_record_says_nothing(tmp_path: Path, left: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / RECORD_NAME).write_bytes(left)
    assert life(tmp_path).heritage == Heritage()
    assert "says nothing of the life before" in caplog.text


def test_a_folder_that_takes_nothing_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = life(tmp_path / "not-there")
    one.uses_device()
    one.end()
    assert one.lost == 3
    assert caplog.text.count("cannot be written") == 1


def test_the_record_is_of_this_boot(tmp_path: Path) -> None:
    life(tmp_path)
    assert msgspec.json.decode((tmp_path / RECORD_NAME).read_bytes(), type=Record).boot == boot_id()
