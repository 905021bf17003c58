from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Targets  # type: ignore[attr-defined]
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet

from signing import limits, trust, trust_edit
from signing.errors import CodedError
from signing.key_files import SoftwareKey
from signing.trust import TrustRoot, chain, read_root, trusted_keys
from signing.trust_edit import _tuf_key
from signing.verify import verify_signatures
from tests.signing.support import LATER, NOW, changed, key, refused, sig

R1, R2, R3 = (key(name) for name in ("root1", "root2", "root3"))
ALICE, BOB, CAROL = (key(name) for name in ("alice", "bob", "carol"))
EDDY = key("eddy", "Ed25519")


def first(threshold: int = 1, root_keys: tuple[SoftwareKey, ...] = (R1,), root_threshold: int = 1) -> TrustRoot:
    signers = [ALICE.public, BOB.public]
    return read_root(trust_edit.init(root_keys, signers, expires=LATER, threshold=threshold, root_threshold=root_threshold))


def resigned(root: TrustRoot, change: Callable[[dict[str, Any]], object], *by: SoftwareKey) -> bytes:
    """A root whose signed part was changed, signed again by these keys over whatever tuf makes of it."""
    data = changed(root.data, lambda document: change(document["signed"]))
    metadata = Metadata[Root].from_bytes(data)
    metadata.signatures.clear()
    for signer in by:
        metadata.sign(trust_edit.ForTuf(signer), append=True)
    return metadata.to_bytes()


def test_a_first_root() -> None:
    root = first(threshold=2)
    assert (root.version, root.threshold, root.root_threshold, root.expires, root.name) == (1, 2, 1, LATER, "1.root.json")
    assert root.signers == (ALICE.public, BOB.public)
    signed = json.loads(root.data)["signed"]
    assert set(signed["roles"]) == {"root", "targets", "snapshot", "timestamp"}
    assert set(signed["keys"]) == {ALICE.public.id, BOB.public.id, R1.public.id}
    assert signed["roles"]["snapshot"]["keyids"] == []


def test_tufs_own_client_accepts_our_chain_and_refuses_broken_ones() -> None:
    one = first()
    two = read_root(trust_edit.rotate(one, [R1, R2], expires=LATER, root_keys=[R2.public]))
    three = read_root(trust_edit.add_signer(two, CAROL.public, [R2], expires=LATER))
    client = TrustedMetadataSet(one.data, envelope_type())
    client.update_root(two.data)
    assert client.update_root(three.data).version == 3
    with pytest.raises(UnsignedMetadataError):
        TrustedMetadataSet(one.data, envelope_type()).update_root(resigned(two, lambda _: None, R2))


def envelope_type() -> Any:
    from tuf.ngclient.config import EnvelopeType

    return EnvelopeType.METADATA


def test_root_keys_may_be_ed25519_and_signers_may_not() -> None:
    assert first(root_keys=(R1, EDDY), root_threshold=2).root_keys == (R1.public, EDDY.public)
    for bad in (EDDY.public, key("x", "P-384").public):
        refused("KEY_TYPE_UNSUPPORTED", partial(trust_edit.init, [R1], [bad], expires=LATER), bad.kind, "P-256")
    refused("KEY_TYPE_UNSUPPORTED", lambda: trust_edit.init([key("x", "P-384")], [ALICE.public], expires=LATER), "P-384")


def test_thresholds_that_nobody_could_reach() -> None:
    for threshold in (0, 3):
        refused("THRESHOLD_NOT_MET", partial(first, threshold=threshold), "2", str(threshold))
    refused("THRESHOLD_NOT_MET", lambda: trust_edit.init([R1], [ALICE.public] * 2, expires=LATER, threshold=2), "1", "2")
    refused(
        "THRESHOLD_NOT_MET", lambda: trust_edit.remove_signer(first(threshold=2), BOB.public.id, [R1], expires=LATER), "1", "2"
    )


BROKEN: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "a role less": ("TRUST_MISSING", lambda d: d["roles"].pop("snapshot")),
    "a role more": ("TRUST_MISSING", lambda d: d["roles"].update(extra={"keyids": [], "threshold": 1})),
    "threshold 0": ("TRUST_MISSING", lambda d: d["roles"]["targets"].update(threshold=0)),
    "threshold 3 of 2": ("TRUST_MISSING", lambda d: d["roles"]["targets"].update(threshold=3)),
    "no signers": ("TRUST_MISSING", lambda d: d["roles"]["targets"].update(keyids=[])),
    "key id twice": ("TRUST_MISSING", lambda d: d["roles"]["targets"].update(keyids=d["roles"]["targets"]["keyids"] * 2)),
    "key id that is not there": ("TRUST_MISSING", lambda d: d["roles"]["targets"].update(keyids=["0" * 64])),
    "one key under two ids": (
        "TRUST_MISSING",
        lambda d: (d["keys"].update({"f" * 64: d["keys"][ALICE.public.id]}), d["roles"]["targets"]["keyids"].append("f" * 64)),
    ),
    "version 0": ("TRUST_MISSING", lambda d: d.update(version=0)),
    "version is text": ("TRUST_MISSING", lambda d: d.update(version="1")),
    "no expiry": ("TRUST_MISSING", lambda d: d.pop("expires")),
    "expiry without zone": ("TRUST_MISSING", lambda d: d.update(expires="2027-01-01")),
    "later specification": ("TRUST_MISSING", lambda d: d.update(spec_version="2.0.0")),
    "other type": ("TRUST_MISSING", lambda d: d.update(_type="targets")),
    "unknown key type": ("TRUST_MISSING", lambda d: d["keys"][ALICE.public.id].update(keytype="quantum")),
    "deprecated key type": ("KEY_TYPE_UNSUPPORTED", lambda d: d["keys"][ALICE.public.id].update(keytype="ecdsa-sha2-nistp256")),
    "other scheme": ("KEY_TYPE_UNSUPPORTED", lambda d: d["keys"][ALICE.public.id].update(scheme="ecdsa-sha2-nistp384")),
    "key is no PEM": ("KEY_TYPE_UNSUPPORTED", lambda d: d["keys"][ALICE.public.id]["keyval"].update(public="x")),
    "key is P-384": (
        "KEY_TYPE_UNSUPPORTED",
        lambda d: d["keys"][ALICE.public.id]["keyval"].update(public=key("x", "P-384").public.pem.decode()),
    ),
    "bad ed25519": (
        "KEY_TYPE_UNSUPPORTED",
        lambda d: d["keys"].update(e={"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "zz"}}),
    ),
    "a float": ("TRUST_MISSING", lambda d: d.update(camagent=0.5)),
    "too many keys": (
        "SIZE_LIMIT",
        lambda d: d["keys"].update({str(n): _tuf_key(ALICE.public).to_dict() for n in range(limits.ROOT_KEYS)}),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_roots_that_are_none(name: str) -> None:
    code, change = BROKEN[name]
    data = changed(first().data, lambda document: change(document["signed"]))
    refused(code, lambda: read_root(data))
    refused(code, lambda: trust.read_draft(data))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"x", b'{"signed":{},"signatures":[]}', b"[" * 90_000, b'{"a":1,"a":1}'])
def test_files_that_are_no_root(data: bytes) -> None:
    refused("TRUST_MISSING", lambda: read_root(data))


def test_deeply_nested_roots_and_over_long_ones() -> None:
    nested = changed(first().data, lambda d: None).replace(b'"signed":{', b'"signed":{"x":' + b"[" * 900 + b"]" * 900 + b",")
    with pytest.raises(CodedError):
        read_root(nested)
    refused("SIZE_LIMIT", lambda: read_root(b" " * (limits.ROOT_BYTES + 1)), f"{limits.ROOT_BYTES} bytes")


def test_a_root_is_signed_by_a_threshold_of_its_own_keys() -> None:
    both = first(root_keys=(R1, R2), root_threshold=2)
    for by in ((), (R1,), (R1, R3), (ALICE, BOB)):
        lacking = resigned(both, lambda _: None, *by)
        error = refused("TRUST_ROTATION", partial(read_root, lacking), R1.public.id, R2.public.id)
        assert "/2 keys" in error.evidence["found"]
    assert read_root(resigned(both, lambda _: None, R2, R1)).version == 1
    tampered = changed(both.data, lambda d: d["signed"].update(version=7))
    refused("TRUST_ROTATION", lambda: read_root(tampered), "0/2")


def long_chain(length: int) -> list[TrustRoot]:
    """Every root has a root key of its own and expired before the test began, but for the last."""
    roots = [first()]
    for number in range(2, length + 1):
        keys = [key(f"root{number - 1}"), key(f"root{number}")]
        expires = LATER if number == length else NOW - timedelta(days=1000)
        roots.append(read_root(trust_edit.rotate(roots[-1], keys, expires=expires, root_keys=[keys[1].public])))
    return roots


def test_a_camera_that_slept_learns_every_step_in_any_order() -> None:
    roots = long_chain(5)
    assert chain(roots[:2], roots[::-1]) == tuple(roots[2:])
    assert chain(roots, roots) == ()
    assert chain([], roots, first=True) == tuple(roots)
    assert chain(roots[2:4], [roots[4], roots[0]]) == (roots[4],)  # an older one than any known: no effect


def test_steps_of_exactly_one() -> None:
    roots = long_chain(4)
    refused("TRUST_ROTATION", lambda: chain(roots[:1], roots[2:]), "root 1", "root 3", "root 2")


def test_the_first_root_is_a_persons_business() -> None:
    refused("TRUST_MISSING", lambda: chain([], [first()]), "no trust root")
    refused("TRUST_MISSING", lambda: chain([], [], first=True))
    refused("TRUST_MISSING", lambda: trusted_keys([]))
    refused("SIZE_LIMIT", lambda: chain([], [first()] * (limits.ROOT_CHAIN + 1)), "1024")


def test_a_next_root_needs_the_last_ones_keys_and_its_own() -> None:
    one = first(root_keys=(R1, R2), root_threshold=2)
    draft = trust_edit.successor(one, [R1], expires=LATER, root_keys=[R3.public], root_threshold=1, draft=True)
    refused("TRUST_ROTATION", lambda: trust_edit.check_successor(one, draft), R2.public.id)
    with_old = trust_edit.cosign(draft, one, R2)
    refused("TRUST_ROTATION", lambda: trust_edit.check_successor(one, with_old), R3.public.id)
    complete = trust_edit.cosign(with_old, one, R3)
    assert chain([one], [read_root(complete)])[0].root_keys == (R3.public,)
    assert trust_edit.cosign(trust_edit.cosign(draft, one, R2), one, R2).count(b'"sig"') == 2
    forged = read_root(resigned(trust.read_draft(complete), lambda _: None, R3))
    refused("TRUST_ROTATION", lambda: chain([one], [forged]), "0/2", R1.public.id)


def test_two_roots_with_one_number() -> None:
    one = first()
    two = read_root(trust_edit.rotate(one, [R1], expires=LATER))
    other = read_root(trust_edit.add_signer(one, CAROL.public, [R1], expires=LATER))
    refused("TRUST_ROTATION", lambda: chain([one, two], [other]), "in force", "offered")
    refused("TRUST_ROTATION", lambda: chain([one], [two, other]))
    reformatted = read_root(json.dumps(json.loads(two.data)).encode())
    assert chain([one, two], [reformatted]) == ()


def test_revocation() -> None:
    one = first()
    two = read_root(trust_edit.remove_signer(one, ALICE.public.id, [R1], expires=LATER))
    three = read_root(trust_edit.add_signer(two, CAROL.public, [R1], expires=LATER))
    now = trusted_keys([three, one, two])
    assert (now.keys, dict(now.revoked), now.source) == ((BOB.public, CAROL.public), {ALICE.public.id: 1}, "root 3")
    verify_signatures({"a": sig(CAROL)}, now)
    refused("SIGNER_REVOKED", lambda: verify_signatures({"a": sig(ALICE)}, now), "root 1", "root 3")
    refused("UNTRUSTED_SIGNER", lambda: verify_signatures({"a": sig(R1)}, now), R1.public.id)
    four = read_root(trust_edit.add_signer(three, ALICE.public, [R1], expires=LATER))
    verify_signatures({"a": sig(ALICE)}, trusted_keys([one, two, three, four]))


def test_changes_that_are_none() -> None:
    one = first()
    refused("TRUST_ROTATION", lambda: trust_edit.add_signer(one, BOB.public, [R1], expires=LATER), BOB.public.id, "root 1")
    refused("UNTRUSTED_SIGNER", lambda: trust_edit.remove_signer(one, "0" * 64, [R1], expires=LATER), "0" * 64, BOB.public.id)
    refused("UNTRUSTED_SIGNER", lambda: trust_edit.rotate(one, [ALICE], expires=LATER), ALICE.public.id, R1.public.id)
    refused("UNTRUSTED_SIGNER", lambda: trust_edit.cosign(trust_edit.rotate(one, [R1], expires=LATER), one, ALICE))
    refused("TRUST_ROTATION", lambda: trust_edit.check_successor(one, one.data), "root 1")
    refused("TRUST_ROTATION", lambda: trust_edit.cosign(one.data, one, R1), "root 1")


def test_thresholds_change_with_the_root() -> None:
    two = read_root(trust_edit.add_signer(first(), CAROL.public, [R1], expires=LATER, threshold=2))
    assert (two.threshold, len(two.signers)) == (2, 3)
    refused("THRESHOLD_NOT_MET", lambda: verify_signatures({"a": sig(ALICE)}, trusted_keys([first(), two])), "2 of 3")


def test_roots_of_other_tools_have_other_key_ids() -> None:
    def rename(signed: dict[str, Any]) -> None:
        signed["keys"] = {f"other-{key_id}": value for key_id, value in signed["keys"].items()}
        for role in signed["roles"].values():
            role["keyids"] = [f"other-{key_id}" for key_id in role["keyids"]]

    data = changed(first().data, lambda document: rename(document["signed"]))
    metadata = Metadata[Root].from_bytes(data)
    metadata.signatures.clear()
    signature = trust_edit.ForTuf(R1).sign(metadata.signed_bytes)
    signature.keyid = f"other-{R1.public.id}"
    metadata.signatures[signature.keyid] = signature
    root = read_root(metadata.to_bytes())
    assert trusted_keys([root]).find(ALICE.public.id) == ALICE.public
    assert Targets.type in metadata.signed.roles


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_json_in_any_place_gives_a_refusal_or_a_root(data: st.DataObject) -> None:
    document = json.loads(first().data)
    signed = document["signed"]
    places = [(document, name) for name in document] + [(signed, name) for name in signed]
    places += [(part, name) for part in (*signed["roles"].values(), *signed["keys"].values()) for name in part]
    places += [(entry, name) for entry in document["signatures"] for name in entry]
    place, name = data.draw(st.sampled_from(places))
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    place[name] = data.draw(leaf | st.lists(leaf, max_size=2) | st.dictionaries(st.text(max_size=5), leaf, max_size=2))
    try:
        read_root(json.dumps(document).encode())
    except CodedError as exc:
        exc.render()


def test_every_single_bit_of_what_a_root_says_counts() -> None:
    good = json.dumps(json.loads(first().data), separators=(",", ":")).encode()
    reference = read_root(good).metadata.signed_bytes
    for index in range(0, len(good), 3):
        bad = bytearray(good)
        bad[index] ^= 1 << index % 8
        try:
            found = read_root(bytes(bad))
        except CodedError:
            continue
        assert found.metadata.signed_bytes == reference  # only something outside of the signed part: a further signature's name


def test_a_root_may_name_who_renews_a_repository() -> None:
    plain = read_root(trust_edit.init([key("root")], [key().public], expires=LATER))
    assert (plain.online_keys, plain.has_repository) == ((), False)
    online = key("online", "Ed25519").public
    second = read_root(trust_edit.rotate(plain, [key("root")], expires=LATER, online_keys=[online]))
    assert (second.online_keys, second.has_repository) == ((online,), True)
    third = read_root(trust_edit.rotate(second, [key("root")], expires=LATER, online_keys=[key("other").public]))
    assert third.online_keys == (key("other").public,)
    assert online.id not in third.metadata.signed.keys
    assert trust.chain([plain], [second, third]) == (second, third)
    kept = read_root(trust_edit.add_signer(third, key("bob").public, [key("root")], expires=LATER))
    assert kept.has_repository, "what is not given stays as it is"


def test_a_key_that_is_no_online_key_of_ours_is_refused() -> None:
    refused(
        "KEY_TYPE_UNSUPPORTED",
        lambda: trust_edit.init([key("root")], [key().public], expires=LATER, online_keys=[key("large", "P-384").public]),
    )
