"""Newer roots that the repository shows: which count, which do not, and from when."""

from __future__ import annotations

import json

from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]
from tuf.api.serialization.json import JSONSerializer

from firmware_pkg.publish import Changes, Signers
from firmware_pkg.publish import publish as make
from signing import trust_edit
from signing.trust_edit import ForTuf
from tests.signing.support import key
from tests.support.bundles import make_signed
from tests.support.tuf_scene import Scene, at, first_root, second_root
from tests.support.tuf_world import days


def trusted(scene: Scene) -> list[str]:
    return sorted(path.name for path in (scene.folder / "state/trust").glob("*.root.json"))


def test_a_new_root_is_learned_from_the_repository_and_decides_at_once(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.takes("1.0.0")
    make(
        scene.folder / "own", [first_root(), second_root()],
        Changes([make_signed(scene.folder, version="1.1.0", signers=("new release",))], remove=[("blobs", "1.0.0")]),
        Signers([key("new release")], [key("online")]), clock=at(),
    )  # fmt: skip
    scene.upload()
    scene.takes("1.1.0")
    assert trusted(scene) == ["1.root.json", "2.root.json"]
    events = [json.loads(line) for line in next((scene.folder / "state").rglob("audit*")).read_text().splitlines()]
    assert any(event.get("event") == "trust" and "tuf" in str(event.get("origin")) for event in events), events


def test_a_root_that_does_not_follow_is_no_root(scene: Scene) -> None:
    scene.publish("1.0.0")
    for signer, code in (("thief", "TRUST_ROTATION"), ("root", "TRUST_ROTATION")):
        root = Metadata[Root].from_bytes(first_root().data)
        root.signed.version = 2 if signer == "thief" else 3
        root.signatures.clear()
        root.sign(ForTuf(key(signer)))
        scene.metadata("2.root.json").write_bytes(root.to_bytes(JSONSerializer()))
        scene.refused(code)
        assert trusted(scene) == ["1.root.json"]


def test_a_new_root_that_has_expired_is_not_taken(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.metadata("2.root.json").write_bytes(trust_edit.rotate(first_root(), [key("root")], expires=days(-1)))
    scene.refused("TRUST_EXPIRED")
    assert trusted(scene) == ["1.root.json"]


def test_roots_are_learned_also_where_the_rest_is_refused(scene: Scene) -> None:
    """Revocation must not wait for a repository that is in order again."""
    scene.publish("1.0.0")
    scene.takes("1.0.0")
    scene.metadata("2.root.json").write_bytes(second_root().data)
    scene.capsys.readouterr()
    assert scene.fetch() == 1
    assert "error[REPOSITORY_SIGNATURE]" in scene.capsys.readouterr().err, "the list is signed by the revoked key alone"
    assert trusted(scene) == ["1.root.json", "2.root.json"]


def test_a_camera_without_a_root_takes_none_from_the_network(scene: Scene) -> None:
    scene.publish("1.0.0")
    (scene.folder / "root.json").unlink()
    scene.capsys.readouterr()
    assert scene.fetch() == 1
    said = scene.capsys.readouterr().err
    assert "error[TRUST_MISSING]" in said
    assert "on the device: 'camagent trust install root.json'" in said
    assert scene.server.asked == []
