"""Views and errands: what is handed over, what it costs while nobody is there, and who hears of what goes wrong."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest

from camagent.errors import Busy
from camagent.onlookers import Errands, NoAnswer, View, Views
from tests.support.desk import shown


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_nobody_looks_and_nothing_is_kept() -> None:
    view = View(Clock())
    assert not view.wants()
    view.show(shown())
    slot = view.open()
    assert slot.take(0) is None


def test_at_most_five_pictures_a_second_whatever_the_camera_gives() -> None:
    for fps in (4, 10, 15, 25, 30, 60):
        clock = Clock()
        view = View(clock)
        slot = view.open()
        shown_now = 0
        for number in range(fps * 10):
            clock.now = number / fps + (number % 3) * 1e-4
            if view.wants():
                view.show(shown())
                shown_now += slot.take(0) is not None
        assert min(fps, 4.5) * 10 * 0.9 <= shown_now <= 51, fps


def test_the_newest_picture_wins_and_the_last_viewer_ends_it() -> None:
    clock = Clock()
    view = View(clock)
    slot = view.open()
    first, second = shown(1), shown(2)
    view.show(first)
    view.show(second)
    assert slot.take(0) is second
    view.close(slot)
    assert slot.closed
    assert not view.wants()


def test_who_leaves_late_does_not_close_anothers_view() -> None:
    view = View(Clock())
    old, new = view.open(), view.open()
    view.close(old)
    assert view.wants()
    view.close(new)
    assert not view.wants()


def test_a_cameras_view_is_one_however_often_its_threads_start_anew() -> None:
    views = Views(Clock())
    assert views.of("front") is views.of("front")
    assert views.of("front") is not views.of("back")


def test_an_errand_is_done_by_the_worker_and_its_error_is_the_askers() -> None:
    errands: Errands[int] = Errands()
    errands.serve(1)
    answers: list[object] = []

    def ask(work: object) -> None:
        try:
            answers.append(errands.ask(work, 20))  # type: ignore[arg-type]
        except ValueError as exc:
            answers.append(str(exc))

    def fail(_: int) -> int:
        raise ValueError("no such picture")

    for work in (lambda model: model + 1, fail):
        thread = threading.Thread(target=ask, args=(work,))
        thread.start()
        while thread.is_alive():
            errands.serve(41)
            thread.join(0.01)
    assert answers == [42, "no such picture"]
    assert not errands.waiting


def test_a_second_errand_is_refused_and_one_that_nobody_serves_ends() -> None:
    errands: Errands[int] = Errands()
    started = threading.Event()

    def slow() -> None:
        started.set()
        with pytest.raises(NoAnswer):
            errands.ask(lambda model: model, 0.5)

    thread = threading.Thread(target=slow)
    thread.start()
    assert started.wait(10)
    while not errands.waiting:
        pass
    with pytest.raises(Busy):
        errands.ask(lambda model: model, 1)
    thread.join(20)
    assert not errands.waiting, "what nobody waits for any more is not done"
