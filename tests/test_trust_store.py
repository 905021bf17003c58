"""The camera's trust roots and the floor of its clock, on disk. Which root may follow which is signing.test_trust's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from firmware_pkg.errors import StateError
from firmware_pkg.trust_store import TrustStore
from signing import trust_edit
from signing.refusals import TrustMissing, TrustRotation
from signing.trust import TrustRoot, read_root
from tests.signing.support import LATER, key
from tests.support.bundles import root_json

BUILT = datetime(2026, 11, 23, tzinfo=UTC)


@cache
def root(number: int) -> TrustRoot:
    """Root 1 and those that follow it."""
    if number == 1:
        return read_root(root_json())
    return read_root(trust_edit.rotate(root(number - 1), [key("root")], expires=LATER + timedelta(days=number)))


def other(number: int) -> TrustRoot:
    """A root with the same number that somebody else has made."""
    made = read_root(root_json(root=key("stranger")))
    for step in range(2, number + 1):
        made = read_root(trust_edit.rotate(made, [key("stranger")], expires=LATER + timedelta(days=step)))
    return made


def opened(folder: Path, first: TrustRoot | bytes | None = None) -> TrustStore:
    """A new process; `first` stands in agent.trust's file from now on."""
    file = folder / "root.json"
    if first is not None:
        file.write_bytes(first if isinstance(first, bytes) else first.data)
    return TrustStore(folder / "state" / "trust", file, BUILT)


def versions(store: TrustStore) -> list[int]:
    return [known.version for known in store.known()]


def test_nobody_is_trusted_at_first(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store.recover() == ()
    assert store.known() == ()
    with pytest.raises(TrustMissing):
        store.offer([root(1)])
    assert not (tmp_path / "state").exists()
    assert TrustStore(tmp_path / "none", None, BUILT).known() == ()


def test_a_person_at_the_device_may_bring_the_first_root(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store.offer([root(2), root(1)], first=True) == (root(1), root(2))
    assert versions(opened(tmp_path)) == [1, 2]


def test_the_configured_root_is_kept_although_its_file_goes(tmp_path: Path) -> None:
    store = opened(tmp_path, root(1))
    assert versions(store) == [1]
    assert not (tmp_path / "state").exists()  # reading writes nothing
    assert store.recover() == ()
    (tmp_path / "root.json").unlink()
    assert versions(opened(tmp_path)) == [1]
    assert (tmp_path / "state" / "trust" / "1.root.json").read_bytes() == root(1).data


def test_newer_roots_are_kept_beside_the_old_ones(tmp_path: Path) -> None:
    store = opened(tmp_path, root(1))
    assert store.forecast([root(3), root(2)]) == (root(2), root(3))
    assert versions(store) == [1]
    assert [new.version for new in store.offer([root(3), root(2)])] == [2, 3]
    assert store.offer([root(2), root(3)]) == ()
    assert versions(opened(tmp_path)) == [1, 2, 3]
    assert {path.name for path in (tmp_path / "state" / "trust").iterdir()} == {f"{number}.root.json" for number in (1, 2, 3)}


def test_what_does_not_follow_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path, root(1))
    store.recover()
    for offered in ([root(3)], [other(2)], [root(2), other(3)]):
        with pytest.raises(TrustRotation):
            store.offer(offered)
        assert versions(store) == versions(opened(tmp_path)) == [1]


def test_the_configuration_may_bring_the_next_root(tmp_path: Path) -> None:
    opened(tmp_path, root(1)).recover()
    store = opened(tmp_path, root(2))
    assert store.recover() == ()
    assert versions(store) == versions(opened(tmp_path)) == [1, 2]


def test_an_older_configured_root_is_left_aside(tmp_path: Path) -> None:
    opened(tmp_path, root(1)).offer([root(2), root(3)])
    store = opened(tmp_path, root(2))
    assert store.recover() == ()
    assert versions(store) == [1, 2, 3]


@pytest.mark.parametrize("configured", ["another", "a gap", "no root", "unreadable"])
def test_a_configured_root_that_does_not_fit_is_a_warning_and_the_stored_one_stays(tmp_path: Path, configured: str) -> None:
    opened(tmp_path, root(1)).recover()
    if configured == "unreadable":
        (tmp_path / "root.json").unlink()
        (tmp_path / "root.json").mkdir()
        store = opened(tmp_path)
    else:
        store = opened(tmp_path, {"another": other(1).data, "a gap": root(3).data, "no root": b"{}"}[configured])
    (warning,) = store.recover()
    assert warning.code == "TRUST_ROTATION"
    assert "stays in force" in warning.fix
    assert warning.evidence["file"] == str(tmp_path / "root.json")
    assert store.known()[0].data == root(1).data
    assert versions(store) == [1]


def test_an_unusable_configured_root_is_an_error_where_nothing_else_is_known(tmp_path: Path) -> None:
    store = opened(tmp_path, b"{}")
    for ask in (store.known, store.recover):
        with pytest.raises(TrustMissing):
            ask()


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("damage", ["empty", "cut", "other", "gone"])
def test_a_damaged_stored_root_is_named_with_its_fix(tmp_path: Path, number: int, damage: str) -> None:
    opened(tmp_path, root(1)).offer([root(2), root(3)])
    (tmp_path / "root.json").unlink()
    path = tmp_path / "state" / "trust" / f"{number}.root.json"
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(path.read_bytes()[:-20])
        case "other":
            path.write_bytes(other(number).data)
        case "gone":
            path.unlink()
    store = opened(tmp_path)
    if damage == "gone" and number != 2:  # a shorter chain is still one
        assert versions(store) == [known for known in (1, 2, 3) if known != number]
        return
    for ask in (store.known, store.recover):
        with pytest.raises(StateError, match="is damaged") as caught:
            ask()
        assert str(tmp_path / "state" / "trust") in caught.value.what
        assert "put the original file back" in caught.value.fix


def test_a_root_under_another_number_is_damage(tmp_path: Path) -> None:
    opened(tmp_path, root(1)).recover()
    folder = tmp_path / "state" / "trust"
    (folder / "2.root.json").write_bytes(root(3).data)
    with pytest.raises(StateError, match="root 3"):
        opened(tmp_path).known()


def test_strange_files_are_passed_over_and_litter_is_swept(tmp_path: Path) -> None:
    opened(tmp_path, root(1)).recover()
    folder = tmp_path / "state" / "trust"
    for name in (".new-12", "x.root.json", "01.root.json", "0.root.json", "notes.txt"):
        (folder / name).write_bytes(b"x")
    assert opened(tmp_path).recover() == ()
    assert {path.name for path in folder.iterdir()} == {
        "1.root.json",
        "x.root.json",
        "01.root.json",
        "0.root.json",
        "notes.txt",
    }


# -- the floor --------------------------------------------------------------------------------------------------------


def test_the_floor_is_the_build_time_at_least_and_never_falls(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store.floor == BUILT
    assert store.raise_floor(BUILT - timedelta(days=100)) == BUILT
    assert not (tmp_path / "state").exists()
    later = BUILT + timedelta(days=30)
    assert store.raise_floor(BUILT, later) == later
    assert store.raise_floor(BUILT) == later
    assert opened(tmp_path).floor == later
    newer = TrustStore(tmp_path / "state" / "trust", None, BUILT + timedelta(days=90))
    assert newer.floor == BUILT + timedelta(days=90)


def test_one_mistaken_date_raises_it_by_400_days_at_most(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store.raise_floor(datetime(2099, 1, 1, tzinfo=UTC)) == BUILT + timedelta(days=400)
    assert opened(tmp_path).raise_floor(datetime(2099, 1, 1, tzinfo=UTC)) == BUILT + timedelta(days=800)


@pytest.mark.parametrize("data", [b"", b"{", b'{"floor": "2027-01-01"}', b'{"floor": "2027-01-01T00:00:00"}', b'{"schema": 2}'])
def test_a_damaged_floor_is_named_with_its_fix(tmp_path: Path, data: bytes) -> None:
    store = opened(tmp_path)
    store.raise_floor(BUILT + timedelta(days=1))
    path = tmp_path / "state" / "trust" / "floor.json"
    path.write_bytes(data)
    with pytest.raises(StateError, match="is damaged") as caught:
        _ = store.floor
    assert str(path) in caught.value.what
    assert "move it away" in caught.value.fix
    assert path.read_bytes() == data
