"""A camera that takes bundles from a TUF repository: which, and what it keeps of what it was shown."""

from __future__ import annotations

import json

from camagent import cli
from firmware_pkg.publish import Changes, Signers
from firmware_pkg.publish import publish as make
from tests.signing.support import key
from tests.support.tuf_scene import Scene, at, first_root


def test_the_newest_version_that_fits_is_taken(scene: Scene) -> None:
    scene.publish("1.0.0", "1.9.0", "1.10.0")
    scene.publish("3.0.0", compatible=["rk3588"])
    scene.takes("1.10.0")
    assert scene.fetch() == 0
    assert "nothing newer" in scene.capsys.readouterr().out
    scene.publish("1.11.0", compatible=["rk3566", "rk3588"])
    scene.takes("1.11.0")
    assert len([path for path in scene.server.asked if path.startswith("targets/")]) == 2


def test_an_older_listing_never_takes_a_camera_back(scene: Scene) -> None:
    scene.publish("1.0.0", "2.0.0")
    scene.takes("2.0.0")
    root = first_root()
    make(
        scene.folder / "own",
        [root],
        Changes(remove=[("blobs", "2.0.0")]),
        Signers([key("release")], [key("online")]),
        clock=at(),
    )
    scene.upload()
    assert scene.fetch("--json") == 0
    result = json.loads(scene.capsys.readouterr().out)["result"]
    assert (result["outcome"], result["version"], result["listed"]) == ("unchanged", "2.0.0", "1.0.0")


def test_what_is_kept_of_the_metadata(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.takes("1.0.0")
    (folder,) = (scene.folder / "state/tuf").iterdir()
    assert {path.name for path in folder.iterdir()} == {"root.json", "timestamp.json", "snapshot.json", "targets.json"}
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert scene.fetch() == 0
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before, (
        "flash is written where something changed"
    )


def test_nothing_of_that_name_or_for_this_device(scene: Scene) -> None:
    scene.publish("1.0.0", compatible=["rk3588"])
    scene.refused("NOT_LISTED", "1.0.0 for rk3588", "rk3568")
    words = ["bundle", "install", "../x", "--repository", scene.server.url, "-c", scene.config]
    assert cli.run(words) == 2
