"""An older state put back, by who holds the web server or a stolen online key."""

from __future__ import annotations

import shutil

from tuf.api.metadata import Timestamp  # type: ignore[attr-defined]

from tests.support.tuf_scene import Scene


def test_rollback_to_an_old_copy_of_everything(scene: Scene) -> None:
    scene.publish("1.0.0")
    old = scene.folder / "old"
    shutil.copytree(scene.web, old)
    scene.publish("1.1.0")
    scene.takes("1.1.0")
    scene.upload("old")
    scene.refused("REPOSITORY_ROLLBACK", "seen before = 2", "offered = 1")


def test_rollback_of_the_snapshot_by_a_stolen_online_key(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.publish("1.1.0")
    scene.takes("1.1.0")
    first = scene.meta_of("1.snapshot.json", 1)

    def back(timestamp: Timestamp) -> None:
        timestamp.version, timestamp.snapshot_meta = 3, first

    scene.sign("timestamp.json", back)
    scene.refused("REPOSITORY_ROLLBACK", "(snapshot 2)", "(snapshot 1)")


def test_rollback_of_the_list_by_a_stolen_online_key(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.publish("1.1.0")
    scene.takes("1.1.0")
    scene.lead_to(scene.meta_of("1.targets.json", 1), 3, over=2)
    scene.refused("REPOSITORY_ROLLBACK", "targets.json 2", "targets.json 1")


def test_the_memory_outlives_a_damaged_download_and_every_process(scene: Scene) -> None:
    """Every command here is a process's whole life with the state directory: nothing is remembered in memory."""
    test_rollback_to_an_old_copy_of_everything(scene)
    scene.refused("REPOSITORY_ROLLBACK")
    scene.metadata("timestamp.json").write_bytes(b"{}")
    scene.refused("REPOSITORY_INVALID")
    scene.upload("old")
    scene.refused("REPOSITORY_ROLLBACK")
    scene.upload("own")
    assert scene.fetch() == 0
