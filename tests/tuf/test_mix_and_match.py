"""Files of different states."""

from __future__ import annotations

import shutil

import pytest

from tests.support.tuf_scene import Scene


@pytest.mark.parametrize("name", ["snapshot", "targets"])
def test_files_of_different_states(scene: Scene, name: str) -> None:
    scene.publish("1.0.0")
    scene.publish("1.1.0")
    shutil.copy(scene.metadata(f"1.{name}.json"), scene.metadata(f"2.{name}.json"))
    scene.refused("REPOSITORY_MIXED", f"the repository's {name} does not belong", "version 2")


def test_a_list_of_the_right_number_and_another_content(scene: Scene) -> None:
    """By a stolen release key alone: the snapshot names the digest of the list."""
    scene.publish("1.0.0")
    scene.sign("1.targets.json", lambda targets: targets.unrecognized_fields.update(more=1), signer="release")
    scene.refused("REPOSITORY_MIXED")
