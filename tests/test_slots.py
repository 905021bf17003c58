"""DESIGN section 7's transition table, as values: every row, every refusal, and what `bundle/state` shows of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_pkg import slots as table
from firmware_pkg.errors import GoldenFailed, NotStored, RollbackRefused, TrialFailed
from firmware_pkg.slots import Attempt, Ref, Refusal, Slots
from signing.errors import CodedError


def ref(version: str, index: int = 0, stored_at: float = 0.0) -> Ref:
    digest = version.encode().hex().ljust(64, "0")
    return Ref(
        digest=digest, version=version, rollback_index=index, created="2026-11-23T00:00:00Z", size=10, stored_at=stored_at
    )


A, B, C = ref("1.0.0", 0, 1.0), ref("1.1.0", 0, 2.0), ref("1.2.0", 3, 3.0)
WHY = Refusal(code="GOLDEN_FAILED", what="it sees nothing", fix="build it again", version="1.1.0", time=5.0)


def running(*confirmed: Ref) -> Slots:
    """These were installed and confirmed, one after another."""
    slots = Slots()
    for one in confirmed:
        slots = table.confirmed(table.installed(slots, one, 0.0), one.digest)
    return slots


def on_trial(one: Ref, *confirmed: Ref) -> Slots:
    return table.installed(running(*confirmed), one, 10.0)


def shown(slots: Slots) -> tuple[object, ...]:
    body = slots.state_body()
    return body["current"], body["trial"], body["previous"]


def test_nothing_is_known_at_first() -> None:
    assert Slots().state_body() == {
        "current": None, "trial": None, "previous": None, "stored": [], "rollback_index": 0, "last_refusal": None,
    }  # fmt: skip


def test_an_install_is_a_trial_and_previous_is_the_confirmed_one() -> None:
    assert shown(on_trial(A)) == ("1.0.0", "1.0.0", None)
    assert shown(on_trial(B, A)) == ("1.1.0", "1.1.0", "1.0.0")


def test_another_install_during_a_trial_leaves_previous_alone() -> None:
    again = table.installed(on_trial(B, A), C, 11.0)
    assert shown(again) == ("1.2.0", "1.2.0", "1.0.0")
    assert [one.version for one in again.stored] == ["1.0.0", "1.1.0", "1.2.0"]


def test_the_same_bundle_again_changes_nothing() -> None:
    trial = table.attempted(on_trial(B, A), B.digest, Attempt(boot_id="b", time=1.0))
    assert table.installed(trial, B, 99.0) is trial
    confirmed = running(A)
    assert table.installed(confirmed, A, 99.0) is confirmed


def test_installing_the_confirmed_one_ends_a_trial() -> None:
    assert shown(table.installed(on_trial(B, A), A, 11.0)) == ("1.0.0", None, None)


def test_a_confirmation_raises_the_index_and_forgets_attempts() -> None:
    trial = table.attempted(on_trial(C, A), C.digest, Attempt(boot_id="b", time=1.0))
    confirmed = table.confirmed(trial, C.digest)
    assert shown(confirmed) == ("1.2.0", None, "1.0.0")
    assert confirmed.rollback_index == 3
    assert confirmed.trial is None
    assert running(A, B, C).confirmed == (C.digest, B.digest)


def test_an_index_never_falls() -> None:
    risen = running(A, C)
    low = ref("1.3.0", 2)
    with pytest.raises(RollbackRefused) as caught:
        table.installed(risen, low, 0.0, force=True)
    assert (caught.value.evidence["rollback index of the bundle"], caught.value.evidence["of this device"]) == ("2", "3")
    assert "--rollback-index 3" in caught.value.fix


def test_a_failure_brings_the_confirmed_one_back_and_the_bundle_is_refused_until_forced() -> None:
    failed = table.failed(on_trial(B, A), B.digest, WHY)
    assert shown(failed) == ("1.0.0", None, None)
    assert failed.state_body()["last_refusal"] == {
        "code": "GOLDEN_FAILED", "what": "it sees nothing", "fix": "build it again", "version": "1.1.0", "time": 5.0,
    }  # fmt: skip
    again: list[Callable[[], Slots]] = [
        lambda: table.installed(failed, B, 0.0),
        lambda: table.activated(failed, "1.1.0", 0.0),
    ]
    for attempt in again:
        with pytest.raises(TrialFailed, match="it sees nothing") as caught:
            attempt()
        assert caught.value.evidence["code then"] == "GOLDEN_FAILED"
        assert "--force" in caught.value.fix
    forced = table.installed(failed, B, 0.0, force=True)
    assert shown(forced) == ("1.1.0", "1.1.0", "1.0.0")
    assert not forced.refused
    assert shown(table.activated(failed, "1.1.0", 0.0, force=True)) == ("1.1.0", "1.1.0", "1.0.0")


def test_a_first_bundle_that_fails_leaves_nothing_running() -> None:
    failed = table.failed(on_trial(A), A.digest, WHY)
    assert shown(failed) == (None, None, None)
    assert failed.state_body()["stored"] == ["1.0.0"]


@pytest.mark.parametrize(
    "late",
    [
        lambda slots: table.failed(slots, B.digest, WHY),
        lambda slots: table.confirmed(slots, B.digest),
        lambda slots: table.tested(slots, B.digest),
        lambda slots: table.attempted(slots, B.digest, Attempt(boot_id="b", time=1.0)),
        lambda slots: table.stopped_cleanly(slots, Attempt(boot_id="b", time=1.0)),
        lambda slots: table.judged_at_start(slots, 0.0),
    ],
)
def test_late_news_of_another_bundle_changes_nothing(late: Callable[[Slots], Slots]) -> None:
    for slots in (on_trial(C, A), running(A), Slots()):
        assert late(slots) is slots


def deaths(*boots: str) -> Slots:
    slots = on_trial(B, A)
    for time, boot in enumerate(boots):
        slots = table.attempted(slots, B.digest, Attempt(boot_id=boot, time=float(time)))
    return table.judged_at_start(slots, 20.0)


@pytest.mark.parametrize("boots", ["", "a", "aa", "aab", "abab", "aabbc"])
def test_fewer_deaths_are_forgiven(boots: str) -> None:
    assert shown(deaths(*boots)) == ("1.1.0", "1.1.0", "1.0.0")


@pytest.mark.parametrize("boots", ["aaa", "aabbb", "abcdef", "aabbcc", "aaab"])
def test_three_deaths_in_one_boot_or_six_in_all_end_the_trial(boots: str) -> None:
    judged = deaths(*boots)
    assert shown(judged) == ("1.0.0", None, None)
    assert judged.last_refusal is not None
    assert judged.last_refusal.code == "TRIAL_FAILED"
    assert f"{len(boots)} times" in judged.last_refusal.what
    assert B.digest in judged.refused


def test_a_clean_stop_takes_back_its_own_attempt_only() -> None:
    died, stopped = Attempt(boot_id="a", time=1.0), Attempt(boot_id="a", time=2.0)
    slots = table.attempted(table.attempted(on_trial(B, A), B.digest, died), B.digest, stopped)
    left = table.stopped_cleanly(slots, stopped)
    assert left.trial is not None
    assert left.trial.attempts == (died,)


def test_the_golden_check_is_remembered() -> None:
    tested = table.tested(on_trial(B, A), B.digest)
    assert tested.trial is not None
    assert tested.trial.tested
    assert table.tested(tested, B.digest) is tested


def test_what_nobody_can_try_is_shelved() -> None:
    shelved = table.shelved(on_trial(B, A), B.digest)
    assert shown(shelved) == ("1.0.0", None, None)
    assert shelved.ref(B.digest) == B
    assert not shelved.refused
    assert table.shelved(on_trial(B, A), C.digest) == on_trial(B, A), "late news"


def test_rollback_ends_a_trial_or_takes_the_one_before() -> None:
    assert shown(table.rolled_back(on_trial(B, A))) == ("1.0.0", None, None)
    back = table.rolled_back(running(A, B))
    assert shown(back) == ("1.0.0", None, None)
    assert back.state_body()["stored"] == ["1.0.0", "1.1.0"]


def test_rollback_needs_somewhere_to_go() -> None:
    for slots in (Slots(), running(A), on_trial(A)):
        with pytest.raises(NotStored, match="no earlier confirmed"):
            table.rolled_back(slots)


def test_rollback_to_a_retired_one_names_what_to_sign_instead() -> None:
    with pytest.raises(RollbackRefused) as caught:
        table.rolled_back(running(A, C))
    assert "1.0.0" in caught.value.fix
    assert "--rollback-index 3" in caught.value.fix
    assert caught.value.evidence == {"rollback index of 1.0.0": "0", "of this device": "3"}


def test_activate_takes_a_version_or_the_highest() -> None:
    slots = running(B, A)
    assert shown(table.activated(slots, "1.1.0", 0.0)) == ("1.1.0", "1.1.0", "1.0.0")
    assert shown(table.activated(slots, "1.1", 0.0)) == ("1.1.0", "1.1.0", "1.0.0")
    assert shown(table.activated(slots, None, 0.0)) == ("1.1.0", "1.1.0", "1.0.0")
    with pytest.raises(NotStored) as caught:
        table.activated(slots, "9.9", 0.0)
    assert caught.value.evidence["stored"] == "1.1.0, 1.0.0"
    with pytest.raises(NotStored):
        table.activated(Slots(), None, 0.0)


def test_of_two_builds_of_one_version_the_later_one_is_meant() -> None:
    old, new = ref("2.0.0", stored_at=1.0), table.Ref(
        digest="f" * 64, version="2.0.0", rollback_index=0, created="2026-11-24T00:00:00Z", size=11, stored_at=2.0
    )  # fmt: skip
    slots = table.added(table.added(Slots(), new), old)
    assert table.activated(slots, "2.0.0", 0.0).running == new


def test_a_dropped_bundle_is_replaced_by_the_one_before() -> None:
    revoked = Refusal(code="SIGNER_REVOKED", what="revoked", fix="sign it again", version="1.1.0", time=1.0)
    slots = table.dropped(running(A, B), B.digest, revoked)
    assert shown(slots) == ("1.0.0", None, None)
    assert slots.last_refusal == revoked
    assert slots.state_body()["stored"] == ["1.0.0", "1.1.0"]
    assert shown(table.dropped(running(A), A.digest, revoked)) == (None, None, None)
    assert shown(table.dropped(on_trial(B, A), A.digest, revoked)) == ("1.1.0", "1.1.0", None)


def test_a_dropped_bundle_never_brings_a_retired_one_back() -> None:
    slots = table.dropped(running(A, C), C.digest, WHY)
    assert shown(slots) == (None, None, None)
    assert slots.rollback_index == 3
    assert [one.version for one in slots.candidates()] == ["1.2.0"]


def test_candidates_are_confirmed_ones_then_the_highest() -> None:
    slots = table.failed(on_trial(ref("3.0.0"), A, B), ref("3.0.0").digest, WHY)
    slots = table.added(table.added(slots, ref("1.5.0")), ref("1.10.0"))
    assert [one.version for one in slots.candidates()] == ["1.1.0", "1.0.0", "1.10.0", "1.5.0"]


def test_lost_files_are_forgotten() -> None:
    slots = table.lost(on_trial(C, A, B), [C.digest, B.digest])
    assert shown(slots) == ("1.0.0", None, None)
    assert slots.state_body()["stored"] == ["1.0.0"]


def test_what_is_in_use_is_never_pruned() -> None:
    spare = [ref(f"0.{number}.0", stored_at=float(-number)) for number in range(1, 6)]
    slots = on_trial(C, A, B)
    for one in spare:
        slots = table.added(slots, one)
    assert [one.version for one in table.prunable(slots)] == ["0.5.0", "0.4.0"]
    assert len(table.prunable(slots, 0)) == 5
    left = table.pruned(slots, [one.digest for one in slots.stored])
    assert [one.version for one in left.stored] == ["1.0.0", "1.1.0", "1.2.0"]


def test_refused_bundles_are_remembered_up_to_a_limit() -> None:
    slots = Slots()
    for number in range(table.REFUSED_KEPT + 5):
        one = ref(f"1.{number}.0")
        why = Refusal(code="X", what="x", fix="x", version=one.version, time=float(number))
        slots = table.failed(table.installed(slots, one, 0.0), one.digest, why)
    assert len(slots.refused) == table.REFUSED_KEPT
    assert ref("1.0.0").digest not in slots.refused


def test_a_refusal_is_made_printable() -> None:
    kept = Refusal.of(GoldenFailed("a\x1b[31mb", fix="c\nd", evidence={}), "1.0.0", 7.0)
    assert (kept.code, kept.what, kept.fix, kept.time) == ("GOLDEN_FAILED", "a\\x1b[31mb", "c\\nd", 7.0)


def test_a_state_that_contradicts_itself_is_known() -> None:
    assert table.problem(on_trial(B, A)) is None
    assert table.problem(Slots(confirmed=(A.digest,))) is not None
    assert table.problem(Slots(trial=table.Trial(digest=A.digest, since=0.0))) is not None
    assert table.problem(Slots(stored=(A, A))) is not None
    assert table.problem(Slots(stored=(A,), confirmed=(A.digest, A.digest))) is not None


REFS = [ref(f"{number}.0.0", index) for number, index in enumerate((0, 0, 1, 1, 2, 5))]
DONE = st.one_of(
    st.tuples(st.sampled_from(["install", "force", "add"]), st.sampled_from(REFS)),
    st.tuples(st.sampled_from(["confirm", "fail", "attempt", "stop", "judge", "back", "drop", "lose", "prune", "activate"]),
              st.sampled_from(REFS)),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(DONE, max_size=30))
def test_whatever_happens_the_state_is_sound_and_the_index_never_falls(happened: list[tuple[str, Ref]]) -> None:
    slots, time = Slots(), 0.0
    for what, one in happened:
        before, time = slots, time + 1.0
        try:
            slots = step(slots, what, one, time)
        except CodedError:
            assert slots is before
        assert table.problem(slots) is None
        assert slots.rollback_index >= before.rollback_index
        assert len(slots.confirmed) <= 2
        assert slots.running is None or slots.running.rollback_index >= slots.rollback_index
        if slots.trial and slots.trial.digest in slots.refused:
            raise AssertionError("a refused bundle is on trial")


def step(slots: Slots, what: str, one: Ref, time: float) -> Slots:
    match what:
        case "install" | "force":
            return table.installed(slots, one, time, force=what == "force")
        case "add":
            return table.added(slots, one)
        case "confirm":
            return table.confirmed(slots, slots.trial.digest if slots.trial else one.digest)
        case "fail":
            return table.failed(slots, slots.trial.digest if slots.trial else one.digest, WHY)
        case "attempt":
            return table.attempted(slots, one.digest, Attempt(boot_id="b", time=time))
        case "stop":
            attempts = slots.trial.attempts if slots.trial else ()
            return table.stopped_cleanly(slots, attempts[-1]) if attempts else slots
        case "judge":
            return table.judged_at_start(slots, time)
        case "back":
            return table.rolled_back(slots)
        case "drop":
            return table.dropped(slots, one.digest, WHY)
        case "lose":
            return table.lost(slots, [one.digest])
        case "prune":
            return table.pruned(slots, [one.digest])
    return table.activated(slots, one.version, time)
