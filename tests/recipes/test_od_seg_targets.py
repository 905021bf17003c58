from __future__ import annotations

import numpy as np
import pytest

from camagent.frame import TensorSpec
from camagent.heads import HeadContext, Sighting, build_head
from recipes.od_seg import shape
from recipes.od_seg.augment import augment, mirrored, moved, recoloured
from recipes.od_seg.classes import BACKGROUND, ROADS
from recipes.od_seg.scene import Sample, scene
from recipes.od_seg.targets import as_outputs, encode, fitted
from tests.recipes.support import SMALL, plain


def decoded(sample: Sample) -> Sighting:
    """What the agent's head reads from the outputs that a perfect network would give."""
    outputs = as_outputs(encode(sample), ROADS)
    specs = [TensorSpec(name, output.shape, "float32") for name, output in zip(("boxes", "masks"), outputs, strict=True)]
    head = build_head("od-seg", HeadContext(shape.WIDTH, shape.HEIGHT, len(ROADS.labels), specs, {}))
    found = head.decode(list(outputs), 0.5)
    assert isinstance(found, Sighting)
    return found


@pytest.mark.parametrize("seed", range(12))
def test_the_agents_head_reads_the_targets_back(seed: int) -> None:
    sample = fitted(scene(seed, (640, 360)))
    found = decoded(sample)
    candidates = found.candidates
    missed = 0
    for box, class_id in zip(sample.boxes, sample.class_ids, strict=True):
        near = np.abs(candidates.boxes - box).max(axis=1) < 0.5
        missed += not (near & (candidates.class_ids == class_id)).any()
    assert missed <= max(1, len(sample.boxes) // 10), "a cell has two slots: now and then three things share one"
    assert np.array_equal(found.areas.ids, sample.areas)


def test_a_crowded_cell_gives_each_of_two_objects_a_slot() -> None:
    boxes = np.array([(100, 100, 112, 130), (101, 101, 111, 128)], np.float32)
    areas = np.full(shape.MAP, BACKGROUND, np.uint8)
    sample = Sample(np.zeros((shape.HEIGHT, shape.WIDTH, 3), np.uint8), boxes, np.array([3, 0]), areas)
    assert {3, 0} <= set(decoded(sample).candidates.class_ids.tolist())


@pytest.mark.parametrize("size", [(1280, 720), (640, 480), (300, 400)])
def test_fitting_letterboxes_picture_boxes_and_areas_alike(size: tuple[int, int]) -> None:
    made = fitted(plain(size))
    assert made.picture.shape == (shape.HEIGHT, shape.WIDTH, 3)
    scale = min(shape.WIDTH / size[0], shape.HEIGHT / size[1])
    assert made.boxes[0, 2] - made.boxes[0, 0] == pytest.approx(80 * scale, abs=1)
    x1, y1, x2, y2 = (round(float(value)) for value in made.boxes[0])
    inside = made.picture[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3]
    assert (inside == (200, 30, 30)).all(), "the red block lies where its box says"
    share = (made.areas == 6).sum() * shape.MASK_STRIDE**2 / (size[0] * size[1] * scale**2)
    assert share == pytest.approx(0.5, abs=0.02)


def test_a_mirrored_mirror_is_the_original() -> None:
    sample = plain()
    twice = mirrored(mirrored(sample))
    assert np.array_equal(twice.boxes, sample.boxes)
    assert np.array_equal(twice.picture, sample.picture)
    assert mirrored(sample).boxes[0].tolist() == [SMALL[0] - 120, 20, SMALL[0] - 40, 60]


@pytest.mark.parametrize(("zoom", "shift"), [(1.0, (0.1, 0.0)), (1.3, (0.0, 0.05)), (0.7, (-0.1, 0.1))])
def test_boxes_go_where_their_pixels_go(zoom: float, shift: tuple[float, float]) -> None:
    made = moved(plain(), zoom, shift)
    red = (made.picture[..., 0] > 150) & (made.picture[..., 1] < 60)
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    assert made.boxes[0] == pytest.approx((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), abs=1.1)


def test_what_leaves_the_picture_loses_its_box() -> None:
    made = moved(plain(), 1.0, (0.3, 0.0))
    assert made.class_ids.tolist() == [0, 3]
    made = moved(plain(), 1.0, (0.37, 0.0))
    assert made.class_ids.tolist() == [0]
    assert (made.areas[:, :100] == BACKGROUND).all()


def test_colours_change_and_nothing_else() -> None:
    sample = plain()
    made = recoloured(sample, np.random.default_rng(1))
    assert not np.array_equal(made.picture, sample.picture)
    assert made.boxes is sample.boxes
    assert made.areas is sample.areas


def test_the_same_seed_augments_alike() -> None:
    one, other = (augment(plain(), np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one.picture, other.picture)
    assert np.array_equal(one.boxes, other.boxes)
