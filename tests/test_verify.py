"""Bytes -> VerifiedBundle: who is believed, which refusal speaks, and what is kept before all is known."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from firmware_pkg import limits, soc
from firmware_pkg.checklist import Checklist
from firmware_pkg.errors import Refused
from firmware_pkg.verify import LoadedBundle, Policy, VerifiedBundle, load, verify
from signing import envelope, trust_edit
from signing import statement as statements
from signing.trust import TrustRoot, read_root, trusted_keys
from signing.trust_time import Clock
from signing.verify import trust_key
from tests.signing.support import LATER, NOW, changed, key, refused, with_value
from tests.support import bundles
from tests.support.bundles import (
    Pipe,
    TarMember,
    blob_model,
    key_id,
    make_signed,
    make_unsigned,
    members,
    packed,
    rewrite,
    root_json,
)

KEY_POLICY = Policy(trusted=trust_key(key("release").public))


def roots_policy(*roots: bytes, **changes: Any) -> Policy:
    known = tuple(read_root(data) for data in roots or (root_json(),))
    return replace(Policy(trusted=trusted_keys(known), roots=known), **changes)


def judged(data: bytes | Path, policy: Policy = KEY_POLICY, **more: Any) -> tuple[VerifiedBundle, dict[str, str]]:
    raw = data.read_bytes() if isinstance(data, Path) else data
    checklist = Checklist()
    found = verify(cast("BinaryIO", Pipe(raw)), policy, checklist, **more)
    return found, {step.id: step.status for step in checklist.steps}


def loaded(data: bytes | Path, policy: Policy = KEY_POLICY, names: Sequence[str] = ("model.onnx",)) -> LoadedBundle:
    raw = data.read_bytes() if isinstance(data, Path) else data
    return load(io.BytesIO(raw), policy, lambda _: names)


def both_refuse(code: str, data: bytes | Path, policy: Policy = KEY_POLICY, *sides: str) -> None:
    """By both ways, with the same words; and the checklist shows it at the step that it belongs to."""
    error = refused(code, lambda: judged(data, policy), *sides)
    assert refused(code, lambda: loaded(data, policy), *sides).render() == error.render()
    checklist = Checklist()
    with pytest.raises(Refused):
        verify(io.BytesIO(data.read_bytes() if isinstance(data, Path) else data), policy, checklist)
    assert [step.measured["code"] for step in checklist.steps if step.status == "fail"] == [code]
    assert checklist.report()["code"] == code


def test_what_is_signed_is_accepted_and_every_step_says_what_it_saw(tmp_path: Path) -> None:
    path = make_signed(tmp_path, signers=("release", "other"), index=3)
    clock = Clock(NOW, NOW, synchronised=True)
    policy = roots_policy(
        clock=clock, device="rk3568", backends=["onnx"], runtime="0.1.0", stored_index=lambda name: len(name) - 2
    )
    seen: list[int] = []
    found, steps = judged(path, policy, progress=seen.append)
    assert found.signers == (key_id("release"),)
    assert (found.size, seen[-1]) == (path.stat().st_size,) * 2
    assert set(found.files) == {"bundle.json", "model.onnx", "golden/blobs.png"}
    assert set(steps.values()) == {"pass", "skip"}
    assert [step for step, status in steps.items() if status == "skip"] == ["golden"]
    subject = statements.parse(envelope.read(members(path)[1].data).payload)
    assert subject.ignore_paths == ("signatures",)
    signed = next(member for member in members(path) if member.name == f"signatures/{key_id()}.sig")
    assert found.digest.encode() in envelope.read(signed.data).payload, "the root digest is the statement's subject"
    assert loaded(path, policy).files == {"model.onnx": blob_model()}
    assert loaded(path, policy).verified.digest == found.digest


def test_a_bundle_has_one_digest_signed_or_not(tmp_path: Path) -> None:
    unsigned = make_unsigned(tmp_path, file="u")
    signed = make_signed(tmp_path, file="s")
    allowed = Policy(trusted=None, unsigned="allowed")
    first, steps = judged(unsigned, allowed)
    assert (first.signers, steps["signature"]) == ((), "warn")
    assert first.digest == judged(signed)[0].digest == loaded(unsigned, allowed, ()).verified.digest
    assert first.files == judged(signed)[0].files == loaded(unsigned, allowed, ()).verified.files


def test_who_may_be_unsigned(tmp_path: Path) -> None:
    unsigned, stranger = make_unsigned(tmp_path, file="u"), make_signed(tmp_path, file="s", signers=("stranger",))
    both_refuse("SIGNATURE_MISSING", unsigned, KEY_POLICY, "0 signatures")
    both_refuse("UNSIGNED_NOT_ALLOWED", unsigned, replace(KEY_POLICY, unsigned="not-allowed"), "0 signatures")
    both_refuse(
        "UNTRUSTED_SIGNER", stranger, replace(KEY_POLICY, unsigned="not-allowed"), key_id("stranger"), key_id("release")
    )
    nobody = Policy(trusted=None, unsigned="not-allowed")
    both_refuse("TRUST_MISSING", stranger, nobody, key_id("stranger"), "nobody")
    both_refuse("UNSIGNED_NOT_ALLOWED", unsigned, nobody)
    for trusted in (None, KEY_POLICY.trusted):
        found, steps = judged(stranger, Policy(trusted=trusted, unsigned="allowed"))
        assert (found.signers, steps["signer"], steps["threshold"]) == ((), "warn", "skip")


def test_a_broken_signature_is_refused_even_where_none_is_needed(tmp_path: Path) -> None:
    path = make_signed(tmp_path)
    name = members(path)[1].name
    for trusted in (None, KEY_POLICY.trusted):
        policy = Policy(trusted=trusted, unsigned="allowed")
        both_refuse("SIGNATURE_FORMAT", bundles.changed(path, name, b"{}"), policy)
    make_signed(tmp_path)
    value = with_value(members(path)[1].data, key("other").sign(b"something else"))
    both_refuse("SIGNATURE_INVALID", bundles.changed(path, name, value), replace(KEY_POLICY, unsigned="allowed"))
    threshold = roots_policy(root_json(key("release"), key("b"), threshold=2), unsigned="allowed")
    both_refuse("THRESHOLD_NOT_MET", make_signed(tmp_path), threshold, "1:", "2 of 2")


def edited(path: Path, what: str) -> bytes:
    """A bundle after signing, changed in its payload or below it."""
    listed = members(path)
    match what:
        case "flipped":
            listed = [replace(m, data=m.data[:-1] + b"\0") if m.name == "model.onnx" else m for m in listed]
        case "manifest":
            listed = [replace(m, data=m.data + b" ") if m.name == "bundle.json" else m for m in listed]
        case "crlf":
            listed = [replace(m, data=m.data.replace(b"\n", b"\r\n")) if m.name == "bundle.json" else m for m in listed]
        case "extra":
            listed.append(TarMember("extra"))
        case "missing":
            listed = [m for m in listed if m.name != "model.onnx"]
    return packed(listed)


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("flipped", "PAYLOAD_DIGEST_MISMATCH"), ("manifest", "PAYLOAD_DIGEST_MISMATCH"), ("crlf", "LINE_ENDINGS_CHANGED"),
        ("extra", "EXTRA_FILE"), ("missing", "FILE_MISSING"),
    ],
)  # fmt: skip
def test_content_that_is_not_the_signed_one_is_refused(tmp_path: Path, what: str, code: str) -> None:
    both_refuse(code, edited(make_signed(tmp_path), what))


def test_signers_who_signed_other_names_than_the_manifest_lists(tmp_path: Path) -> None:
    path = make_unsigned(tmp_path)
    for change, code in (({"more.bin": "0" * 64}, "FILE_MISSING"), ({"golden/blobs.png": None}, "EXTRA_FILE")):
        files = dict(judged(path, Policy(trusted=None, unsigned="allowed"))[0].files)
        files = {name: digest for name, digest in (files | change).items() if digest is not None}
        signature = envelope.sign(statements.build("x", files, ["signatures"]), key("release"))
        first, *rest = members(path)
        both_refuse(code, packed([first, TarMember("signatures/a.sig", signature), *rest]))


# one defect per group, in DESIGN's order of precedence
GROUPS = ("container", "signature", "content", "time", "device", "runtime", "index")
CODES = dict(zip(GROUPS, ("SIZE_LIMIT", "SIGNATURE_INVALID", "PAYLOAD_DIGEST_MISMATCH", "BUNDLE_EXPIRED", "DEVICE_MISMATCH",
                          "RUNTIME_TOO_OLD", "ROLLBACK_REFUSED"), strict=True))  # fmt: skip
LATER_GROUPS: dict[str, dict[str, Any]] = {
    "time": {"expires": "2026-11-22T00:00:00Z"}, "device": {"compatible": ["rk3588"]},
    "runtime": {"requires": {"camagent": ">=99"}}, "index": {"index": 1},
}  # fmt: skip


def subsets() -> Iterator[frozenset[str]]:
    for chosen in product((False, True), repeat=len(GROUPS)):
        yield frozenset(name for name, taken in zip(GROUPS, chosen, strict=True) if taken)


def test_the_first_group_speaks_in_every_combination_and_nothing_is_kept_that_may_not_be(tmp_path: Path) -> None:
    clock = Clock(NOW, NOW, synchronised=True)
    policy = roots_policy(clock=clock, device="rk3568", runtime="0.1.0", stored_index=lambda _: 2)
    made: dict[frozenset[str], bytes] = {}
    for defects in subsets():
        later = frozenset(defects & LATER_GROUPS.keys())
        if later not in made:
            changes: dict[str, Any] = {"index": 2}
            for group in later:
                changes |= LATER_GROUPS[group]
            made[later] = make_signed(tmp_path, **changes).read_bytes()
        data = made[later]
        (tmp_path / "b").write_bytes(data)
        if "signature" in defects:
            found = members(tmp_path / "b")[1]
            data = bundles.changed(tmp_path / "b", found.name, with_value(found.data, key("x").sign(b"x"))).read_bytes()
        if "content" in defects:
            data = edited(tmp_path / "b", "flipped")
        if "container" in defects:
            data += b"behind the end"
        kept: list[io.BytesIO] = []

        def keep(_: VerifiedBundle, kept: list[io.BytesIO] = kept) -> BinaryIO:
            kept.append(io.BytesIO())
            return kept[0]

        if not defects:
            judged(data, policy, keep=keep)
            assert kept[0].getvalue() == data
            continue
        expected = CODES[next(group for group in GROUPS if group in defects)]
        refused(expected, lambda data=data, keep=keep: judged(data, policy, keep=keep))  # type: ignore[misc]
        assert bool(kept) == (not defects & {"signature", *LATER_GROUPS}), f"{set(defects)}: kept too early or never"


@pytest.mark.parametrize("what", ["manifest", "crlf"])
def test_nothing_is_kept_when_bundle_json_is_not_the_signed_one(tmp_path: Path, what: str) -> None:
    def keep(_: VerifiedBundle) -> BinaryIO:
        raise AssertionError("kept")

    with pytest.raises(Refused):
        judged(edited(make_signed(tmp_path), what), keep=keep)


def test_keep_is_asked_once_before_the_first_payload_byte(tmp_path: Path) -> None:
    path = make_signed(tmp_path, model=bytes(3 << 20), golden=False)
    source = io.BytesIO(path.read_bytes())
    payload = path.read_bytes().index(b"model.onnx\0") + 512
    asked: list[VerifiedBundle] = []

    def keep(so_far: VerifiedBundle) -> BinaryIO:
        assert source.tell() == payload
        asked.append(so_far)
        return io.BytesIO()

    found = verify(source, KEY_POLICY, Checklist(), keep=keep)
    assert [(one.size, one.digest, one.signers) for one in asked] == [(0, found.digest, found.signers)]


def test_what_nobody_declared_is_not_poured_out(tmp_path: Path) -> None:
    path = make_signed(tmp_path)
    sink = io.BytesIO()
    evil = rewrite(path, [*members(path), TarMember("evil", b"E" * 100_000)]).read_bytes()
    refused("EXTRA_FILE", lambda: judged(evil, keep=lambda _: sink))
    assert b"EEEE" not in sink.getvalue()


def three_roots() -> tuple[bytes, bytes, bytes]:
    """root 1 trusts `old`; root 2 both; root 3 `release` alone, and its predecessor has expired."""
    first = root_json(key("old"))
    second = trust_edit.add_signer(read_root(first), key("release").public, [key("root")], expires=NOW - timedelta(days=9))
    third = trust_edit.remove_signer(read_root(second), key_id("old"), [key("root")], expires=LATER)
    return first, second, third


def test_a_camera_that_slept_through_rotations_learns_the_roots_from_the_bundle(tmp_path: Path) -> None:
    first, second, third = three_roots()
    policy = roots_policy(first, clock=Clock(NOW, NOW, synchronised=True))
    both_refuse("UNTRUSTED_SIGNER", make_signed(tmp_path), policy, key_id("release"), "root 1")
    path = make_signed(tmp_path, roots=[third, second])
    found, steps = judged(path, policy)
    assert [root.version for root in found.roots] == [2, 3]
    assert [root.data for root in found.roots] == [second, third]
    assert steps["trust-expiry"] == "pass", "only the last root is judged"
    assert judged(path, roots_policy(first, second, third))[0].roots == ()
    both_refuse("SIGNER_REVOKED", make_signed(tmp_path, signers=("old",), roots=[second, third]), policy, key_id("old"))
    both_refuse("TRUST_EXPIRED", make_signed(tmp_path, roots=[second]), policy, "2026-11-14")


def test_roots_in_a_bundle_prove_themselves_or_it_is_refused(tmp_path: Path) -> None:
    first, second, third = three_roots()
    stranger = trust_edit.init([key("elsewhere")], [key("release").public], expires=LATER)
    foreign = trust_edit.rotate(read_root(stranger), [key("elsewhere")], expires=LATER)
    listed = members(make_signed(tmp_path))

    def with_root(name: str, data: bytes) -> bytes:
        return packed([listed[0], TarMember(f"signatures/{name}", data), *listed[1:]])

    policy = roots_policy(first)
    both_refuse("TRUST_ROTATION", with_root("3.root.json", third), policy, "root 2")
    both_refuse("TRUST_ROTATION", with_root("2.root.json", foreign), policy)
    both_refuse("TRUST_ROTATION", with_root("3.root.json", second), policy, "root 2", "root 3")
    both_refuse("TRUST_MISSING", with_root("2.root.json", b"{}"), policy)
    judged(with_root("2.root.json", b"{}"))  # with one key and no root, nobody looks at them
    both_refuse("TRUST_MISSING", with_root("2.root.json", second), Policy(trusted=None), "nobody")


CLOCKS = {
    "plausible": Clock(NOW, NOW, synchronised=True), "1970": Clock(datetime(1970, 1, 2, tzinfo=UTC), NOW, synchronised=False),
    "2045": Clock(datetime(2045, 1, 1, tzinfo=UTC), NOW, synchronised=True),
    "2099, doubtful": Clock(datetime(2099, 1, 1, tzinfo=UTC), NOW, synchronised=False),
}  # fmt: skip


@pytest.mark.parametrize(
    ("clock", "expires", "code", "step"),
    [
        ("plausible", None, None, "pass"),
        ("plausible", "2027-01-01T00:00:00Z", None, "pass"),
        ("1970", "2027-01-01T00:00:00Z", None, "warn"),
        ("1970", "2026-11-22T00:00:00Z", "CLOCK_UNTRUSTED", None),
        ("plausible", "2026-11-22T00:00:00Z", "BUNDLE_EXPIRED", None),
        ("2045", None, "TRUST_EXPIRED", None),
        ("2099, doubtful", None, "CLOCK_UNTRUSTED", None),
    ],
)
def test_expiry_is_judged_by_what_is_known_of_the_time(
    tmp_path: Path, clock: str, expires: str | None, code: str | None, step: str | None
) -> None:
    path = make_signed(tmp_path, expires=expires)
    policy = roots_policy(clock=CLOCKS[clock])
    if code is None:
        assert judged(path, policy)[1]["clock"] == step
        if step == "warn":
            both_refuse("CLOCK_UNTRUSTED", path, replace(policy, require_clock=True), "1970-01-02", "2026-11-23")
    else:
        both_refuse(code, path, policy)
    assert judged(path, roots_policy())[1]["clock"] == "skip", "signatures never look at the clock"


def test_an_expiry_in_the_last_30_days_is_a_warning(tmp_path: Path) -> None:
    near = Clock(LATER - timedelta(days=29), NOW, synchronised=True)
    assert judged(make_signed(tmp_path), roots_policy(root_json(expires=LATER), clock=near))[1]["trust-expiry"] == "warn"


@pytest.mark.parametrize(
    ("device", "compatible", "targets", "backends", "code"),
    [
        ("rk3568", ["*"], ["*"], None, None),
        ("rk3568", ["rk3566"], ["rk3566"], None, None),
        ("RK3588S", ["rk3588f"], ["rk3588"], ["rknn", "onnx"], None),
        ("", ["*"], ["*"], None, None),
        ("rk3568", ["rk3588"], ["*"], None, "DEVICE_MISMATCH"),
        ("", ["rk3588"], ["*"], None, "DEVICE_MISMATCH"),
        ("rk3568", ["*"], ["rk3588"], None, "ARTIFACT_TARGET"),
        ("rk3568", ["*"], ["*"], ["rknn"], "ARTIFACT_TARGET"),
        ("rk3568", ["*"], ["*"], [], "ARTIFACT_TARGET"),
    ],
)
def test_a_bundle_is_for_some_devices(  # noqa: PLR0917
    tmp_path: Path, device: str, compatible: list[str], targets: list[str], backends: list[str] | None, code: str | None
) -> None:
    artifacts = [{"path": "model.onnx", "backend": "onnx", "targets": targets}]
    path = make_signed(tmp_path, compatible=compatible, artifacts=artifacts)
    policy = replace(KEY_POLICY, device=device, backends=backends)
    if code is None:
        assert judged(path, policy)[1]["device"] == "pass"
    else:
        both_refuse(code, path, policy, device or "unknown device")


def test_equal_socs_are_one() -> None:
    assert soc.fits("rk3568", ["rk3566"])
    assert soc.fits("rk3588", ["RK3588S "])
    assert not soc.fits("rk3566", ["rk3588"])
    assert not soc.fits("", ["rk3588"])


@pytest.mark.parametrize(
    ("runtime", "wanted", "fits"),
    [
        ("0.1.0", ">=0.1", True),
        ("0.1.0.dev3", ">=0.0.9", True),
        ("1.0rc1", ">=0.9,<2", True),
        ("0.0.0+uninstalled", ">=0.0", True),
        ("0.1.0", ">=0.2", False),
        ("2.0", "<2", False),
    ],
)
def test_a_bundle_asks_for_a_camagent(tmp_path: Path, runtime: str, wanted: str, fits: bool) -> None:
    path = make_signed(tmp_path, requires={"camagent": wanted})
    policy = replace(KEY_POLICY, runtime=runtime)
    if fits:
        assert judged(path, policy)[1]["runtime"] == "pass"
    else:
        both_refuse("RUNTIME_TOO_OLD", path, policy, runtime, wanted)


def test_a_retired_bundle_stays_retired(tmp_path: Path) -> None:
    asked: list[str] = []

    def stored(name: str) -> int:
        asked.append(name)
        return 2

    policy = replace(KEY_POLICY, stored_index=stored)
    both_refuse("ROLLBACK_REFUSED", make_signed(tmp_path, index=1), policy, "1", "2")
    assert judged(make_signed(tmp_path, index=2), policy)[1]["rollback-index"] == "pass"
    assert set(asked) == {"blobs"}


def how_far(path: Path, policy: Policy) -> set[str]:
    checklist = Checklist()
    with path.open("rb") as source, pytest.raises(Refused):
        verify(source, policy, checklist)
    return {step.id for step in checklist.steps if step.status == "pass"}


def test_two_signers_of_two_are_needed_and_counted_once(tmp_path: Path) -> None:
    policy = roots_policy(root_json(key("release"), key("b"), threshold=2))
    both_refuse("THRESHOLD_NOT_MET", make_signed(tmp_path), policy, key_id(), "2 of 2")
    assert how_far(make_signed(tmp_path), policy) == {"container", "lengths", "signature", "signer"}
    assert how_far(make_signed(tmp_path, signers=("x",)), policy) == {"container", "lengths", "signature"}
    assert judged(make_signed(tmp_path, signers=("release", "b")), policy)[0].signers == tuple(sorted([key_id(), key_id("b")]))
    listed = members(make_signed(tmp_path))
    copy = TarMember("signatures/again.sig", listed[1].data)
    both_refuse("THRESHOLD_NOT_MET", packed([listed[0], listed[1], copy, *listed[2:]]), policy)


def test_a_signature_of_another_version_of_the_format_is_named(tmp_path: Path) -> None:
    path = make_signed(tmp_path)
    listed = members(path)
    newer = changed(listed[1].data, lambda found: found.update(mediaType="application/vnd.dev.sigstore.bundle.v0.9+json"))
    both_refuse("FORMAT_UNSUPPORTED", bundles.changed(path, listed[1].name, newer), KEY_POLICY, "v0.9", "v0.3")


def test_load_reads_what_is_wanted_and_passes_over_the_rest(tmp_path: Path) -> None:
    ballast = bytes(32 << 20)
    path = make_signed(tmp_path, extra={"ballast.bin": ballast}, golden=False)

    class Counting(io.FileIO):
        taken = 0

        def readinto(self, buffer: Any) -> int:
            count = super().readinto(buffer)
            Counting.taken += count or 0
            return count or 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(-1 if size is None else size) or b""
            Counting.taken += len(data)
            return data

    with Counting(path) as source:
        found = load(cast("BinaryIO", source), KEY_POLICY, lambda _: ["model.onnx"])
    assert found.files["model.onnx"] == blob_model()
    assert Counting.taken < 100_000
    refused("FILE_MISSING", lambda: loaded(path, names=["nothing"]), "nothing")
    data = path.read_bytes()
    at = data.index(ballast[:4096], 8192)
    other = data[: at + 5000] + b"x" + data[at + 5001 :]
    assert loaded(other).files["model.onnx"] == blob_model(), "what is not wanted is not read"
    refused("PAYLOAD_DIGEST_MISMATCH", lambda: judged(other))
    refused("PAYLOAD_DIGEST_MISMATCH", lambda: loaded(other, names=["ballast.bin"]))
    refused(
        "PAYLOAD_DIGEST_MISMATCH",
        lambda: load(io.BytesIO(other), KEY_POLICY, lambda _: ["model.onnx"], whole=True),
        "ballast.bin",
    )
    refused("BUNDLE_TRUNCATED", lambda: loaded(data[:-100_000]), "ballast.bin")


def test_memory_does_not_grow_with_the_payload(tmp_path: Path) -> None:
    peaks = []
    for size in (1 << 20, 48 << 20):
        path = make_signed(tmp_path, model=bytes(size), golden=False, file=f"{size}")
        tracemalloc.start()
        with path.open("rb") as source, (tmp_path / "kept").open("wb") as sink:
            verify(source, KEY_POLICY, Checklist(), keep=lambda _, sink=sink: sink)  # type: ignore[misc]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (tmp_path / "kept").read_bytes() == path.read_bytes()
    assert max(peaks) < 8 << 20
    assert peaks[1] - peaks[0] < 1 << 20


def test_the_largest_signatures_that_are_allowed_fit_into_memory(tmp_path: Path) -> None:
    path = make_signed(tmp_path)
    listed = members(path)
    filler = b'{"mediaType":"' + b"x" * (limits.SIGNATURE_BYTES - 20) + b'"}'
    strangers = [TarMember(f"signatures/{i}.sig", filler) for i in range(15)]
    big_roots = [TarMember(f"signatures/{i}.root.json", bytes(2**19)) for i in range(1, 16)]
    data = packed([listed[0], listed[1], *strangers, *big_roots, *listed[2:]])
    tracemalloc.start()
    judged(data)
    peak = tracemalloc.get_traced_memory()[1] - len(data)
    tracemalloc.stop()
    assert peak < 64 << 20


def test_a_link_is_a_link_whatever_else_is_wrong(tmp_path: Path) -> None:
    """A container refusal at the very end of an unsigned bundle for another device still speaks first."""
    path = make_unsigned(tmp_path, compatible=["rk3588"])
    data = packed([*members(path), TarMember("x", kind=tarfile.SYMTYPE, link="/etc/passwd")])
    both_refuse("UNSAFE_PATH", data, replace(KEY_POLICY, device="rk3568"), "symbolic link")


def test_every_known_root_is_asked_for_who_was_revoked(tmp_path: Path) -> None:
    first, second, third = three_roots()
    known: tuple[TrustRoot, ...] = tuple(read_root(data) for data in (first, second, third))
    path = make_signed(tmp_path, signers=("old",))
    both_refuse("SIGNER_REVOKED", path, Policy(trusted=trusted_keys(known), roots=known), "root 2", key_id("old"))


def test_a_payload_file_whose_line_endings_were_changed_is_told_apart_from_a_damaged_one(tmp_path: Path) -> None:
    text = b"person\nbus\n"
    with_lf = make_signed(tmp_path, extra={"labels.txt": text})
    both_refuse("LINE_ENDINGS_CHANGED", bundles.changed(with_lf, "labels.txt", text.replace(b"\n", b"\r\n")))
    both_refuse("BUNDLE_TRUNCATED", bundles.changed(with_lf, "labels.txt", text + b"cat\n"))
    with_crlf = make_signed(tmp_path, extra={"labels.txt": text.replace(b"\n", b"\r\n")})
    both_refuse("LINE_ENDINGS_CHANGED", bundles.changed(with_crlf, "labels.txt", text), KEY_POLICY, "signed CR LF, found LF")
