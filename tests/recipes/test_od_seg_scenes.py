from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from recipes.od_seg.classes import BACKGROUND, ROADS
from recipes.od_seg.scene import Sample, moving_scene, scene
from recipes.od_seg.seeds import SPLITS, drawn, seeds_of
from recipes.od_seg.view import View
from recipes.od_seg.world import LIGHTS, random_world
from tests.recipes.support import SMALL

ROAD = ROADS.labels.index("road")


def same(one: Sample, other: Sample) -> bool:
    fields = ("picture", "boxes", "class_ids", "areas")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in fields)


def test_the_same_seed_draws_the_same_scene_and_another_another() -> None:
    assert same(scene(7, SMALL), scene(7, SMALL))
    assert not same(scene(7, SMALL), scene(8, SMALL))


def test_labels_lie_in_the_picture_and_are_of_the_listed_classes() -> None:
    seen: Counter[int] = Counter()
    for seed in range(30):
        one = scene(seed, SMALL)
        width, height = one.size
        assert one.picture.shape == (height, width, 3)
        assert one.areas.shape == (height, width)
        assert (one.boxes[:, :2] >= 0).all()
        assert (one.boxes[:, 2:] <= (width, height)).all()
        assert (one.boxes[:, 2:] > one.boxes[:, :2]).all()
        assert set(np.unique(one.areas)) <= {ROAD, ROAD + 1, BACKGROUND}
        assert (one.areas == ROAD).any()
        seen.update(one.class_ids.tolist())
    assert set(seen) == set(range(len(ROADS.boxes))), "thirty streets show every kind of thing"


def test_light_changes_the_picture_and_not_what_is_on_it() -> None:
    by_light = {light: scene(3, SMALL, light=light) for light in LIGHTS}
    day = by_light["day"]
    for one in by_light.values():
        assert np.array_equal(one.boxes, day.boxes)
        assert np.array_equal(one.areas, day.areas)
    infrared = by_light["infrared"].picture.astype(int)
    assert (infrared == infrared[..., :1]).all(), "an infrared camera has no colour"
    assert by_light["night"].picture.mean() < day.picture.mean()


def test_weather_lens_and_tilt_vary() -> None:
    worlds = [random_world(seed) for seed in range(80)]
    looks = [world.look for world in worlds]
    assert {look.light for look in looks} == set(LIGHTS)
    for some in ([look.rain > 0 for look in looks], [look.blur > 0 for look in looks], [w.road.curvature != 0 for w in worlds],
                 [w.road.crossing is not None for w in worlds], [w.road.walk_left > 0 for w in worlds]):  # fmt: skip
        assert 0 < sum(some) < len(some)
    assert max(abs(world.view.roll) for world in worlds) > 0.04
    assert len({world.road.lanes for world in worlds}) > 2


def test_a_street_moves_and_stays_the_same_street() -> None:
    frames = list(moving_scene(SPLITS["demo"], 3, 2.0, SMALL))
    assert len(frames) == 3
    assert not np.array_equal(frames[0].boxes, frames[1].boxes)
    still = frames[0].areas == frames[1].areas
    assert still.mean() > 0.8
    assert same(frames[2], list(moving_scene(SPLITS["demo"], 3, 2.0, SMALL))[2])


def test_splits_share_no_seed() -> None:
    ranges = [set(seeds_of(split, 100, seed)) for split in SPLITS for seed in (0, 1)]
    assert len(set().union(*ranges)) == sum(map(len, ranges))


def test_processes_change_nothing() -> None:
    assert list(drawn(range(5), abs, 2)) == list(drawn(range(5), abs, 1)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("roll", [0.0, 0.1])
def test_a_point_on_the_optical_axis_is_seen_in_the_middle(roll: float) -> None:
    view = View(height=5.0, pitch=np.arctan(0.2), roll=roll, focal=0.8)
    (seen,) = view.project(np.array([(0.0, 0.0, 25.0)]), (640, 360))
    assert seen == pytest.approx((320, 180))
    nearer = view.project(np.array([(0.0, 0.0, 10.0)]), (640, 360))[0]
    assert nearer[1] > 180
    assert len(view.project(np.array([(0.0, 5.0, -3.0), (1.0, 5.0, -3.0), (1.0, 6.0, -3.0)]), (640, 360))) == 0
