"""Whether a model sees what it should: by what the float model saw, and by what a person says is on the picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from camagent import golden
from camagent.backends import BackendOptions
from camagent.golden import recall
from camagent.models import UsableBundle, load
from firmware_pkg.errors import GoldenFailed
from firmware_pkg.manifest import Expectation
from firmware_pkg.verify import Policy
from tests.support.bundles import blob_document, blob_picture, make_unsigned, parsed

ALLOWED = Policy(trusted=None, unsigned="allowed")
RED = {"label": "red", "score": 1.0, "box_norm": [0, 0, 0.25, 0.25]}
BLUE = {"label": "blue", "score": 1.0, "box_norm": [0, 0.25, 0.25, 0.5]}


def bundle(folder: Path, **entry: Any) -> UsableBundle:
    """The blob model, whose golden picture shows a red and a blue blob, with another golden entry."""
    with make_unsigned(folder).open("rb") as source:
        made = load(source, ALLOWED, backends=["onnx"], backend="auto", device="", golden=True)
    files = {"model.onnx": made.model, **made.golden}
    document = {"image": "golden/blobs.png", "declared": {}, "expect": [RED, BLUE], **entry}
    return replace(made, manifest=parsed(blob_document(files, golden=[document])))


def test_what_is_expected_and_declared_passes(tmp_path: Path) -> None:
    measured = golden.test(bundle(tmp_path, declared={"red": 1, "blue": 1}), BackendOptions())
    assert measured == {"pictures": 1, "recall": 1.0, "seen": "1 red, 1 blue"}


@pytest.mark.parametrize(
    "expect",
    [
        [RED, {**BLUE, "box_norm": [0.5, 0.5, 0.75, 0.75]}],
        [RED, {**BLUE, "label": "red", "box_norm": BLUE["box_norm"]}],
        [RED, BLUE, {**RED, "box_norm": [0.25, 0, 0.5, 0.25]}],
    ],
    ids=["elsewhere", "another label", "one more"],
)
def test_less_than_the_float_model_saw_fails_though_the_declared_is_seen(tmp_path: Path, expect: list[Any]) -> None:
    with pytest.raises(GoldenFailed) as caught:
        golden.test(bundle(tmp_path, expect=expect, declared={"red": 1, "blue": 1}), BackendOptions())
    assert "needed 0.8" in caught.value.evidence["recall"]
    assert caught.value.evidence["declared and missing"] == "nothing"


def test_less_than_a_person_says_fails_though_the_float_model_saw_no_more(tmp_path: Path) -> None:
    with pytest.raises(GoldenFailed) as caught:
        golden.test(bundle(tmp_path, declared={"red": 2}), BackendOptions())
    assert caught.value.evidence["declared and missing"] == "red: 2 declared, 1 seen"
    assert caught.value.evidence["recall"].startswith("1.00")


def test_a_picture_that_cannot_be_decoded_is_told_as_such(tmp_path: Path) -> None:
    broken = bundle(tmp_path)
    damaged = UsableBundle(
        broken.manifest, broken.artifact, broken.model, "unsigned", golden={"golden/blobs.png": blob_picture()[:60]}
    )
    with pytest.raises(GoldenFailed, match="cannot be decoded"):
        golden.test(damaged, BackendOptions())


def test_recall_takes_every_found_object_once() -> None:
    box = (0.0, 0.0, 0.5, 0.5)
    wanted = [Expectation(label="a", score=0.9, box_norm=box), Expectation(label="a", score=0.8, box_norm=box)]
    assert recall(wanted, wanted[:1], 0.5) == 0.5
    assert recall(wanted, wanted, 0.5) == 1.0
    assert recall([], wanted, 0.5) == 1.0
    area = [Expectation(label="road", score=1.0, share=0.5)]
    assert recall(area, [Expectation(label="road", score=1.0, share=0.54)], 0.5) == 1.0
    assert recall(area, [Expectation(label="road", score=1.0, share=0.6)], 0.5) == 0.0
