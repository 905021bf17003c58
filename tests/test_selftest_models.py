"""Bundles of real networks with a wrong contract, through the public commands: made by `create`, named by `selftest`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from camagent.cli import run
from tests.support.data import shared
from tests.support.exports import EXPORTS, export

FASTESTDET = {
    "head": "fastestdet",
    "labels": "coco80",
    "color": "bgr",
    "scale": "0.00392157",
    "resize": "stretch",
    "min-score": "0.65",
}
ULTRAFACE = {
    "head": "ultraface",
    "labels": "face",
    "mean": "127,127,127",
    "std": "128,128,128",
    "resize": "stretch",
    "min-score": "0.7",
}
SINET = {"head": "semantic", "labels": "background\nperson", "color": "bgr", "mean": "102.890434,111.25247,126.91212",
         "std": "16047.8946,16019.4519,16920.704775", "resize": "stretch"}  # fmt: skip


@dataclass(frozen=True)
class Network:
    file: str
    options: dict[str, str]
    golden: tuple[tuple[str, str], ...]


NETWORKS = {
    "fastestdet": Network("FastestDet.onnx", FASTESTDET, (("bus.jpg", "person:2,bus"), ("coco_4.jpg", "dog"))),
    "ultraface": Network("ultraface-RFB-320.onnx", ULTRAFACE, (("faces.jpg", "face:30"),)),
    "sinet": Network("SINet.onnx", SINET, (("portrait.jpg", "person"),)),
}


@dataclass(frozen=True)
class Case:
    """`expect`: ids, in order; the first set must contain the first. Empty: healthy."""

    network: str
    wrong: dict[str, str] = field(default_factory=dict)
    export: str = ""
    expect: tuple[str, ...] = ()
    verified: bool | None = True

    def __str__(self) -> str:
        return "-".join([self.network, self.export, *(f"{key}={value}" for key, value in self.wrong.items())])


CASES = [
    Case("fastestdet"),
    Case("fastestdet", {"color": "rgb"}, expect=("channel-order-swapped",)),
    Case("fastestdet", {"scale": "1"}, expect=("scale-missing",)),
    Case("fastestdet", {"scale": "0.0000153"}, expect=("scale-doubled",)),
    Case("fastestdet", {"resize": "letterbox"}, expect=("letterbox-vs-stretch",)),
    Case("fastestdet", {"min-score": "0.95"}, expect=("threshold-too-high",)),
    Case("fastestdet", {"mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"}, expect=("mean-std-wrong",)),
    Case("fastestdet", {"scale": "1", "color": "rgb"}, expect=("scale-missing", "channel-order-swapped")),
    Case("ultraface"),
    Case("ultraface", {"mean": "0,0,0", "std": "1,1,1"}, expect=("mean-std-wrong",)),
    Case("ultraface", {"scale": "0.00392157"}, expect=("mean-std-wrong",)),
    Case("ultraface", {"min-score": "0.9995"}, expect=("threshold-too-high",)),
    Case("sinet"),
    Case("fastestdet", export="no softmax", expect=("sigmoid-missing",)),
    Case("fastestdet", export="objectness as logits", expect=("sigmoid-missing",)),
    Case("fastestdet", export="objectness squashed twice", expect=("sigmoid-twice",)),
    Case("fastestdet", export="scores are zero", expect=("ep-specific-bug",), verified=None),
    Case("fastestdet", export="constant", expect=("constant-output",), verified=None),
    Case("fastestdet", export="not a number", expect=("fp16-overflow",), verified=None),
    Case("fastestdet", export="one int8 scale", expect=("int8-concat-collapse",), verified=None),
    Case("ultraface", export="logits", expect=("sigmoid-missing",)),
    Case("ultraface", export="boxes in pixels", expect=("box-scale-wrong",)),
    Case("ultraface", export="boxes as centre and size", expect=("box-format-wrong",)),
    Case("sinet", export="background wins", expect=("seg-all-background",), verified=None),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_cause_is_named(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = create(case, tmp_path)
    capsys.readouterr()
    code = run(["selftest", "--bundle", str(bundle), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert (code, report["verdict"]) == ((1, "fault") if case.expect else (0, "healthy")), report["causes"]
    assert report["inferences"] <= (120 if case.expect else 25)
    named = [{cause["id"], *cause["alternatives"]} for cause in report["causes"]]
    assert all(len(ids) <= 3 for ids in named)
    for index, wanted in enumerate(case.expect):
        assert wanted in named[index], report["causes"]
        if case.verified is not None:
            assert report["causes"][index]["fix_verified"] is case.verified


@pytest.mark.parametrize(
    "case",
    [
        Case("fastestdet", {"scale": "1", "color": "rgb", "resize": "letterbox"}),
        Case("ultraface", export="boxes as centre and size"),
    ],
    ids=str,
)
def test_apply_writes_a_bundle_that_sees(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = create(case, tmp_path)
    before = bundle.read_bytes()
    assert run(["selftest", "--bundle", str(bundle), "--apply", "--json"]) == 1
    made = next(tmp_path.glob("*.post1.cambundle"))
    assert bundle.read_bytes() == before
    assert made.name in capsys.readouterr().err
    assert run(["selftest", "--bundle", str(made), "--json"]) == 0
    fixed = json.loads(capsys.readouterr().out)
    assert fixed["verdict"] == "healthy"
    assert run(["selftest", "--bundle", str(bundle), "--apply"]) == 2, "what is there is not overwritten"


def test_create_says_under_which_settings_the_model_sees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create(Case("fastestdet", {"scale": "1", "color": "rgb"}), tmp_path)
    out = capsys.readouterr().out
    assert "The model sees it with: --color bgr --scale 0.0039215" in out
    create(Case("fastestdet", {"scale": "1"}), tmp_path, "--json")
    advice = json.loads(capsys.readouterr().out)["advice"]
    assert (advice["causes"], advice["verified"]) == (["scale-missing"], True)


def test_a_bundle_without_golden_pictures_is_told_what_it_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = create(Case("fastestdet"), tmp_path, golden=False)
    capsys.readouterr()
    assert run(["selftest", "--bundle", str(bundle), "--json"]) == 0
    steps: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["steps"]
    golden = next(step for step in steps if step["id"] == "golden-picture")
    assert golden["status"] == "skip"
    assert "--golden" in golden["measured"]["advice"]


def create(case: Case, folder: Path, *more: str, golden: bool = True) -> Path:
    network = NETWORKS[case.network]
    model = shared(f"models/{network.file}")
    if case.export:
        model = export(model, EXPORTS[case.network][case.export], folder / "model.onnx")
    options = {**network.options, **case.wrong}
    if options["labels"] != "coco80":
        (folder / "labels.txt").write_text(options["labels"] + "\n")
        options["labels"] = str(folder / "labels.txt")
    output = folder / "made.cambundle"
    words = ["bundle", "create", str(model), "--name", "made", "--version", "1.0", "-o", str(output), *more]
    for key, value in options.items():
        words += [f"--{key}", value]
    for picture, declared in network.golden if golden else ():
        words += ["--golden", f"{shared(f'images/{picture}')}={declared}"]
    run(words)
    return output
