"""`camagent model compare`: the arithmetic against cocoapi and by hand, the command on networks that do see something."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from camagent.cli import run
from camagent.comparing import average_precision
from camagent.comparing.agreement import agreement, iou_matrix
from camagent.comparing.tally import BINS, cosine, histogram
from camagent.frame import Detections
from tests.support.exports import Ending
from tests.support.networks import LABELS, WIDTH, detect_network, save, scene_network
from tests.support.things import INPUT, bundle, folder_of, labels, scene
from tests.support.toolkit import fake_environment
from tests.test_errors import NASTY

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nothing is installed by accident, and nothing is left behind."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("CAMAGENT_RKNN_ENV", raising=False)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    assert not (tmp_path / "cache" / "camagent").exists()
    assert "CAMAGENT_RKNN_ENV" not in os.environ
    assert not list(folder.glob("camagent*"))


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    """x1 y1 x2 y2 score class."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int64))


# -- arithmetic -------------------------------------------------------------------------------------------------------------


def test_iou_by_hand() -> None:
    first = np.array([[0, 0, 10, 10], [0, 0, 0, 0], [5, 5, 4, 4]], np.float32)
    second = np.array([[5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 10, 10]], np.float32)
    np.testing.assert_allclose(iou_matrix(first, second), np.array([[1 / 3, 0, 1], [0, 0, 0], [0, 0, 0]]))


def test_objects_are_lost_faded_or_gained() -> None:
    reference = found((0, 0, 10, 10, 0.9, 0), (20, 0, 30, 10, 0.8, 0), (40, 0, 50, 10, 0.7, 1), (60, 0, 70, 10, 0.3, 1))
    other = found(
        (0, 0, 10, 9, 0.8, 0),  # the first, a little smaller
        (20, 0, 30, 10, 0.4, 0),  # the second, below the threshold
        (40, 0, 50, 10, 0.7, 0),  # another class where the third is
        (60, 0, 70, 10, 0.9, 1),  # what the reference does not count as seen
        (1, 0, 11, 10, 0.1, 0),
    )
    agreed = agreement(reference, other, 0.5)
    assert agreed.pairs.tolist() == [[0, 0]]
    np.testing.assert_allclose(agreed.ious, [0.9])
    np.testing.assert_allclose(agreed.score_changes, [-0.1], atol=1e-6)
    assert (agreed.faded.tolist(), agreed.lost.tolist(), agreed.gained.tolist()) == ([1], [2], [2, 3])


def test_one_object_pairs_with_one_object() -> None:
    reference = found((0, 0, 10, 10, 0.9, 0), (1, 0, 11, 10, 0.9, 0))
    agreed = agreement(reference, found((1, 0, 11, 10, 0.6, 0), (0, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.8, 0)), 0.5)
    assert sorted(agreed.pairs.tolist()) == [[0, 1], [1, 2]]
    assert agreed.gained.tolist() == [0]


@pytest.mark.parametrize("seed", range(6))
def test_average_precision_is_cocoapis(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = [scattered(random, int(random.integers(0, 9))) for _ in range(7)]
    seen = [shaken(random, one) for one in truth]
    ours = average_precision.precision(truth, seen)
    theirs = cocoapi(truth, seen)
    assert ours is not None
    assert (ours.map, ours.map50) == pytest.approx(theirs, abs=1e-9)
    assert 0.05 < ours.map < 0.95, "neither everything nor nothing is right"


def test_average_precision_at_its_ends() -> None:
    truth = [found((0, 0, 10, 10, 0.9, 0)), found()]
    assert average_precision.precision([found()], [found((0, 0, 1, 1, 1, 0))]) is None
    nothing = average_precision.precision(truth, [found(), found()])
    assert nothing is not None
    assert (nothing.map, nothing.map50) == (0.0, 0.0)
    same = average_precision.precision(truth, truth)
    assert same is not None
    assert (same.map, same.map50) == (1.0, 1.0)


def scattered(random: np.random.Generator, count: int) -> Detections:
    corners = random.uniform(0, 80, (count, 2))
    boxes = np.hstack([corners, corners + random.uniform(8, 40, (count, 2))])
    return Detections(boxes.astype(np.float32), np.ones(count, np.float32), random.integers(0, 3, count))


def shaken(random: np.random.Generator, real: Detections) -> Detections:
    """Some moved, some missing, some of the wrong class, some out of nothing; scores with ties."""
    kept = random.random(len(real)) < 0.8
    boxes = real.boxes[kept] + random.normal(0, 2, (int(kept.sum()), 4)).astype(np.float32)
    ids = np.where(random.random(len(boxes)) < 0.9, real.class_ids[kept], 2)
    extra = scattered(random, 3)
    scores = np.round(random.random(len(boxes) + 3), 1).astype(np.float32)
    return Detections(np.vstack([boxes, extra.boxes]), scores, np.concatenate([ids, extra.class_ids]))


def cocoapi(truth: list[Detections], seen: list[Detections]) -> tuple[float, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def rows(pictures: list[Detections]) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        for image, one in enumerate(pictures, 1):
            for box, score, class_id in zip(one.boxes.astype(np.float64), one.scores, one.class_ids, strict=True):
                x1, y1, x2, y2 = box.tolist()
                sides = [x1, y1, x2 - x1, y2 - y1]
                made.append({"image_id": image, "category_id": int(class_id) + 1, "bbox": sides, "score": float(score),
                             "area": max(0.0, sides[2]) * max(0.0, sides[3]), "iscrowd": 0, "id": len(made) + 1})  # fmt: skip
        return made

    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO()
        ground.dataset = {
            "images": [{"id": index} for index in range(1, len(truth) + 1)], "annotations": rows(truth),
            "categories": [{"id": index} for index in (1, 2, 3)],
        }  # fmt: skip
        ground.createIndex()
        evaluation = COCOeval(ground, ground.loadRes(rows(seen)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def test_cosine_and_histogram() -> None:
    a = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    assert cosine(a, a * 7) == pytest.approx(1.0)
    assert cosine(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 0.0
    assert cosine(a, -a) == pytest.approx(-1.0)
    assert cosine(a * 0, a * 0) == 1.0
    assert cosine(a, a * 0) == 0.0
    assert np.isnan(cosine(a, a * np.nan))
    counts = histogram(np.array([0.0, 0.04, 0.96, 1.0, 1.3, -0.2]))
    assert (len(counts), counts[0], counts[-1], counts.sum()) == (BINS, 3, 3, 6)


# -- the command ------------------------------------------------------------------------------------------------------------


def compared(capsys: Capture, *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    code = run(["model", "compare", *map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    document: dict[str, Any] = json.loads(out)
    return document


def refused(capsys: Capture, code: int, *arguments: object) -> str:
    capsys.readouterr()
    assert run(["model", "compare", *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    return err


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "pictures")


def eight_bits(path: Path, made: Path) -> Path:
    """An ONNX model whose outputs have 8 bits, one scale per tensor: as quantisers write them."""
    model = onnx.load(str(path))
    for output in model.graph.output:
        name = output.name
        for node in model.graph.node:
            node.output[:] = [f"{one} float" if one == name else one for one in node.output]
            node.input[:] = [f"{one} float" if one == name else one for one in node.input]
        high = 255.0 if name != "classes" else 1.0
        model.graph.initializer.append(numpy_helper.from_array(np.array(high / 255, np.float32), f"{name} scale"))
        model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.uint8), f"{name} zero"))
        scaled = [f"{name} scale", f"{name} zero"]
        model.graph.node.append(helper.make_node("QuantizeLinear", [f"{name} float", *scaled], [f"{name} bytes"]))
        model.graph.node.append(helper.make_node("DequantizeLinear", [f"{name} bytes", *scaled], [name]))
    onnx.save(model, str(made))
    return made


def test_a_model_against_itself(tmp_path: Path, pictures: Path, capsys: Capture) -> None:
    own = bundle(tmp_path)
    document = compared(capsys, own, own, tmp_path / "float.onnx", "--images", pictures)
    assert (document["schema"], document["pictures"], document["objects"]) == ("camagent.compare/1", 4, 8)
    assert [one["name"] for one in document["models"]] == ["float.cambundle #2", "float.onnx"]
    for one in document["models"]:
        assert (one["map"], one["seen"], one["lost"], one["faded"], one["gained"]) == (1.0, 8, 0, 0, 0)
        assert (one["iou"], one["score_change"]) == (1.0, 0.0)
        assert one["outputs"][0]["cosine"] == 1.0
        assert one["scores"]["histogram"] == document["reference_scores"]["histogram"]
    assert document["warnings"] == []


def test_boxes_and_scores_in_one_8_bit_tensor_collapse_and_split_ones_do_not(
    tmp_path: Path, pictures: Path, capsys: Capture
) -> None:
    own = bundle(tmp_path)
    one = eight_bits(tmp_path / "float.onnx", tmp_path / "one.onnx")
    apart = eight_bits(save(tmp_path / "apart.float", split_network), tmp_path / "apart.onnx")
    document = compared(capsys, own, one, apart, "--images", pictures, "--min-score", "0.4")
    lost, kept = document["models"]
    assert (lost["eight_bits"], kept["eight_bits"]) == (True, True)
    assert lost["scores"]["max"] in (0.0, 1.0), "255 / 255 is one step: a score is 0 or 1"
    assert (kept["lost"], kept["faded"], kept["gained"], kept["seen"]) == (0, 0, 0, 8)
    assert (kept["map50"], kept["outputs"][0]["cosine"]) == (1.0, None), "two outputs cannot be held against one"
    (warning,) = document["warnings"]
    assert warning.startswith("one.onnx has boxes and scores in one 8-bit tensor")
    assert "model optimize --passes split-heads" in warning


def split_network(graph: Ending) -> None:
    detect_network(graph, split=True)


def test_scores_that_are_gone_are_told(tmp_path: Path, pictures: Path, capsys: Capture) -> None:
    own = bundle(tmp_path)
    model = onnx.load(str(tmp_path / "float.onnx"))
    weak = np.ones((1, 6, 1), np.float32)
    weak[:, 4:] = 0.3
    model.graph.initializer.append(numpy_helper.from_array(weak, "weak"))
    for node in model.graph.node:
        node.output[:] = ["strong" if one == "cells" else one for one in node.output]
    model.graph.node.append(helper.make_node("Mul", ["strong", "weak"], ["cells"]))
    onnx.save(model, str(tmp_path / "weak.onnx"))
    document = compared(capsys, own, eight_bits(tmp_path / "weak.onnx", tmp_path / "gone.onnx"), "--images", pictures)
    (gone,) = document["models"]
    assert (gone["lost"], gone["seen"], gone["map"]) == (8, 0, 0.0)
    assert any("best score is 0.000 where the float model's is 0.9" in one for one in document["warnings"])


def test_through_the_simulator_side_by_side(tmp_path: Path, pictures: Path, capsys: Capture) -> None:
    own = bundle(tmp_path)
    env = fake_environment(tmp_path / "env")
    sims = []
    for algorithm in ("normal", "kl_divergence"):
        sims.append(tmp_path / f"{algorithm}.rknnsim")
        assert run(["model", "convert", str(own), "--target", "rk3568", "--quantize", "int8", "--calibration", str(pictures),
                    "--algorithm", algorithm, "--environment", str(env), "-o", str(tmp_path / "m.rknn"),
                    "--simulator", str(sims[-1])]) == 0  # fmt: skip
    both = bundle(tmp_path, str(sims[0]), name="both")
    subjects = (own, *sims, both, f"{both}:onnx", "--images", pictures, "--environment", env)
    document = compared(capsys, *subjects)
    assert [one["name"] for one in document["models"]] == [
        "normal.rknnsim",
        "kl_divergence.rknnsim",
        "both.cambundle",
        "both.cambundle:onnx",
    ]
    assert [one["eight_bits"] for one in document["models"]] == [True, True, True, False]
    assert all(one["outputs"][0]["levels"] <= 256 for one in document["models"][:3])
    assert document["models"][0]["outputs"][0]["cosine"] > 0.999
    assert len(document["warnings"]) == 3
    err = refused(capsys, 2, own, tmp_path / "m.rknn", "--images", pictures)
    assert "can only be run by an NPU" in err
    assert "--simulator" in err
    (tmp_path / "broken.onnx").write_bytes(b"nothing good")
    broken = (own, sims[0], tmp_path / "broken.onnx", "--images", pictures, "--environment", env)
    assert "error[MANIFEST_INVALID]" in refused(capsys, 1, *broken), "and the simulator that was open is gone"


def test_maps_and_classes(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    for index in range(2):
        picture = scene()
        picture[:, : 60 + 20 * index] = (20, 200, 20)
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    (tmp_path / "l.txt").write_text("\n".join(LABELS) + "\n")
    areas = save(tmp_path / "scene.onnx", scene_network)
    both = ("--head", "od-seg", "--labels", tmp_path / "l.txt", *INPUT)
    (one,) = compared(capsys, areas, areas, "--images", folder, *both)["models"]
    assert (one["same_pixels"], one["mean_iou"], one["map"]) == (1.0, 1.0, 1.0)
    classes = save(tmp_path / "classes.onnx", colours)
    other = save(tmp_path / "other.onnx", backwards)
    told = ("--head", "classify", "--labels", labels(tmp_path), *INPUT)
    same, different = compared(capsys, classes, classes, other, "--images", folder, *told)["models"]
    assert (same["same_first"], different["same_first"]) == (1.0, 0.0)


def colours(graph: Ending) -> None:
    """Two classes: red, blue; by the picture's mean."""
    graph.add("GlobalAveragePool", ["images"], "mean")
    graph.add("Flatten", ["mean"], "flat")
    graph.add("Gemm", ["flat", graph.constant("w", np.array([[9, 0], [0, 0], [0, 5]], np.float32))], "logits")
    graph.outputs[graph.add("Softmax", ["logits"], "classes", axis=1)] = (1, 2)


def backwards(graph: Ending) -> None:
    colours(graph)
    graph.outputs.clear()
    graph.outputs[graph.add("Sub", [graph.constant("one", np.float32(1)), "classes"], "others")] = (1, 2)


def test_without_a_head_only_tensors_are_compared(tmp_path: Path, pictures: Path, capsys: Capture) -> None:
    model = save(tmp_path / "m.onnx", detect_network)
    document = compared(capsys, model, eight_bits(model, tmp_path / "e.onnx"), "--images", pictures, *INPUT)
    (one,) = document["models"]
    assert (document["objects"], one["map"], one["scores"]["max"]) == (None, None, 0.0)
    assert 0.99 < one["outputs"][0]["cosine"] <= 1.0
    assert run(["model", "compare", str(model), str(model), "--images", str(pictures), *INPUT]) == 0
    out, _ = capsys.readouterr()
    assert "only tensors were compared" in out
    assert "mAP" not in out


def test_the_table_the_page_and_the_picture(tmp_path: Path, pictures: Path, capsys: Capture) -> None:
    own = bundle(tmp_path)
    one = eight_bits(tmp_path / "float.onnx", tmp_path / "one.onnx")
    page, png = tmp_path / "c.html", tmp_path / "c.png"
    assert run(["model", "compare", str(own), str(one), "--images", str(pictures), "--html", str(page), "--png", str(png)]) == 0
    out, _ = capsys.readouterr()
    assert "against float.cambundle on 4 pictures, 8 objects from 0.4 on" in out
    assert re.search(r"^mAP, IoU 0\.50\s+[01]\.\d{4}", out, re.MULTILINE)
    assert "look at  one.onnx has boxes and scores in one 8-bit tensor" in out
    drawn = cv2.imread(str(png))
    assert drawn is not None
    assert drawn.shape[1] == 1200
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 20, "bars, lines and letters"
    html = page.read_text("utf-8")
    assert "default-src 'none'" in html
    assert "<script" not in html
    assert "data:image/png;base64," in html
    assert "camagent model compare" in html


def test_what_was_lost_is_shown_with_corners(tmp_path: Path, pictures: Path) -> None:
    own = bundle(tmp_path)
    blind = onnx.load(str(tmp_path / "float.onnx"))
    blue = next(one for one in blind.graph.initializer if one.name == "blue w")
    blue.CopyFrom(numpy_helper.from_array(np.zeros((1, 3, 1, 1), np.float32), "blue w"))
    onnx.save(blind, str(tmp_path / "blind.onnx"))
    png = tmp_path / "c.png"
    assert run(["model", "compare", str(own), str(tmp_path / "blind.onnx"), "--images", str(pictures), "--png", str(png)]) == 0
    drawn: NDArray[Any] = np.asarray(cv2.imread(str(png)))
    shown = drawn[56 + 200 + 36 :, 24 : 24 + 564]
    scale = 564 / WIDTH
    x1, y1, x2, _ = (round(value * scale) for value in (110, 40, 160, 100))  # the first picture's box
    near = shown[y1 - 3 : y1 + 4, x1 : x1 + 12].reshape(-1, 3)
    assert near.min(axis=1).max() > 230, "white corners around the box that is not seen any more"
    middle = shown[y1 - 3 : y1 + 4, (x1 + x2) // 2 - 3 : (x1 + x2) // 2 + 3].reshape(-1, 3)
    assert middle.min(axis=1).max() < 200, "and no box"


def test_wrong_usage(tmp_path: Path, pictures: Path, capsys: Capture) -> None:
    own = bundle(tmp_path)
    model = tmp_path / "float.onnx"
    images = ("--images", pictures)
    assert "is not there" in refused(capsys, 2, own, tmp_path / "nothing.onnx", *images)
    assert "labels" in refused(capsys, 2, model, model, *images, "--head", "yolov8")
    assert "--scale" in refused(capsys, 2, own, model, *images, "--scale", "2")
    (tmp_path / "empty").mkdir()
    assert "has no pictures" in refused(capsys, 2, own, model, "--images", tmp_path / "empty")
    assert "has no model for this machine" in refused(capsys, 1, f"{own}:rknn-sim", model, *images)
    (tmp_path / "broken.onnx").write_bytes(b"nothing good")
    assert "error[MANIFEST_INVALID]" in refused(capsys, 1, own, tmp_path / "broken.onnx", *images)
    other = save(tmp_path / "scene.onnx", scene_network)
    assert "error[HEAD_MISMATCH]" in refused(capsys, 1, own, other, *images)


@pytest.mark.parametrize(
    "text", ["cam[/]", "\x1b[2J\x1b[31mred", "a\nerror[FAKE]: b", "<script>alert(1)</script>", "\u202egnp.exe"]
)
def test_names_of_strangers_do_no_harm(tmp_path: Path, pictures: Path, capsys: Capture, text: str) -> None:
    assert text in NASTY
    model = save(tmp_path / f"{text.replace('/', '-')}.onnx", detect_network)
    strange = pictures / f"{text.replace('/', '-')}.png"
    (pictures / "3.png").rename(strange)
    page = tmp_path / "p.html"
    told = (
        "--head",
        "yolov8",
        "--labels",
        str(labels(tmp_path)),
        *INPUT,
        "--html",
        str(page),
        "--png",
        str(tmp_path / "p.png"),
    )
    assert (
        run(["model", "compare", str(model), str(eight_bits(model, tmp_path / "e.onnx")), "--images", str(pictures), *told])
        == 0
    )
    said = "".join(capsys.readouterr())
    assert all(line.isprintable() for line in said.splitlines())
    assert "\nerror[FAKE]" not in said
    assert "<script" not in page.read_text("utf-8")
