"""The laboratory is held to account too: its models see what is there, its faults hide it."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from tests.lab import draw, health, inject
from tests.lab.referee import harmless
from tests.lab.rig import look, open_steps, scene_frame
from tests.lab.scene import Scene

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {"case", "sample", "report", "examine"}  # values, and the entry point for the benchmark


def test_the_laboratory_and_the_benchmark_import_nothing_of_the_self_test_but_values_and_its_entry_point() -> None:
    files = [*(ROOT / "tests" / "lab").rglob("*.py"), *(ROOT / "bench").glob("selftest*.py")]
    assert len(files) > 10
    for path in files:
        for name in _imported(path):
            if name.startswith("camagent.selftest"):
                module = name.split(".")[2]
                assert module in ALLOWED, f"{path.name} imports {name}"
                assert module != "examine" or path.parent.name == "bench", f"{path.name} runs the self-test"


def test_the_self_test_imports_nothing_of_the_laboratory() -> None:
    for path in (ROOT / "camagent").rglob("*.py"):
        assert not any(name.startswith(("tests", "bench")) for name in _imported(path)), path.name


# facts of the world outside, which neither side can have learnt from the other
_IMAGENET = {0.485, 0.456, 0.406, 0.229, 0.224, 0.225, 123.675, 116.28, 103.53, 58.395, 57.12, 57.375}
_BYTES = {128.0, 255.0, 256.0}
_LIMITED_RANGE = {219.0}  # ITU-R BT.601-7
_PYRAMID = {(8.0, 16.0, 32.0, 64.0)}  # strides that every head of this kind has
_WORLD = _IMAGENET | _BYTES | _LIMITED_RANGE


def test_laboratory_and_self_test_share_no_constant() -> None:
    """Numbers of three digits and more, and tuples of numbers: what is shared by accident has fewer."""
    here = _constants((ROOT / "tests" / "lab").rglob("*.py"))
    there = _constants((ROOT / "camagent" / "selftest").glob("*.py"))
    assert here & _IMAGENET  # it does find numbers
    assert there & _IMAGENET
    shared = {value for value in here & there if not (value in _WORLD or value in _PYRAMID)}
    assert {value for value in shared if not (isinstance(value, tuple) and {*value} <= _WORLD)} == set()


@pytest.mark.parametrize("family", draw.FAMILIES)
def test_a_healthy_rig_sees_what_was_drawn(family: str) -> None:
    for seed in range(6):
        rig = draw.healthy(seed, family)
        assert harmless(rig)
        for scene, seen in zip(rig.scenes, rig.truth_of_scenes, strict=True):
            labels = {item.label for item in seen}
            assert labels & set(rig.right.manifest.label_names)
            if family == "yolov8":
                assert labels == _known(scene, rig.right.manifest.label_names)


# decoded by the agent, and not yet the healthy case of a drawn rig: their own tests, and test_lab_exports, hold them
NOT_DRAWN = {
    "nanodet", "nanodet-plus", "od-seg", "ppyoloe", "ppyoloe-rknn", "rtdetr", "ssd", "ssd-raw", "yolop", "yolov10",
    "yolov10-rknn", "yolov5-rknn", "yolov5-seg", "yolov5-seg-rknn", "yolov6", "yolov6-rknn", "yolov7", "yolov7-end2end",
    "yolov7-rknn", "yolov8-rknn", "yolov8-seg", "yolov8-seg-rknn", "yolox",
}  # fmt: skip


def test_every_head_of_the_agent_is_drawn() -> None:
    from camagent.heads import HEADS

    assert set(draw.FAMILIES) | NOT_DRAWN == set(HEADS)
    assert not set(draw.FAMILIES) & NOT_DRAWN


def test_the_same_seed_gives_the_same_case() -> None:
    fault = inject.FAULTS["channel-order-swapped/manifest"]
    one, two = (inject.faulty(fault, 3).case() for _ in range(2))
    assert one.bundle.manifest == two.bundle.manifest
    assert one.bundle.model == two.bundle.model
    assert one.bundle.golden == two.bundle.golden
    assert one.camera == two.camera


def test_every_fault_finds_a_rig_and_a_case_and_most_do_harm() -> None:
    hurt = 0
    for name, fault in inject.FAULTS.items():
        rig = inject.faulty(fault, 0)
        assert rig.case().bundle.manifest.golden, name
        hurt += not harmless(rig)
    assert hurt > 0.8 * len(inject.FAULTS)


@pytest.mark.parametrize("kind", health.KINDS)
def test_every_kind_of_health_is_healthy_as_the_referee_sees_it(kind: str) -> None:
    for seed in range(2):
        rig = health.rig_of(kind, seed)
        assert harmless(rig)
        assert rig.case().bundle.manifest.golden


def test_background_answers_depend_on_the_picture_and_on_nothing_else() -> None:
    rig = draw.healthy(1, "yolov8")
    steps = open_steps(rig.right, None, rig.options)
    frames = [scene_frame(scene) for scene in (rig.scenes[0], rig.held_back[0])]
    tensors = [steps.prepare(frame).tensor.copy() for frame in frames]
    first, again, other = (np.asarray(steps.backend.infer(tensor)[0]) for tensor in (tensors[0], tensors[0], tensors[1]))
    assert (first == again).all()
    assert (first != other).mean() > 0.3
    assert look(rig.right, None, frames[:1]) == look(rig.right, None, frames[:1])


def _known(scene: Scene, labels: tuple[str, ...]) -> set[str]:
    return {blob.label for blob in scene.blobs} & set(labels)


def _constants(paths: Iterable[Path]) -> set[float | tuple[float, ...]]:
    """Every number with three significant digits or more, and every tuple of numbers with two that are not 0 or 1."""
    found: set[float | tuple[float, ...]] = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Constant(value=int() | float() as value) if _digits(value) >= 3:
                    found.add(float(value))
                case ast.Tuple(elts=elements):
                    values = [element.value for element in elements if isinstance(element, ast.Constant)]
                    numbers = [float(value) for value in values if isinstance(value, int | float)]
                    if len(numbers) == len(elements) and len({*numbers} - {0.0, 1.0}) >= 2:
                        found.add(tuple(numbers))
    return found


def _digits(value: float) -> int:
    return len(f"{abs(value):.12f}".replace(".", "").strip("0"))


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names
