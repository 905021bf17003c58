"""Signatures by the wrong keys, and a list that vouches for what no camera would run."""

from __future__ import annotations

import pytest
from tuf.api.metadata import Targets  # type: ignore[attr-defined]

from signing import trust_edit
from signing.trust import read_root
from tests.signing.support import key
from tests.support.bundles import in_a_year, make_signed
from tests.support.tuf_scene import Scene


def test_a_repository_of_somebody_else(scene: Scene) -> None:
    other = read_root(
        trust_edit.init([key("thief")], [key("release").public], expires=in_a_year(), online_keys=[key("thief2").public])
    )
    scene.publish("1.0.0", root=other, online="thief2")
    scene.refused("REPOSITORY_SIGNATURE", key("online").public.id[:16], key("thief2").public.id[:16])


@pytest.mark.parametrize(
    ("name", "signer"), [("timestamp.json", "release"), ("1.snapshot.json", "release"), ("1.targets.json", "online")]
)
def test_keys_of_another_role_do_not_count(scene: Scene, name: str, signer: str) -> None:
    scene.publish("1.0.0")
    scene.sign(name, lambda signed: None, signer=signer)
    if "timestamp" not in name:  # so that the digests fit
        snapshot = scene.meta_of("1.targets.json", 1)
        if "targets" in name:
            scene.sign("1.snapshot.json", lambda signed: signed.meta.update({"targets.json": snapshot}))
        new = scene.meta_of("1.snapshot.json", 1)
        scene.sign("timestamp.json", lambda signed: setattr(signed, "snapshot_meta", new))
    scene.refused("REPOSITORY_SIGNATURE", key(signer).public.id[:16])


def test_a_root_that_is_not_made_for_a_repository(scene: Scene) -> None:
    scene.publish("1.0.0")
    plain = trust_edit.init([key("root")], [key("release").public], expires=in_a_year())
    (scene.folder / "root.json").write_bytes(plain)
    scene.refused("REPOSITORY_KEYS", "no key for timestamp", "--online-key")


def test_a_bundle_that_the_list_vouches_for_is_verified_all_the_same(scene: Scene) -> None:
    """Whoever has stolen both the list's key and the online key still cannot make a camera run what nobody signed."""
    scene.publish("1.0.0")
    stranger = make_signed(scene.folder, version="9.0.0", signers=("stranger",)).read_bytes()

    def list_it(targets: Targets) -> None:
        (listed,) = targets.targets.values()
        new = type(listed).from_data("blobs/blobs-9.0.0.cambundle", stranger, ["sha256"])
        new.unrecognized_fields = {"custom": {**(listed.custom or {}), "version": "9.0.0", "digest": "0" * 64}}
        targets.targets, targets.version = {new.path: new}, 2
        (scene.web / f"targets/blobs/{new.hashes['sha256']}.blobs-9.0.0.cambundle").write_bytes(stranger)

    scene.sign("1.targets.json", list_it, signer="release")
    scene.lead_to(scene.meta_of("2.targets.json", 2), 2, over=1)
    scene.refused("UNTRUSTED_SIGNER")
