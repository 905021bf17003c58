"""A bundle whose model gives instance masks, or boxes and areas: made, signed, verified, installed, run, drawn, published.

The networks are made by hand and see what is planted: a red ball, a blue box, a green road.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco

from camagent import cli, golden
from camagent.backends import BackendOptions
from camagent.bodies import schemas
from camagent.config import Camera
from camagent.frame import ClassMap, Detections, InstanceMask, Scene
from camagent.golden import recall
from camagent.messages import Topics
from camagent.models import load
from camagent.pipeline import rgb_frame
from camagent.selftest.case import Case
from camagent.selftest.examine import examine
from camagent.selftest.probes import Voice, typical_bytes
from camagent.selftest.sample import LiveSample
from camagent.sinks import annotate
from firmware_pkg.errors import GoldenFailed
from firmware_pkg.manifest import Expectation
from firmware_pkg.verify import Policy
from tests.signing.support import key
from tests.support.agent import Agent, Listener, camera
from tests.support.broker import running
from tests.support.bundles import root_json, write_key
from tests.support.networks import BLUE, GREEN, GREY, LABELS, RED, Build, save, scene_network, seg_network

Capture = pytest.CaptureFixture[str]
Mask = NDArray[np.bool_]
SIZE = (300, 100)  # a letterbox of 192 x 128 leaves bars above and below
ALLOWED = Policy(trusted=None, unsigned="allowed")


def ball(shift: int = 0) -> Mask:
    drawn = cv2.ellipse(np.zeros(SIZE[::-1], np.uint8), (90 + shift, 50), (45, 32), 0, 0, 360, 1, cv2.FILLED)
    return drawn > 0


def box() -> Mask:
    mask = np.zeros(SIZE[::-1], np.bool_)
    mask[20:80, 205:260] = True
    return mask


def road() -> Mask:
    mask = np.zeros(SIZE[::-1], np.bool_)
    mask[88:] = True
    return mask


def scene(*, shift: int = 0, with_road: bool = False) -> NDArray[np.uint8]:
    """RGB."""
    pixels = np.full((*SIZE[::-1], 3), GREY, np.uint8)
    pixels[ball(shift)], pixels[box()] = RED, BLUE
    if with_road:
        pixels[road()] = GREEN
    return pixels


def write(path: Path, pixels: NDArray[np.uint8]) -> Path:
    cv2.imwrite(str(path), pixels[:, :, ::-1])
    return path


def create(folder: Path, build: Build, head: str, labels: tuple[str, ...], declared: str) -> Path:
    bundle, picture = folder / f"{head}.cambundle", write(folder / "golden.png", scene(with_road="road" in labels))
    (folder / "labels.txt").write_text("\n".join(labels))
    model = save(folder / f"{head}.onnx", build)
    code = cli.run(["bundle", "create", str(model), "--name", "blobs", "--version", "1.0.0", "--head", head,
                    "--labels", str(folder / "labels.txt"), "--scale", "0.00392157", "--golden", f"{picture}={declared}",
                    "-o", str(bundle)])  # fmt: skip
    assert code == 0
    return bundle


def seg_bundle(folder: Path, build: Build = seg_network) -> Path:
    return create(folder, build, "yolov8-seg", LABELS[:2], "ball:1,box:1")


def scene_bundle(folder: Path) -> Path:
    return create(folder, scene_network, "od-seg", LABELS, "ball:1,box:1,road")


def inferred(bundle: Path, picture: Path, capsys: Capture, *more: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert cli.run(["infer", str(bundle), str(picture), "--json", *more]) == 0
    bodies = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for body in bodies:
        jsonschema.validate(body, schemas()[body["schema"]])
    return bodies


def decoded(rle: dict[str, Any]) -> Mask:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools with numpy 2
        made = coco.decode({"size": rle["size"], "counts": rle["counts"].encode()})
    return np.asarray(made) > 0


def iou(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / (one | other).sum())


def extent(mask: Mask) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


# -- instance masks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0, 37])
def test_every_object_has_the_mask_that_it_has_in_the_picture(shift: int, tmp_path: Path, capsys: Capture) -> None:
    bundle = seg_bundle(tmp_path)
    (body,) = inferred(bundle, write(tmp_path / "street.png", scene(shift=shift)), capsys)
    found = {item["label"]: item for item in body["detections"]}
    assert set(found) == {"ball", "box"}
    for label, truth in (("ball", ball(shift)), ("box", box())):
        mask = decoded(found[label]["mask"])
        assert mask.shape == SIZE[::-1]
        assert iou(mask, truth) > 0.9, label
        assert found[label]["box"] == pytest.approx(extent(truth), abs=2.5)
        left, top, right, bottom = (round(value) for value in found[label]["box"])
        inside = np.zeros_like(mask)
        inside[max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1] = True
        assert not (mask & ~inside).any()


def test_a_bundle_with_masks_is_signed_verified_installed_and_tested(tmp_path: Path, capsys: Capture) -> None:
    bundle, root = seg_bundle(tmp_path), tmp_path / "root.json"
    root.write_bytes(root_json(key("release")))
    assert cli.run(["bundle", "sign", str(bundle), "--key", str(write_key(tmp_path))]) == 0
    assert cli.run(["bundle", "verify", str(bundle), "--trust", str(root)]) == 0
    config = tmp_path / "camagent.toml"
    config.write_text(
        f'[agent]\nid = "cam-01"\nstate_dir = "{tmp_path}/state"\ntrust = "{root}"\n[web]\nlisten = ""\n'
        + camera(tmp_path / "golden.png", Path("blobs"))
    )
    capsys.readouterr()
    assert cli.run(["bundle", "install", str(bundle), "-c", str(config), "--json"]) == 0
    installed = json.loads(capsys.readouterr().out)
    golden_step = next(step for step in installed["steps"] if step["id"] == "golden")
    assert (installed["accepted"], golden_step["status"], golden_step["measured"]["recall"]) == (True, "pass", 1.0)
    assert cli.run(["selftest", "--bundle", str(bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["verdict"] == "healthy"
    (body,) = inferred(bundle, tmp_path / "golden.png", capsys, "--trust", str(root))
    assert [sorted(item) for item in body["detections"]] == [["box", "box_norm", "class_id", "label", "mask", "score"]] * 2


def test_golden_pictures_hold_the_masks_to_account(tmp_path: Path) -> None:
    with seg_bundle(tmp_path).open("rb") as source:
        made = load(source, ALLOWED, backends=["onnx"], backend="auto", device="", golden=True)
    shares = {item.label: item.share for item in made.manifest.golden[0].expect}
    assert shares["ball"] == pytest.approx(ball().mean(), abs=0.02)
    assert golden.test(made, BackendOptions())["recall"] == 1.0
    blank = replace(made, model=save(tmp_path / "blank.onnx", partial(seg_network, coefficients=0.0)).read_bytes())
    with pytest.raises(GoldenFailed, match="does not see"):
        golden.test(blank, BackendOptions())
    older = [replace_share(item) for item in made.manifest.golden[0].expect]
    assert recall(older, made.manifest.golden[0].expect, 0.5) == 1.0  # a bundle that says nothing of masks


def replace_share(item: Expectation) -> Expectation:
    return Expectation(label=item.label, score=item.score, box_norm=item.box_norm)


@pytest.mark.parametrize(
    ("coefficients", "causes"), [(1.0, []), (0.0, ["mask-branch-degraded"]), (-1.0, ["mask-branch-degraded"])]
)
def test_the_self_test_names_a_mask_branch_that_says_nothing(coefficients: float, causes: list[str], tmp_path: Path) -> None:
    with seg_bundle(tmp_path).open("rb") as source:
        made = load(source, ALLOWED, backends=["onnx"], backend="auto", device="", golden=True)
    model = save(tmp_path / "other.onnx", partial(seg_network, coefficients=coefficients)).read_bytes()
    report = examine(Case(replace(made, model=model)))
    assert [cause.id for cause in report.causes] == causes
    assert report.verdict == ("fault" if causes else "healthy")
    if causes:
        assert report.causes[0].evidence["objects whose boxes are back"] == "100%"
        assert report.causes[0].evidence["of these with their masks"] == "0%"


def test_a_typical_message_with_masks_is_larger(tmp_path: Path) -> None:
    voice = Voice(Topics("camagent", "cam-01"), 1, lambda: 0.0, 1, lambda: 1, lambda *_: None)
    sizes = []
    for number, made in enumerate((seg_bundle, scene_bundle)):
        (folder := tmp_path / str(number)).mkdir()
        with made(folder).open("rb") as source:
            bundle = load(source, ALLOWED, backends=["onnx"], backend="auto", device="", golden=True)
        sizes.append(typical_bytes(voice, Camera(name="front", url="x"), bundle, LiveSample()))
    assert sizes[0] > sizes[1] + 8000


def test_masks_are_drawn_where_the_objects_are(tmp_path: Path) -> None:
    pixels, out = scene(), tmp_path / "seen"
    assert cli.run(["infer", str(seg_bundle(tmp_path)), str(write(tmp_path / "a.png", pixels)), "--out", str(out)]) == 0
    drawn = cv2.imread(str(out / "a.jpg"))
    assert drawn is not None
    changed = np.abs(drawn[:, :, ::-1].astype(int) - pixels).max(axis=2) > 15
    core = cv2.erode(ball().astype(np.uint8), np.ones((9, 9))) > 0
    core[:40] = False  # below the words
    assert changed[core].mean() > 0.95
    outside = np.zeros_like(core)
    outside[60:95, 140:200] = True
    assert not changed[outside].any()
    corner = np.zeros_like(core)  # within the ball's box, outside the ball
    corner[74:79, 50:55] = True
    assert not changed[corner].any()


def test_privacy_masks_stay_grey_under_what_is_drawn() -> None:
    grey = np.full((100, 200, 3), 128, np.uint8)
    everywhere = InstanceMask(np.ones((2, 2), np.float32), 0, 0, 200, 100, (0.01, 0.01), (0.0, 0.0))
    boxes = Detections(
        np.array([[0, 0, 200, 100]], np.float32), np.array([0.9], np.float32), np.array([0]), masks=(everywhere,)
    )
    areas = ClassMap(np.ones((1, 1), np.uint8), np.zeros(100, np.int64), np.zeros(200, np.int64), 0.9, 255)
    private = [((0.5, 0.4), (0.9, 0.4), (0.9, 0.9), (0.5, 0.9))]
    for outcome in (boxes, areas, Scene(boxes, areas)):
        drawn = annotate(rgb_frame(grey), outcome, LABELS, private=private)
        assert np.abs(drawn[42:88, 102:178].astype(int) - 128).max() <= 3
        assert np.abs(drawn[42:88, 20:90].astype(int) - 128).max() > 20


# -- boxes and areas ----------------------------------------------------------------------------------------------------------


def test_a_model_of_both_kinds_tells_both(tmp_path: Path, capsys: Capture) -> None:
    bundle = scene_bundle(tmp_path)
    objects, areas = inferred(bundle, tmp_path / "golden.png", capsys)
    assert (objects["schema"], areas["schema"]) == ("camagent.detections/1", "camagent.segmentation/1")
    assert sorted((item["label"], item["class_id"]) for item in objects["detections"]) == [("ball", 0), ("box", 1)]
    for item in objects["detections"]:
        assert item["box"] == pytest.approx(extent({"ball": ball(), "box": box()}[item["label"]]), abs=4)
    (found,) = areas["classes"]
    assert (found["label"], found["class_id"]) == ("road", 2)
    assert iou(decoded(found["rle"]), road()) > 0.85
    assert cli.run(["infer", str(bundle), str(tmp_path / "golden.png"), "--out", str(tmp_path / "seen")]) == 0
    said = capsys.readouterr().out
    assert "1 ball" in said
    assert "; road 1" in said
    drawn = cv2.imread(str(tmp_path / "seen" / "golden.jpg"))
    assert drawn is not None
    assert np.abs(drawn[95, 150][::-1].astype(int) - GREEN).max() > 40
    assert cli.run(["selftest", "--bundle", str(bundle)]) == 0


def test_an_agent_publishes_both(tmp_path: Path) -> None:
    section = camera(tmp_path / "golden.png", scene_bundle(tmp_path), fps=4.0)
    with running(tmp_path) as broker, Listener(broker.port) as listener, Agent(tmp_path, broker.port, section):
        objects, areas = listener.wait("front/detections", timeout_s=30), listener.wait("front/segmentation")
        assert {item["label"] for item in objects["detections"]} == {"ball", "box"}
        assert [item["label"] for item in areas["classes"]] == ["road"]
        assert objects["seq"] == 1
        listener.wait("front/health", lambda body: body["counters"]["acknowledged"] >= 2 and body["reason"] is None, 30)
