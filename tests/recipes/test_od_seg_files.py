from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from camagent.errors import InputError
from recipes.od_seg import labelme, pictures, voc
from recipes.od_seg.classes import BACKGROUND, ROADS, Classes, read_classes, write_classes
from recipes.od_seg.scene import Sample, scene
from tests.recipes.support import SMALL, plain


def write(folder: Path, sample: Sample, name: str = "a") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pictures.write(folder / f"{name}.png", sample.picture)
    path = folder / f"{name}.json"
    path.write_bytes(labelme.document(sample, ROADS, f"{name}.png"))
    return path


def drawing(shapes: list[dict[str, Any]], path: Path) -> labelme.Drawing:
    path.write_text(json.dumps({"version": "4.5.0", "shapes": shapes, "imagePath": "a.png", "imageData": None}))
    return labelme.read(path)


def shape(label: str, points: list[tuple[float, float]], kind: str, **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "flags": {}, **more}


@pytest.mark.parametrize("seed", [0, 3, 9])
def test_labelme_gives_back_what_was_drawn(seed: int, tmp_path: Path) -> None:
    sample = scene(seed, SMALL)
    found = labelme.labels_of(labelme.read(write(tmp_path, sample)), ROADS, sample.size, "a.json")
    assert np.array_equal(found.boxes, sample.boxes)
    assert np.array_equal(found.class_ids, sample.class_ids)
    assert np.array_equal(found.areas, sample.areas)


def test_labelmes_form_is_kept(tmp_path: Path) -> None:
    whole = json.loads(write(tmp_path, plain()).read_bytes())
    assert set(whole) == {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}
    assert {one["shape_type"] for one in whole["shapes"]} == {"rectangle", "mask"}
    road = next(one for one in whole["shapes"] if one["label"] == "road")
    (left, top), (right, bottom) = road["points"]
    mask = cv2.imdecode(np.frombuffer(base64.b64decode(road["mask"]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask is not None
    assert mask.shape == (bottom - top + 1, right - left + 1)
    assert set(np.unique(mask)) == {1}


def test_polygons_circles_and_turned_rectangles_are_read(tmp_path: Path) -> None:
    shapes = [
        shape("car", [(50, 40), (10, 20)], "rectangle"), shape("sign", [(100, 50), (110, 50)], "circle"),
        shape("person", [(5, 5), (9, 5), (7, 30)], "polygon"),
        shape("road", [(0, 90), (319, 90), (319, 179), (0, 179)], "polygon"),
        shape("sidewalk", [(0, 90), (40, 90), (40, 179), (0, 179)], "polygon"),
        shape("bus", [(-9, 170), (400, 300)], "rectangle"),
    ]  # fmt: skip
    found = labelme.labels_of(drawing(shapes, tmp_path / "a.json"), ROADS, SMALL, "a.json")
    assert found.boxes[0].tolist() == [10, 20, 50, 40]
    assert found.boxes[1] == pytest.approx((90, 40, 110, 60), abs=0.2)
    assert found.boxes[2].tolist() == [5, 5, 9, 30]
    assert found.boxes[3].tolist() == [0, 170, 320, 180], "cut at the picture's edge"
    assert (found.areas[120, 10], found.areas[120, 100], found.areas[10, 10]) == (7, 6, BACKGROUND)


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (shape("lorry", [(0, 0), (9, 9)], "rectangle"), "lorry"), (shape("car", [(0, 0)], "point"), "no inside"),
        (shape("car", [(0, 0), (9, 9)], "polygon"), "no inside"), (shape("car", [(0, 0), (9, 9)], "line"), "no inside"),
        (shape("road", [(0, 0), (9, 9)], "mask", mask="AAAA"), "mask"), (shape("road", [(0, 0), (9, 9)], "mask"), "mask"),
    ],
)  # fmt: skip
def test_what_has_no_inside_or_no_class_is_refused(bad: dict[str, Any], word: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=word):
        labelme.labels_of(drawing([bad], tmp_path / "a.json"), ROADS, SMALL, "a.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"shapes": 3, "imagePath": ""}', "\xff", '{"shapes": [{"label": 1}]}'])
def test_what_is_no_labelme_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="Labelme"):
        labelme.read(tmp_path / "a.json")


def test_voc_says_the_same_as_labelme(tmp_path: Path) -> None:
    samples = {"train": [scene(1, SMALL), scene(2, SMALL)], "val": [scene(5, SMALL)]}
    write_classes(tmp_path / "in", ROADS)
    for split, some in samples.items():
        for index, one in enumerate(some):
            write(tmp_path / "in" / split, one, f"{index}")
    told: list[tuple[int, int]] = []
    assert voc.convert(tmp_path / "in", tmp_path / "out", lambda done, of: told.append((done, of))) == 3
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert voc.names(tmp_path / "out", "train") == ["train-0", "1"], "a name that two splits have gets the split's"
    for split, some in samples.items():
        for real, read in zip(some, voc.samples(tmp_path / "out", split), strict=True):
            assert np.array_equal(read.picture, real.picture)
            assert np.array_equal(read.boxes, real.boxes)
            assert np.array_equal(read.class_ids, real.class_ids)
            assert np.array_equal(read.areas, real.areas)


def test_a_folder_without_splits_is_all_training(tmp_path: Path) -> None:
    write_classes(tmp_path / "in", ROADS)
    write(tmp_path / "in", plain())
    voc.convert(tmp_path / "in", tmp_path / "out")
    assert voc.names(tmp_path / "out", "train") == ["a"]
    with pytest.raises(InputError, match="val"):
        voc.names(tmp_path / "out", "val")


def test_voc_is_never_written_over_something(tmp_path: Path) -> None:
    write_classes(tmp_path / "in", ROADS)
    write(tmp_path / "in", plain())
    voc.convert(tmp_path / "in", tmp_path / "out")
    with pytest.raises(InputError, match="not empty"):
        voc.convert(tmp_path / "in", tmp_path / "out")


def test_classes_are_read_as_they_were_written(tmp_path: Path) -> None:
    classes = Classes(("a", "b"), ("c",))
    write_classes(tmp_path, classes)
    assert read_classes(tmp_path) == classes
    assert (tmp_path / "labels.txt").read_text() == "a\nb\nc\n"


@pytest.mark.parametrize(
    "text", ["boxes = [", 'boxes = ["a", "a"]', "boxes = []", "boxes = 3", 'boxes = ["a"]\nmore = 1', "\xff"]
)
def test_a_list_of_classes_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="dataset"):
        read_classes(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_classes(tmp_path / "nowhere")
