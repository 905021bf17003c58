"""`--head auto` on 36 output forms: it names the right head for 32 of them at least, and never one that reads otherwise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from camagent import cli
from camagent.cli.golden_request import golden_request
from camagent.errors import HeadMismatch, HeadUndecided
from camagent.pipeline import BackendOptions, Workbench, rgb_frame
from camagent.selftest import auto_head
from camagent.selftest.known import Known
from firmware_pkg.manifest import Artifact, HeadSpec, InputSpec, Manifest
from tests.support import forms
from tests.support.form_table import FORMS, ssd_seven
from tests.support.forms import Form, Outputs, Stage
from tests.test_refusals import sections

Capture = pytest.CaptureFixture[str]
ENOUGH = 32


@dataclass(frozen=True)
class Verdict:
    """What `bundle create --head auto` said: a name, and names of heads that read the very same; or none."""

    form: Form
    head: str
    alike: Sequence[str]

    @property
    def named(self) -> bool:
        return self.head == self.form.head

    @property
    def wrong(self) -> bool:
        """A head that reads something else than the right one."""
        return bool(self.head) and self.form.head not in (self.head, *self.alike)


def create(form: Form, folder: Path, seed: int, head: str = "auto") -> Path:
    """A bundle through the command line, as a user makes it; it does not exist where that was refused."""
    model, bundle, picture = forms.write(form, folder / "m.onnx", seed), folder / "b.cambundle", folder / "golden.png"
    bundle.unlink(missing_ok=True)
    cv2.imwrite(str(picture), forms.picture(form)[:, :, ::-1])
    (folder / "labels.txt").write_text("\n".join(form.labels))
    cli.run(["bundle", "create", str(model), "--name", "n", "--version", "1", "--head", head, "--scale", "0.00392157",
             "--labels", str(folder / "labels.txt"), "--golden", f"{picture}={form.declared}", "-o", str(bundle)])  # fmt: skip
    return bundle


def created(form: Form, folder: Path, seed: int, capsys: Capture) -> Verdict:
    capsys.readouterr()
    bundle = create(form, folder, seed)
    said = capsys.readouterr()
    if not bundle.exists():
        assert "error[HEAD_UNDECIDED]" in said.err, f"{form.name}: {said.err}"
        return Verdict(form, "", ())
    line = next(line for line in said.out.splitlines() if line.startswith("head: "))
    same = line.rpartition("; ")[2].removesuffix(" would read the same").split(", ") if "would read the same" in line else []
    assert cli.run(["bundle", "inspect", str(bundle), "--json"]) == 0
    head = json.loads(capsys.readouterr().out)["manifest"]["head"]["name"]
    return Verdict(form, head, same)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_right_head_is_named_for_32_of_36_forms_and_no_wrong_one_ever(seed: int, tmp_path: Path, capsys: Capture) -> None:
    found = [created(form, tmp_path, seed, capsys) for form in FORMS]
    with capsys.disabled():
        print()
        for one in found:
            same = f" (= {', '.join(one.alike)})" if one.alike else ""
            print(f"{one.form.name:24} {one.form.head:16} {one.head or 'abstains'}{same}")
        print(f"{sum(one.named for one in found)} of {len(found)} named, {sum(one.wrong for one in found)} wrong")
    assert len(found) == 36
    assert sum(one.named for one in found) >= ENOUGH
    assert [one.form.name for one in found if one.wrong] == []
    assert {one.form.name for one in found if not one.head} == {form.name for form in FORMS if not form.decided}


# -- and where there is nothing to see ----------------------------------------------------------------------------------------


def read_by(form: Form, model: Path, pixels: NDArray[np.uint8]) -> tuple[str, ...]:
    """Names of the heads that are said to read the model. Raises HeadMismatch, HeadUndecided."""
    declared = golden_request(f"p.png={form.declared}", tuple(form.labels)).declared
    draft = Manifest(
        name="n", version="1", created="2026-01-01T00:00:00Z", task="detect", head=HeadSpec(name="unknown"), files={"m": 1},
        input=InputSpec(width=form.size[0], height=form.size[1], scale=1 / 255), labels=tuple(form.labels),
        artifacts=(Artifact(path="m", backend="onnx"),),
    )  # fmt: skip
    bench = Workbench("onnx", model.read_bytes(), BackendOptions())
    try:
        sight, alike = auto_head.find(bench, draft, (Known("p.png", rgb_frame(pixels), declared, (), None),))
    finally:
        bench.close()
    return (sight.manifest.head.name, *alike)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_nothing_is_named_where_the_picture_does_not_show_what_is_declared(form: Form, tmp_path: Path) -> None:
    model = forms.write(form, tmp_path / "m.onnx", 5)
    with pytest.raises(HeadUndecided):
        read_by(form, model, forms.picture(form, empty=True))
    if form.decided:
        assert form.head in read_by(form, model, forms.picture(form))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_noise_is_never_taken_for_another_family(form: Form, tmp_path: Path) -> None:
    for seed in range(3):
        said = forms.noise(form, seed)
        model = forms.network(form, tmp_path / "m.onnx", [said])
        try:
            names = read_by(form, model, forms.picture(form))
        except HeadUndecided:
            continue
        assert form.head in names, seed


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_bundle_of_every_form_passes_the_self_test_without_a_doubt(form: Form, tmp_path: Path, capsys: Capture) -> None:
    bundle = create(form, tmp_path, 3, form.head)
    assert bundle.exists()
    capsys.readouterr()
    assert cli.run(["selftest", "--bundle", str(bundle), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["verdict"], report["causes"]) == ("healthy", [])
    doubted = {step["id"]: step["measured"] for step in report["steps"] if step["status"] in {"warn", "fail"}}
    assert set(doubted) <= {"bundle"}, doubted  # it is not signed


def test_an_ssd_whose_first_id_is_the_background_is_found_with_its_param(tmp_path: Path, capsys: Capture) -> None:
    def counted_from_one(stage: Stage) -> Outputs:
        made = ssd_seven(stage)
        made["out0"][..., 1] += 1
        return made

    assert create(Form("SSD, ids from 1", "ssd", counted_from_one), tmp_path, 1).exists()
    assert "head: ssd (first_class = 1), for it sees" in capsys.readouterr().out


def test_sizes_that_the_agent_feeds_are_nothing_to_look_at(tmp_path: Path, capsys: Capture) -> None:
    for form in (form for form in FORMS if form.inputs):
        assert cli.run(["model", "inspect", str(forms.write(form, tmp_path / "m.onnx", 1))]) == 0
        said = capsys.readouterr().out
        assert "fed by the agent" in said
        assert "look at" not in said


def test_the_manual_shows_what_an_undecided_head_is_told_as(tmp_path: Path, capsys: Capture) -> None:
    assert not create(next(form for form in FORMS if not form.decided), tmp_path, 1).exists()
    said = capsys.readouterr().err.replace(f"{tmp_path}/", "").splitlines()
    example = [line for line in sections()["HEAD_UNDECIDED"].splitlines() if line.startswith(("error[", "  "))]
    assert example == [line for line in said if line.startswith(("error[", "  "))]


def test_a_form_that_no_head_reads_is_told_with_its_shapes(tmp_path: Path) -> None:
    form = Form("a cube", "none", lambda _: {"a": np.zeros((1, 7, 3, 2, 1), np.float32)})
    with pytest.raises(HeadMismatch, match="no head fits") as refusal:
        read_by(form, forms.write(form, tmp_path / "m.onnx", 1), forms.picture(form))
    assert refusal.value.evidence["outputs"] == "1x7x3x2x1"
