from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable

import pytest

from camagent.clock import SystemClock
from camagent.errors import Busy, CodedError
from camagent.jobs import KEPT, MAX_EVENTS, Job, Jobs, relayed, thinned
from camagent.service import Event, Origin
from signing.refusals import UntrustedSigner
from tests.support.service import FakeService, package

HERE = Origin("http", "127.0.0.1")
NASTY = "\x1b[31mevil\u202e" + "x" * 5000


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def jobs(service: FakeService) -> Jobs:
    return Jobs(service, SystemClock())


def last_of(job: Job) -> Event:
    last = job.wait(20)
    assert last is not None
    return last


def test_an_install_tells_its_steps_and_ends_with_its_result(jobs: Jobs, service: FakeService) -> None:
    source = io.BytesIO(package(100_000))
    events = list(jobs.start_install(source, HERE).follow())
    assert events[0]["step"]["id"] == "container"
    assert events[-1]["result"]["outcome"] == "trial"
    assert service.installed[0][:2] == ("fastestdet", "1.0.0")
    assert source.closed
    assert service.origins == [HERE]


def test_a_refusal_is_the_last_event(jobs: Jobs) -> None:
    last = last_of(jobs.start_install(io.BytesIO(package(10, signer="stranger")), HERE))
    assert last["refusal"]["code"] == "UNTRUSTED_SIGNER"
    assert last["refusal"]["evidence"] == {"found": "stranger", "trusted": "good"}


def test_a_defect_becomes_internal_and_is_logged_with_its_traceback(
    jobs: Jobs, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    service.defect = ZeroDivisionError(NASTY)
    with caplog.at_level(logging.ERROR):
        job = jobs.start_install(io.BytesIO(b""), HERE)
        refusal = last_of(job)["refusal"]
    assert refusal["code"] == "INTERNAL"
    assert refusal["evidence"]["at"].startswith("service.py:")
    assert "\x1b" not in refusal["what"]
    assert len(refusal["what"]) <= 1000
    assert "Traceback" in caplog.text
    assert list(job.follow())[-1] == {"refusal": refusal}


def test_a_second_job_meanwhile_is_refused_and_its_source_left_alone(jobs: Jobs, service: FakeService) -> None:
    service.may_go_on.clear()
    first = jobs.start_install(io.BytesIO(package(10)), HERE)
    second = io.BytesIO(package(10))
    starts: list[Callable[[], Job]] = [
        lambda: jobs.start_install(second, HERE),
        lambda: jobs.start_activate("a", None, HERE),
        lambda: jobs.start_rollback("a", HERE),
    ]
    for start in starts:
        with pytest.raises(Busy) as caught:
            start()
        assert caught.value.evidence["asked by"] == "http 127.0.0.1"
    assert second.tell() == 0
    assert not second.closed
    service.may_go_on.set()
    assert "result" in last_of(first)


def test_who_has_seen_the_end_may_start_the_next_at_once(jobs: Jobs) -> None:
    for _ in range(50):
        *_, last = jobs.start_rollback("fastestdet", HERE).follow()
        assert last["result"]["version"] == "0.9.0"


def test_several_readers_follow_the_same_job_live_to_its_end(jobs: Jobs, service: FakeService) -> None:
    service.may_go_on.clear()
    job = jobs.start_install(io.BytesIO(package(300_000)), HERE)
    seen: list[list[Event]] = [[] for _ in range(5)]
    threads = [threading.Thread(target=lambda to=to: to.extend(job.follow())) for to in seen]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while not all(seen) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert all(events[0]["step"]["id"] == "container" for events in seen)
    assert not job.done
    service.may_go_on.set()
    for thread in threads:
        thread.join(10)
    assert seen[0][-1]["result"]["outcome"] == "trial"
    assert all(events == seen[0] for events in seen)


def test_a_listener_hears_of_every_event_until_it_ends_that(jobs: Jobs, service: FakeService) -> None:
    service.may_go_on.clear()
    job = jobs.start_install(io.BytesIO(package(10)), HERE)
    heard = threading.Semaphore(0)
    end = job.on_change(heard.release)
    service.may_go_on.set()
    last_of(job)
    assert heard.acquire(timeout=5)
    end()
    end()


def test_the_last_twenty_are_kept(jobs: Jobs) -> None:
    made = []
    for _ in range(KEPT + 5):
        made.append(jobs.start_rollback("fastestdet", HERE))
        last_of(made[-1])
    assert len({job.id for job in made}) == KEPT + 5
    assert all(len(job.id) >= 20 for job in made)
    assert [jobs.get(job.id) is job for job in made] == [False] * 5 + [True] * KEPT


def test_a_talkative_job_is_bounded_and_still_ends() -> None:
    job = Job("install", HERE, 0.0)

    def work(tell: object) -> dict[str, object]:
        assert callable(tell)
        for number in range(MAX_EVENTS * 3):
            tell({"state": str(number)})
        return {"done": True}

    job.run(work)
    events, done = job.since(0)
    assert done
    assert len(events) == MAX_EVENTS + 1
    assert events[-1] == {"result": {"done": True}}


def test_progress_is_thinned_to_what_can_be_seen() -> None:
    told: list[Event] = []
    tell = thinned(told.append)
    for done in range(100_001):
        tell({"progress": {"done": done, "of": 100_000}})
    tell({"state": "testing"})
    assert 95 <= len(told) <= 110
    assert told[-2] == {"progress": {"done": 100_000, "of": 100_000}}
    assert told[-1] == {"state": "testing"}


def test_a_relayed_refusal_is_the_same_at_the_other_end() -> None:
    here = UntrustedSigner("nobody knows it", evidence={"found": "a", "trusted": "b"}, fix="sign it")
    there = relayed(here.report())
    assert there.report() == here.report()
    assert isinstance(there, CodedError)
    odd = relayed({"code": NASTY, "evidence": ["no", "mapping"]})
    assert "\x1b" not in odd.render()
