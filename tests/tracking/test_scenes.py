"""Ids on scenes with exact identities: better than matching each frame with the one before, on every one (docs/tracking.md)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tracking.detector import Sighting
from tests.tracking.scenes import SCENES, Scene
from tests.tracking.scoring import Follow, Named, ours, per_frame, score
from tests.tracking.world import SHOWS, Actor, straight, truth_at


def check(scene: Scene, seed: int) -> None:
    tracked, plain = score(scene.play(seed), ours()), score(scene.play(seed), per_frame())
    assert tracked.mota > plain.mota, (tracked, plain)
    assert tracked.idf1 > plain.idf1, (tracked, plain)
    assert tracked.switches <= plain.switches, (tracked, plain)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_every_scene_is_followed_better_than_frame_by_frame(scene: Scene) -> None:
    check(scene, 0)


@pytest.mark.full(seconds=120)
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_every_scene_of_ten_seeds_is_followed_better_than_frame_by_frame(scene: Scene) -> None:
    for seed in range(1, 11):
        check(scene, seed)


def test_a_perfect_detector_and_a_tracker_that_knows_give_perfect_scores() -> None:
    """The yardstick itself: true ids score 1, and one exchange of two ids is one switch each."""

    def told(exchanged_at: float) -> Follow:
        def follow(seen: Sighting) -> Named:
            ids = [3 - one if seen.at >= exchanged_at and one < 3 else one for one in seen.truth.ids.tolist()]
            return Named(ids, seen.truth.boxes)

        return follow

    scene = SCENES[0]
    perfect = score(scene.play(0), told(float("inf")))
    assert (perfect.mota, perfect.idf1, perfect.switches, perfect.ids) == (1.0, 1.0, 0, 6)
    assert score(scene.play(0), told(3.0)).switches == 2


def test_who_is_hidden_or_outside_is_not_there() -> None:
    far, near = straight((300.0, 400.0), (0.0, 0.0)), straight((320.0, 420.0), (0.0, 0.0))
    outside = straight((-20.0, 400.0), (0.0, 0.0))
    truth = truth_at([Actor(far, (60, 150)), Actor(near, (100, 200)), Actor(outside, (60, 150))], 0.0)
    assert truth.ids.tolist() == [2]
    half = truth_at([Actor(far, (60, 150)), Actor(straight((360.0, 420.0), (0.0, 0.0)), (100, 200))], 0.0)
    assert half.ids.tolist() == [1, 2]
    assert SHOWS < half.visible[0] < 1.0
    assert np.all(half.visible[1:] == 1.0)
