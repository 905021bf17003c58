from __future__ import annotations

import json
from pathlib import Path

import pytest

from camagent.cli import run
from camagent.cli.label_group import grouped
from camagent.errors import UsageError
from firmware_pkg.manifest import Label

MODEL = Path(__file__).resolve().parents[1] / "recipes" / "classify" / "classify.onnx"


def test_labels_with_a_group_become_entries_and_others_stay_words() -> None:
    assert grouped(["a", "b"], {"b": "other waste"}) == ["a", Label(name="b", group="other waste")]
    assert grouped(["a"], {}) == ["a"]
    with pytest.raises(UsageError, match="is no label"):
        grouped(["a"], {"c": "d"})


def create(tmp_path: Path, *groups: str) -> int:
    (tmp_path / "labels.txt").write_text("cardboard box\ndisposable box\n")
    arguments = ["bundle", "create", str(MODEL), "--name", "w", "--version", "1", "--head", "classify",
                 "--labels", str(tmp_path / "labels.txt"), "-o", str(tmp_path / "w.cambundle")]  # fmt: skip
    return run([*arguments, *(word for group in groups for word in ("--group", group))])


def test_bundle_create_writes_groups_into_the_manifest(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert create(tmp_path, "disposable box=other waste") == 0
    capfd.readouterr()
    assert run(["bundle", "inspect", str(tmp_path / "w.cambundle"), "--json"]) == 0
    labels = json.loads(capfd.readouterr().out)["manifest"]["labels"]
    assert labels == ["cardboard box", {"name": "disposable box", "group": "other waste"}]


@pytest.mark.parametrize(("groups", "words"), [
    (("disposable box",), "is not LABEL=GROUP"), (("disposable box=",), "is not LABEL=GROUP"),
    (("disposable box=a", "disposable box=b"), "given twice"), (("box=a",), "is no label"),
])  # fmt: skip
def test_what_is_no_group_is_wrong_usage(
    groups: tuple[str, ...], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert create(tmp_path, *groups) == 2
    assert words in capfd.readouterr().err
    assert not (tmp_path / "w.cambundle").exists()
