"""Commands as a Chinese user calls them: what is for people is Chinese, what is for programs is as it was."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from camagent.language import chinese
from tests.support.agent import camagent
from tests.support.bundles import blob_model, changed, make_signed, make_unsigned, write_root

HAN = re.compile("[\u4e00-\u9fff]")
CHINESE = {"CAMAGENT_LANG": "", "LC_ALL": "", "LC_MESSAGES": "", "LANG": "zh_CN.UTF-8"}
BARE = {**CHINESE, "LANG": "zh_CN", "PYTHONIOENCODING": "ascii:strict", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
LABELS = ("行人", "一次性餐盒")


def tampered(folder: Path) -> list[str]:
    path = make_signed(folder)
    other = bytearray(blob_model())
    other[-1] ^= 1
    changed(path, "model.onnx", bytes(other))
    return ["bundle", "verify", str(path), "--trust", str(write_root(folder))]


def broken(folder: Path) -> list[str]:
    """The scale was forgotten, and the filter leaves everything out."""
    path = make_unsigned(folder, input={"width": 64, "height": 64, "scale": 0.00392157 / 255, "resize": "stretch"})
    return ["selftest", "--bundle", str(path)]


def misspelt(folder: Path) -> list[str]:
    path = folder / "camagent.toml"
    path.write_text('[agent]\nstate_dirr = "x"\n')
    return ["config", "check", "-c", str(path)]


def both(arguments: list[str], **environ: str) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """The same command in Chinese, or as `environ` has it, and in English."""
    return run(*arguments, **{**CHINESE, **environ}), run(*arguments, CAMAGENT_LANG="en")


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return camagent(*arguments, timeout_s=120, **environ)


def test_a_tampered_bundle_is_refused_in_chinese(tmp_path: Path) -> None:
    arguments = tampered(tmp_path)
    other, english = both(arguments)
    known = chinese().code("PAYLOAD_DIGEST_MISMATCH")
    assert known is not None
    assert other.returncode == english.returncode == 1
    first, fix, original, *rest = other.stderr.splitlines()
    assert first == f"error[PAYLOAD_DIGEST_MISMATCH]: {known.means}"
    assert fix == f"  处理：{known.fix}"
    assert english.stderr.splitlines() == [
        original.replace("  原文：", "error[PAYLOAD_DIGEST_MISMATCH]: "), *rest,
    ]  # fmt: skip
    assert re.search(r"^✗ digests +摘要 +PAYLOAD_DIGEST_MISMATCH：文件不是签名时的那个文件", other.stdout, re.MULTILINE)
    assert other.stdout.endswith("拒绝：PAYLOAD_DIGEST_MISMATCH\n")
    assert not HAN.search(english.stdout + english.stderr)
    assert english.stdout.endswith("refused: PAYLOAD_DIGEST_MISMATCH\n")


def test_json_is_the_same_in_every_language(tmp_path: Path) -> None:
    for arguments in (tampered(tmp_path), broken(tmp_path)):
        other, english = both([*arguments, "--json"])
        assert other.returncode == english.returncode == 1
        assert not HAN.search(other.stdout)
        timeless = [re.sub(r'"(seconds|system_clock)": [^,}]+', "", done.stdout) for done in (other, english)]
        assert timeless[0] == timeless[1]
        assert json.loads(other.stdout)


def test_a_self_test_is_reported_in_chinese_on_terminal_and_page(tmp_path: Path) -> None:
    other, english = both([*broken(tmp_path), "--html", str(tmp_path / "r.html")])
    assert other.returncode == english.returncode == 1, other.stderr
    assert "发现故障：" in other.stdout
    assert re.search(r"^   处理 +\S.*--scale", other.stdout, re.MULTILINE)
    assert "\n步骤\n" in other.stdout
    assert "warning[UNSIGNED]: 模型没有经过验证就被使用" in other.stderr
    assert not HAN.search(english.stdout + english.stderr)
    run(*broken(tmp_path), "--html", str(tmp_path / "r.html"), **CHINESE)
    assert '<html lang="zh-CN">' in (tmp_path / "r.html").read_text("utf-8")


def test_a_wrong_configuration_is_told_in_chinese(tmp_path: Path) -> None:
    other, english = both(misspelt(tmp_path))
    assert other.returncode == english.returncode == 2
    assert other.stderr.startswith("error[CONFIG_INVALID]: 配置文件有误")
    assert "  原文：" in other.stderr
    assert "state_dirr" in other.stderr
    assert english.stderr.split("\n", 1)[1] in other.stderr


def test_a_wrong_option_is_told_in_chinese() -> None:
    other, english = both(["infer", "--no-such-option"])
    assert other.returncode == english.returncode == 2
    assert other.stderr.startswith("error[USAGE]: 命令的用法不对。\n  处理：")
    assert english.stderr == "error[USAGE]: No such option '--no-such-option'.\n  fix: see 'camagent infer --help'\n"


def test_the_journal_is_written_in_english(tmp_path: Path) -> None:
    """What the service says when it cannot start, on a system that is Chinese as a whole."""
    arguments = [sys.executable, "-m", "camagent", "run", *misspelt(tmp_path)[2:]]
    said = []
    for is_journal in (True, False):
        reader, writer = os.pipe()
        file = os.fstat(writer)
        environ = {**os.environ, **CHINESE, "JOURNAL_STREAM": f"{file.st_dev}:{file.st_ino + (not is_journal)}"}
        with os.fdopen(reader, "rb") as pipe:
            done = subprocess.run(arguments, stderr=writer, timeout=120, env=environ, check=False)
            os.close(writer)
            said.append(pipe.read().decode())
        assert done.returncode == 2
    assert not HAN.search(said[0])
    assert HAN.search(said[1])
    assert said[0].split("\n", 1)[1] in said[1]


@pytest.mark.parametrize("make", [tampered, broken, misspelt])
def test_a_terminal_without_chinese_gets_english_and_no_traceback(tmp_path: Path, make: object) -> None:
    arguments = make(tmp_path)  # type: ignore[operator]
    bare, english = both(arguments, **BARE)
    assert bare.returncode == english.returncode
    assert "Traceback" not in bare.stderr
    assert "INTERNAL" not in bare.stderr
    assert bare.stdout.isascii()
    assert bare.stderr == english.stderr


def picture(folder: Path, side: int = 640) -> Path:
    """A red object on grey, a square of so many pixels."""
    drawn = np.full((4, 4, 3), 90, np.uint8)
    drawn[2, 1] = (0, 0, 255)
    path = folder / "scene.png"
    cv2.imwrite(str(path), cv2.resize(drawn, (side, side), interpolation=cv2.INTER_NEAREST))
    return path


def created(folder: Path, name: str, labels: tuple[str, str]) -> Path:
    (folder / "model.onnx").write_bytes(blob_model())
    (folder / "labels.txt").write_text("\n".join(labels) + "\n", "utf-8")
    path = folder / f"{name}.cambundle"
    done = camagent(
        "bundle", "create", str(folder / "model.onnx"), "--name", name, "--version", "1.0.0", "--head", "fastestdet",
        "--labels", str(folder / "labels.txt"), "--scale", "0.00392157", "--resize", "stretch", "-o", str(path),
        "--golden", f"{picture(folder)}={labels[0]}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return path


def test_chinese_labels_go_from_a_file_to_json_terminal_and_picture(tmp_path: Path) -> None:
    drawn = {}
    for name, labels in {"han": LABELS, "boxes": ("□□", "□□□"), "marks": ("??", "???")}.items():
        bundle, out = created(tmp_path, name, labels), tmp_path / name
        done = camagent("infer", str(bundle), str(picture(tmp_path)), "--out", str(out), "--json")
        assert done.returncode == 0, done.stderr
        (found,) = json.loads(done.stdout)["detections"]
        assert found["label"] == labels[0]
        shown = cv2.imread(str(out / "scene.jpg"))
        assert shown is not None
        x, y = round(found["box"][0]), round(found["box"][1])
        drawn[name] = shown[y - 18 : y, x : x + 30].astype(int)  # two letters in the label above the box
    said = camagent("infer", str(tmp_path / "han.cambundle"), str(picture(tmp_path)), "--out", str(tmp_path / "again"))
    assert "scene.png: 1 行人 (" in said.stdout
    ink = {name: (area.min(axis=2) > 160) for name, area in drawn.items()}
    assert 0.1 < ink["han"].mean() < 0.5, "letters on a filled label"
    for other in ("boxes", "marks"):
        assert (ink["han"] ^ ink[other]).mean() > 0.1, f"it is drawn as {other}"


def test_chinese_letters_are_not_smaller_than_can_be_read(tmp_path: Path) -> None:
    heights = {}
    for name, labels in {"han": LABELS, "latin": ("person", "box")}.items():
        bundle, scene = created(tmp_path, name, labels), picture(tmp_path, 200)
        assert camagent("infer", str(bundle), str(scene), "--out", str(tmp_path / name)).returncode == 0
        shown = cv2.imread(str(tmp_path / name / "scene.jpg"))
        assert shown is not None
        column = shown[:98, 51].astype(int)  # the label's left edge, above the box
        heights[name] = int((np.abs(column - 90).max(axis=1) > 40).sum())
    assert heights["han"] >= 14, "餐 takes as many rows"
    assert 5 <= heights["latin"] < heights["han"]


def test_chinese_labels_pass_the_checklist_of_a_terminal_without_chinese(tmp_path: Path) -> None:
    bundle = created(tmp_path, "han", LABELS)
    key = tmp_path / "release"
    assert camagent("key", "generate", "--out", str(key)).returncode == 0
    assert camagent("bundle", "sign", str(bundle), "--key", f"{key}.pem").returncode == 0
    arguments = ["bundle", "verify", str(bundle), "--public-key", f"{key}.pub.pem"]
    bare, english = both(arguments, **BARE)
    assert bare.returncode == english.returncode == 0, bare.stderr
    assert "1 行人" in english.stdout
    assert "1 \\u884c\\u4eba" in bare.stdout
