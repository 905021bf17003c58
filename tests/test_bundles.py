"""Verification, store, golden check and trial together, on real bundles and a real disk; only the cameras are a list."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from camagent.bundles import Bundles, open_alone
from camagent.config import Agent, Camera, Config
from camagent.errors import BackendError, Busy
from camagent.models import UsableBundle
from camagent.service import Event, Origin
from camagent.trial import CONFIRM_FRAMES, CONFIRM_S
from firmware_pkg.checklist import Checklist
from firmware_pkg.errors import (
    GoldenFailed,
    NoSpace,
    NotStored,
    Refused,
    RollbackRefused,
    StateError,
    TrialFailed,
    UnsignedNotAllowed,
)
from signing import trust, trust_edit
from signing.refusals import PayloadDigestMismatch, SignerRevoked, TrustMissing, UntrustedSigner
from tests.signing.support import key
from tests.support.bundles import Pipe, changed, make_signed, make_unsigned, members, rewrite, root_json, write_root

LOCAL, REMOTE = Origin("local", "uid 0, pid 1"), Origin("http", "192.0.2.7")
LATER = datetime.now(UTC) + timedelta(days=300)


@dataclass
class Times:
    """A clock that is turned by hand."""

    now: float = 1_800_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


@dataclass
class Told:
    """The cameras: what they were told."""

    renewed: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)

    def renew(self, name: str) -> None:
        self.renewed.append(name)

    def release(self, name: str) -> None:
        self.released.append(name)


CAMERA = Camera(name="front", url="x.mp4", bundle="blobs")


class Desk:
    """One agent's bundles in a folder; `again` is the next start of the process, `died` when it was killed."""

    def __init__(self, folder: Path, *, root: bool = True, **agent: Any) -> None:
        self.folder, self.clock, self.cameras = folder, Times(), Told()
        path = write_root(folder) if root else folder / "root.json"
        self.config = Config(agent=Agent(state_dir=folder / "state", trust=path, **agent), camera=(CAMERA,))
        (folder / "state").mkdir(exist_ok=True)
        self.bundles = self.start()

    def start(self) -> Bundles:
        self.bundles = Bundles(self.config, self.clock, self.cameras)
        self.bundles.live.recover()
        return self.bundles

    def again(self) -> Bundles:
        self.bundles.live.close()
        return self.start()

    def install(self, path: Path, origin: Origin = LOCAL, *, force: bool = False) -> dict[str, Any]:
        self.events: list[Event] = []
        with path.open("rb") as source:
            return self.bundles.install(source, origin, self.events.append, force=force)

    def confirm(self) -> None:
        """What 600 frames and a minute do."""
        trial = self.bundles.live.load(CAMERA).trial
        assert trial is not None
        for _ in range(CONFIRM_FRAMES):
            trial.inferred("front")
        assert not self.bundles.live.tick(), "600 frames are not yet a minute"
        self.clock.now += CONFIRM_S
        assert self.bundles.live.tick()

    def state(self) -> dict[str, Any]:
        body: dict[str, Any] = self.bundles.bundles()["bundles"]["blobs"]
        return body

    def runs(self) -> str:
        return self.bundles.live.load(CAMERA).manifest.version

    def audit(self) -> list[str]:
        lines = (self.folder / "state" / "audit.jsonl").read_text().splitlines()
        return [f"{line['event']} {line['version']} {line['code'] or ''}".strip() for line in map(json.loads, lines)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_an_install_is_verified_stored_tested_tried_and_confirmed(desk: Desk, tmp_path: Path) -> None:
    answer = desk.install(make_signed(tmp_path, version="1.0.0", index=2))
    assert answer["outcome"] == "trial"
    steps = {event["step"]["id"]: event["step"] for event in desk.events if "step" in event}
    assert steps["golden"]["measured"]["recall"] == 1.0
    assert {step["status"] for step in steps.values()} == {"pass"}, steps
    assert desk.state() | {"progress": 0} == {
        "current": "1.0.0", "trial": "1.0.0", "previous": None, "stored": ["1.0.0"], "rollback_index": 0, "last_refusal": None,
        "progress": 0,
    }  # fmt: skip
    desk.confirm()
    assert desk.state()["trial"] is None
    assert desk.state()["rollback_index"] == 2
    desk.install(make_signed(tmp_path, version="1.1.0", index=2))
    assert (desk.state()["current"], desk.state()["trial"], desk.state()["previous"]) == ("1.1.0", "1.1.0", "1.0.0")
    assert desk.cameras.renewed == ["blobs", "blobs"]
    assert desk.audit() == ["install 1.0.0", "confirm 1.0.0", "install 1.1.0"]


def state_of(desk: Desk, name: str) -> dict[str, Any]:
    body: dict[str, Any] = desk.bundles.bundles()["bundles"][name]
    return body


def test_a_name_that_no_camera_uses_ends_as_stored_and_is_tried_when_one_does(desk: Desk, tmp_path: Path) -> None:
    other = replace(CAMERA, name="back", bundle="other")
    for version in ("1.0.0", "2.0.0"):
        answer = desk.install(make_signed(tmp_path, name="other", version=version))
        assert answer["outcome"] == "stored"
        assert 'bundle = "other"' in answer["hint"]
        assert [event["step"]["status"] for event in desk.events if event.get("step", {}).get("id") == "golden"] == ["pass"]
    assert (state_of(desk, "other")["current"], state_of(desk, "other")["trial"]) == (None, None)
    assert state_of(desk, "other")["stored"] == ["1.0.0", "2.0.0"]
    assert "progress" not in state_of(desk, "other")
    for _ in range(5):
        desk.start()  # killed: nobody died of a bundle that nobody runs
    assert desk.bundles.live.load(other).manifest.version == "2.0.0"
    assert state_of(desk, "other")["trial"] == "2.0.0"
    assert desk.audit()[-1] == "activate 2.0.0"


def test_a_blind_bundle_is_refused_also_where_no_camera_uses_its_name(desk: Desk, tmp_path: Path) -> None:
    blind = make_signed(tmp_path, name="other", gain=0)
    with pytest.raises(GoldenFailed):
        desk.install(blind)
    assert state_of(desk, "other")["last_refusal"]["code"] == "GOLDEN_FAILED"
    with pytest.raises(TrialFailed):
        desk.install(blind)
    with pytest.raises(Refused):
        desk.bundles.live.load(replace(CAMERA, bundle="other"))


def test_what_is_activated_while_no_camera_uses_it_waits_and_cannot_die(desk: Desk, tmp_path: Path) -> None:
    for version in ("1.0.0", "2.0.0"):
        desk.install(make_signed(tmp_path, name="other", version=version))
    assert desk.bundles.activate("other", "1.0.0", LOCAL, desk_tell)["outcome"] == "stored"
    for _ in range(5):
        desk.start()
    assert desk.bundles.live.load(replace(CAMERA, bundle="other")).manifest.version == "1.0.0"


def test_golden_failed_leaves_the_confirmed_one_and_is_refused_until_forced(desk: Desk, tmp_path: Path) -> None:
    desk.install(make_signed(tmp_path, version="1.0.0"))
    desk.confirm()
    blind = make_signed(tmp_path, version="2.0.0", gain=0)
    with pytest.raises(GoldenFailed) as caught:
        desk.install(blind)
    assert caught.value.evidence["declared and missing"] == "red: 1 declared, 0 seen; blue: 1 declared, 0 seen"
    assert desk.runs() == "1.0.0"
    assert desk.state()["last_refusal"]["code"] == "GOLDEN_FAILED"
    assert desk.events[-1]["step"]["id"] == "golden"
    with pytest.raises(TrialFailed, match="failed on this device before"):
        desk.install(blind)
    with pytest.raises(GoldenFailed):
        desk.install(blind, force=True)
    assert desk.runs() == "1.0.0"
    assert desk.again().live.load(CAMERA).manifest.version == "1.0.0"


def test_errors_in_a_row_end_a_trial_and_single_ones_do_not(desk: Desk, tmp_path: Path) -> None:
    desk.install(make_signed(tmp_path, version="1.0.0"))
    desk.confirm()
    desk.install(make_signed(tmp_path, version="2.0.0"))
    trial = desk.bundles.live.load(CAMERA).trial
    assert trial is not None
    error = BackendError("no", fix="none")
    for _ in range(20):
        assert not trial.erred("front", error)
        assert not trial.erred("front", error)
        trial.inferred("front")
    assert not desk.bundles.live.tick()
    trial.erred("front", error)
    trial.erred("back", error)
    assert not desk.bundles.live.tick(), "three errors, but not in a row on one camera"
    trial.erred("front", error)
    assert trial.erred("front", error)
    assert desk.bundles.live.tick()
    assert desk.runs() == "1.0.0"
    assert desk.state()["last_refusal"]["code"] == "TRIAL_FAILED"
    assert "3 frames in a row on camera front" in desk.state()["last_refusal"]["what"]


def test_three_deaths_in_one_boot_end_a_trial_and_clean_stops_do_not(desk: Desk, tmp_path: Path) -> None:
    desk.install(make_signed(tmp_path, version="1.0.0"))
    desk.confirm()
    desk.install(make_signed(tmp_path, version="2.0.0"))
    for _ in range(10):
        assert desk.again().live.load(CAMERA).manifest.version == "2.0.0", "a clean stop is no death"
    for _ in range(2):
        desk.start()  # the one before was killed
        assert desk.runs() == "2.0.0"
    desk.start()
    assert desk.runs() == "1.0.0"
    assert desk.state()["last_refusal"]["code"] == "TRIAL_FAILED"
    assert desk.audit()[-1] == "refuse 2.0.0 TRIAL_FAILED"


def test_a_trial_that_died_before_its_golden_check_is_tested_at_the_next_load(desk: Desk, tmp_path: Path) -> None:
    desk.install(make_signed(tmp_path, version="1.0.0"))
    desk.confirm()
    with make_signed(tmp_path, version="2.0.0", gain=0).open("rb") as source:
        desk.bundles._store_it(source, LOCAL, Checklist(), force=False)
    desk.start()
    assert desk.runs() == "1.0.0"
    assert desk.state()["last_refusal"]["code"] == "GOLDEN_FAILED"


def test_where_nothing_is_confirmed_the_best_that_is_stored_is_tried_next(desk: Desk, tmp_path: Path) -> None:
    for version in ("1.0.0", "2.0.0"):
        desk.install(make_signed(tmp_path, version=version))
    desk.bundles.live.failed(desk.bundles.live.load(CAMERA), BackendError("no", fix="none"))
    assert desk.bundles.live.tick()
    assert (desk.runs(), desk.state()["trial"]) == ("1.0.0", "1.0.0")


def test_what_is_confirmed_raises_the_clocks_floor(desk: Desk, tmp_path: Path) -> None:
    before = desk.bundles.trust.store.floor
    desk.install(make_signed(tmp_path, created="2027-03-01T00:00:00Z"))
    assert desk.bundles.trust.store.floor == before, "verified is not confirmed"
    desk.confirm()
    assert desk.bundles.trust.store.floor == datetime(2027, 3, 1, tzinfo=UTC)
    assert desk.again().trust.store.floor == datetime(2027, 3, 1, tzinfo=UTC)


def test_a_full_disk_keeps_no_failed_bundle_running(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.install(make_signed(tmp_path, version="1.0.0"))
    desk.confirm()
    desk.install(make_signed(tmp_path, version="2.0.0"))
    running = desk.bundles.live.load(CAMERA)

    def full(*_: object) -> Any:
        raise NoSpace("the disk is full", fix="free some space")

    store = desk.bundles.live.store
    with monkeypatch.context() as patched:
        patched.setattr(store, "fail", full)
        desk.bundles.live.failed(running, BackendError("no", fix="none"))
        for _ in range(3):
            with pytest.raises(NoSpace):
                desk.bundles.live.tick()
        assert desk.runs() == "1.0.0", "the cameras go back although the disk cannot be told"
        assert desk.cameras.renewed == ["blobs"] * 3
    assert desk.bundles.live.tick()
    assert (desk.runs(), desk.state()["last_refusal"]["code"]) == ("1.0.0", "BACKEND_FAILED")
    desk.install(make_signed(tmp_path, version="3.0.0"))
    desk.start()
    with monkeypatch.context() as patched:
        patched.setattr(desk.bundles.live.store, "attempt", full)
        assert desk.runs() == "1.0.0", "what cannot be recorded is not tried"
    assert desk.runs() == "3.0.0"


def test_rollback_and_activate(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(NotStored):
        desk.bundles.rollback("blobs", LOCAL, desk_tell)
    for version in ("1.0.0", "2.0.0"):
        desk.install(make_signed(tmp_path, version=version))
        desk.confirm()
    answer = desk.bundles.rollback("blobs", LOCAL, desk_tell)
    assert (answer["version"], desk.runs(), desk.state()["trial"]) == ("1.0.0", "1.0.0", None)
    assert desk.bundles.activate("blobs", None, LOCAL, desk_tell)["version"] == "2.0.0"
    assert desk.state()["trial"] == "2.0.0"
    with pytest.raises(NotStored, match="3"):
        desk.bundles.activate("blobs", "3.0.0", LOCAL, desk_tell)
    assert desk.state()["last_refusal"] is None, "a slip of whoever asked turns no bundle away"
    assert desk.audit()[0] == "refuse None NOT_STORED", "the rollback at the start"
    assert desk.audit()[-1] == "refuse 3.0.0 NOT_STORED"
    desk.confirm()
    desk.install(make_signed(tmp_path, version="3.0.0", index=5))
    desk.confirm()
    with pytest.raises(RollbackRefused) as caught:
        desk.bundles.rollback("blobs", LOCAL, desk_tell)
    assert "2.0.0" in caught.value.what
    with pytest.raises(RollbackRefused):
        desk.install(make_signed(tmp_path, version="4.0.0", index=4))
    assert desk.runs() == "3.0.0"


def desk_tell(event: Event) -> None:
    """Nobody listens."""


def test_refusals_leave_nothing_but_their_reason(desk: Desk, tmp_path: Path) -> None:
    desk.install(make_signed(tmp_path, version="1.0.0"))
    before = sorted(path.name for path in (tmp_path / "state" / "bundles").rglob("*.cambundle"))
    good = make_signed(tmp_path, version="2.0.0")
    stranger = make_signed(tmp_path, version="2.0.0", signers=("stranger",), file="s.cambundle")
    with pytest.raises(UntrustedSigner):
        desk.install(stranger)
    with pytest.raises(UnsignedNotAllowed):
        desk.install(make_unsigned(tmp_path, version="2.0.0", file="u.cambundle"))
    tampered = changed(make_signed(tmp_path, version="2.0.0", file="t.cambundle"), "model.onnx", members(good)[-1].data)
    with pytest.raises(Refused):
        desk.install(tampered)
    assert desk.state()["last_refusal"]["version"] == "2.0.0"
    assert sorted(path.name for path in (tmp_path / "state" / "bundles").rglob("*.cambundle")) == before
    assert not list((tmp_path / "state" / "bundles" / ".staging").iterdir())
    assert [line.split()[0] for line in desk.audit()] == ["install", "refuse", "refuse", "refuse"]


def test_a_bundle_that_nobody_knows_leaves_no_trace_under_its_name(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(UntrustedSigner):
        desk.install(make_signed(tmp_path, name="made-up", signers=("stranger",)), REMOTE)
    assert desk.bundles.bundles() == {"bundles": {}}
    with pytest.raises(UntrustedSigner):
        desk.install(make_signed(tmp_path, signers=("stranger",)), REMOTE)
    assert desk.state()["last_refusal"]["code"] == "UNTRUSTED_SIGNER", "a camera waits for this one"
    desk.install(make_signed(tmp_path))
    assert desk.state()["last_refusal"] is None


def test_unsigned_is_for_files_of_this_machine_alone(tmp_path: Path) -> None:
    desk = Desk(tmp_path, root=False, allow_unsigned=True)
    path = make_unsigned(tmp_path)
    assert desk.install(path)["outcome"] == "trial"
    assert desk.bundles.live.load(CAMERA).signature == "unsigned"
    with pytest.raises(UnsignedNotAllowed):
        desk.install(path, REMOTE)
    with pytest.raises(TrustMissing):
        desk.install(make_signed(tmp_path), REMOTE)


def test_a_camera_without_trust_learns_it_from_a_person_and_never_from_the_network(tmp_path: Path) -> None:
    desk = Desk(tmp_path, root=False)
    assert desk.bundles.trust.facts()["root"] is None
    with pytest.raises(NotStored):
        desk.bundles.live.load(CAMERA)
    with pytest.raises(TrustMissing):
        desk.install(make_signed(tmp_path))
    with pytest.raises(TrustMissing):
        desk.bundles.install_trust([root_json()], REMOTE)
    answer = desk.bundles.install_trust([root_json()], LOCAL)
    assert (answer["in_force"], answer["added"], answer["losing"]) == (1, [1], [])
    assert desk.install(make_signed(tmp_path), REMOTE)["outcome"] == "trial"


def next_root(data: bytes, **changes: Any) -> bytes:
    """Root N+1 that trusts only `second`, by the same root key."""
    current = trust.read_root(data)
    with_second = trust_edit.add_signer(current, key("second").public, [key("root")], expires=LATER)
    del changes
    return with_second


def test_a_rotation_travels_with_a_bundle_and_revocation_acts_at_once(desk: Desk, tmp_path: Path) -> None:
    desk.install(make_signed(tmp_path, version="1.0.0", signers=("release", "second")))
    desk.confirm()
    desk.install(make_signed(tmp_path, version="2.0.0"))
    desk.confirm()
    second = next_root(root_json())
    third = trust_edit.remove_signer(trust.read_root(second), key("release").public.id, [key("root")], expires=LATER)
    forecast = desk.bundles.install_trust([second, third], LOCAL, dry_run=True)
    assert forecast["losing"] == [{"name": "blobs", "version": "2.0.0"}]
    assert desk.runs() == "2.0.0", "a forecast changes nothing"
    desk.install(make_signed(tmp_path, version="3.0.0", signers=("second",), roots=(second, third)), REMOTE)
    assert desk.bundles.trust.facts()["root"] == 3, "learned from the bundle, two steps at once"
    assert desk.runs() == "3.0.0"
    assert desk.state()["previous"] == "1.0.0", "2.0.0 has lost its signer"
    assert "revoke 2.0.0 SIGNER_REVOKED" in desk.audit()
    with pytest.raises(SignerRevoked):
        desk.install(make_signed(tmp_path, version="4.0.0"), REMOTE)


def test_revocation_of_the_only_signer_stops_detection_and_says_so(desk: Desk, tmp_path: Path) -> None:
    desk.install(make_signed(tmp_path, version="1.0.0"))
    desk.confirm()
    second = next_root(root_json())
    third = trust_edit.remove_signer(trust.read_root(second), key("release").public.id, [key("root")], expires=LATER)
    desk.bundles.install_trust([second, third], LOCAL)
    assert desk.state()["current"] is None, "before any camera loads anything"
    assert desk.cameras.renewed[-1] == "blobs"
    assert desk.audit().count("revoke 1.0.0 SIGNER_REVOKED") == 1
    with pytest.raises(Refused) as caught:
        desk.bundles.live.load(CAMERA)
    assert caught.value.code == "SIGNER_REVOKED"
    desk.again()
    with pytest.raises(Refused) as caught:
        desk.bundles.live.load(CAMERA)
    assert caught.value.code == "SIGNER_REVOKED"
    assert desk.install(make_signed(tmp_path, version="1.0.1", signers=("second",)))["outcome"] == "trial"


def test_what_is_changed_on_the_disk_after_it_was_verified_is_never_used(desk: Desk, tmp_path: Path) -> None:
    desk.install(make_signed(tmp_path, version="1.0.0"))
    desk.confirm()
    desk.install(make_signed(tmp_path, version="2.0.0"))
    stored = max((tmp_path / "state" / "bundles" / "blobs").glob("*.cambundle"), key=lambda path: path.stat().st_mtime_ns)
    other = make_signed(tmp_path, version="2.0.0", gain=0.5, file="other.cambundle", signers=("stranger",))
    model = next(member.data for member in members(other) if member.name == "model.onnx")
    original = stored.read_bytes()
    rewrite(
        stored, [member if member.name != "model.onnx" else type(member)("model.onnx", model) for member in members(stored)]
    )
    assert stored.read_bytes() != original
    assert desk.runs() == "1.0.0"
    assert desk.state()["last_refusal"]["code"] in {"PAYLOAD_DIGEST_MISMATCH", "BUNDLE_TRUNCATED"}


def test_one_at_a_time(desk: Desk, tmp_path: Path) -> None:
    path = make_signed(tmp_path)

    class Asking(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            with pytest.raises(Busy):
                desk.install(path)
            return super().read(size)

        def readinto(self, buffer: Any, /) -> int:
            with pytest.raises(Busy):
                desk.install(path)
            return super().readinto(buffer)

    desk.bundles.install(Asking(path.read_bytes()), LOCAL, desk_tell)
    desk.install(path)


def test_a_stream_in_small_pieces_installs_too(desk: Desk, tmp_path: Path) -> None:
    import typing

    source = typing.cast("typing.BinaryIO", Pipe(make_signed(tmp_path).read_bytes(), 777))
    assert desk.bundles.install(source, REMOTE, desk_tell)["outcome"] == "trial"


def test_an_expired_root_stops_new_installs_only(tmp_path: Path) -> None:
    desk = Desk(tmp_path, root=False)
    soon = datetime.now(UTC) + timedelta(days=20)
    desk.clock.now = datetime.now(UTC).timestamp()
    desk.bundles.install_trust([root_json(expires=soon)], LOCAL)
    assert "expires in 19 days" in desk.bundles.trust.facts()["warning"]
    desk.install(make_signed(tmp_path, version="1.0.0"))
    desk.confirm()
    desk.clock.now += 30 * 86400
    with pytest.raises(Refused) as caught:
        desk.install(make_signed(tmp_path, version="2.0.0"))
    assert caught.value.code in {"TRUST_EXPIRED", "CLOCK_UNTRUSTED"}
    assert desk.again().live.load(CAMERA).manifest.version == "1.0.0"
    assert caught.value.code in desk.bundles.trust.facts()["warning"]


def test_without_a_daemon_the_command_takes_the_lock(tmp_path: Path) -> None:
    write_root(tmp_path)
    config = Config(agent=Agent(state_dir=tmp_path / "state", trust=tmp_path / "root.json"), camera=(CAMERA,))
    with open_alone(config) as bundles, make_signed(tmp_path).open("rb") as source:
        assert bundles.install(source, LOCAL, desk_tell)["outcome"] == "trial"
        with pytest.raises(StateError, match="another agent"), open_alone(config):
            pass
    with open_alone(config) as bundles:
        loaded: UsableBundle = bundles.live.load(CAMERA)
        assert loaded.trial is not None, "the trial goes on where it is run"


def test_digest_mismatch_is_told_with_both_sides(desk: Desk, tmp_path: Path) -> None:
    path = make_signed(tmp_path, extra={"notes.bin": b"0" * 10})
    changed(path, "notes.bin", b"1" * 10)
    with pytest.raises(PayloadDigestMismatch) as caught:
        desk.install(path)
    assert set(caught.value.evidence) >= {"signed", "found"}
