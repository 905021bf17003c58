"""The workstation commands on real models and pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import av
import cv2
import jsonschema
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from camagent.bodies import schemas
from tests.support.agent import FASTESTDET, SINET, ULTRAFACE, camagent, make_bundle
from tests.support.data import shared

NAMED = ("--name", "x", "--version", "1", "-o", "o")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_ultraface_finds_at_least_40_faces(bundles: Path) -> None:
    bundle = make_bundle(bundles, "ultraface-RFB-320.onnx", ULTRAFACE, face="face")
    done = camagent("infer", str(bundle), str(shared("images/faces.jpg")), "--json")
    assert done.returncode == 0
    (body,) = lines(done.stdout)
    jsonschema.validate(body, schemas()["camagent.detections/1"])
    assert len(body["detections"]) >= 40  # type: ignore[arg-type]
    assert str(body["input"]).endswith("faces.jpg")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools with numpy 2
@pytest.mark.parametrize("model", ["SINet.onnx", "SINet_Softmax.onnx"])
def test_sinet_sees_one_person_in_the_portrait(bundles: Path, model: str) -> None:
    bundle = make_bundle(bundles, model, SINET, a="background", b="person")
    done = camagent("infer", str(bundle), str(shared("images/portrait.jpg")), "--json")
    (body,) = lines(done.stdout)
    jsonschema.validate(body, schemas()["camagent.segmentation/1"])
    person = next(item for item in body["classes"] if item["label"] == "person")  # type: ignore[attr-defined]
    assert 0.55 <= person["share"] <= 0.63
    pixels = coco_mask.decode({"size": person["rle"]["size"], "counts": person["rle"]["counts"].encode()})
    assert pixels.shape == (1752, 1314)
    assert float(pixels.mean()) == pytest.approx(person["share"], abs=0.001)


def test_pictures_folders_and_videos_are_drawn(bundles: Path, tmp_path: Path) -> None:
    bundle = make_bundle(bundles)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(shared("images/bus.jpg").read_bytes())
    (folder / "notes.txt").write_text("no picture")
    out = tmp_path / "seen"
    video = str(shared("video/one-by-one-person-detection.mp4"))
    done = camagent("infer", str(bundle), str(folder), video, "--out", str(out), "--frames", "40")
    assert done.returncode == 0, done.stderr
    assert "warning[UNSIGNED]" in done.stderr
    assert "1 file in" in done.stderr
    assert "a.jpg: 2 person" in done.stdout
    drawn, original = cv2.imread(str(out / "a.jpg")), cv2.imread(str(folder / "a.jpg"))
    assert drawn is not None
    assert original is not None
    assert drawn.shape == original.shape
    assert np.abs(drawn.astype(int) - original).max() > 60
    with av.open(str(out / "one-by-one-person-detection.mp4")) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 40
    assert (frames[0].width, frames[0].height) == (768, 432)
    assert frames[-1].time == pytest.approx(3.9, abs=0.1)


def test_inputs_and_earlier_drawings_are_never_overwritten(bundles: Path, tmp_path: Path) -> None:
    bundle = make_bundle(bundles)
    folder = tmp_path / "in"
    folder.mkdir()
    picture, clip = shared("images/bus.jpg").read_bytes(), shared("video/car-detection.mp4").read_bytes()
    (folder / "a.jpg").write_bytes(picture)
    (folder / "a.png").write_bytes(picture)  # what a file is says its first bytes, not its name
    (folder / "clip.mp4").write_bytes(clip)
    inputs = [str(folder), str(folder / "a.jpg"), str(folder / "clip.mp4")]
    done = camagent("infer", str(bundle), *inputs, "--out", str(folder), "--frames", "2")
    assert done.returncode == 0, done.stderr
    assert [(folder / name).read_bytes() for name in ("a.jpg", "a.png", "clip.mp4")] == [picture, picture, clip]
    assert sorted(path.name for path in folder.iterdir() if path.suffix == ".jpg") == ["a-2.jpg", "a-3.jpg", "a-4.jpg", "a.jpg"]
    with av.open(str(folder / "clip-2.mp4")) as container:
        assert len(list(container.decode(video=0))) == 2


def test_a_damaged_picture_of_a_folder_is_told_and_passed_over(bundles: Path, tmp_path: Path) -> None:
    bundle, picture = make_bundle(bundles), shared("images/bus.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(picture[: len(picture) // 2])
    (tmp_path / "b.jpg").write_bytes(picture)
    done = camagent("infer", str(bundle), str(tmp_path), "--json")
    assert done.returncode == 0
    assert [body["input"] for body in lines(done.stdout)] == ["b.jpg"]
    assert "a.jpg is damaged" in done.stderr


@pytest.mark.parametrize("name", ["cam[/].jpg", "a[red].jpg"])
def test_on_a_terminal_stdout_is_still_stdout_and_a_file_name_no_markup(bundles: Path, tmp_path: Path, name: str) -> None:
    bundle, picture = make_bundle(bundles), tmp_path / name
    picture.parent.mkdir(exist_ok=True)  # [/] closes a markup tag, and is a folder too
    picture.write_bytes(shared("images/bus.jpg").read_bytes())
    code, out, shown = on_terminal("infer", str(bundle), str(picture), "--json")
    assert code == 0, shown
    assert len(lines(out)) == 1
    assert picture.name in shown, "the bar is there"
    assert "camagent.detections/1" not in shown


def on_terminal(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout (a pipe) and what a terminal shows that has stderr."""
    ours, theirs = os.openpty()
    seen = bytearray()
    command = [sys.executable, "-m", "camagent", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "COLUMNS": "200"}) as process:
        os.close(theirs)
        assert process.stdout is not None
        reader = threading.Thread(target=_read_all, args=(ours, seen))
        reader.start()
        out = process.stdout.read().decode()
        code = process.wait(60)
        reader.join(10)
    os.close(ours)
    return code, out, seen.decode()


def _read_all(terminal: int, into: bytearray) -> None:
    try:
        while data := os.read(terminal, 65536):
            into += data
    except OSError:  # a terminal that nobody has open any more ends like this
        return


@pytest.mark.parametrize("full", [True, False], ids=["full", "read-only"])
def test_an_output_that_cannot_be_written_is_a_sentence(bundles: Path, tmp_path: Path, *, full: bool) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    bundle, out = make_bundle(bundles), tmp_path / "small"
    out.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(out)], check=True)
    try:
        if not full:
            subprocess.run(["mount", "-o", "remount,ro", str(out)], check=True)
        words = "No space left on device" if full else "Read-only file system"
        drawn = camagent("infer", str(bundle), str(shared("images/bus.jpg")), "--out", str(out))
        _refused(drawn, words, "bus.jpg")
        assert "bus.jpg: 2 person" in drawn.stdout, "what was printed before is not lost"
        made = camagent("bundle", "create", str(shared("models/FastestDet.onnx")), *FASTESTDET, "--name", "x", "--version", "1",
                        "-o", str(out / "x.cambundle"))  # fmt: skip
        if full:
            assert (made.returncode, "error[NO_SPACE]" in made.stderr) == (1, True), made.stderr
        else:
            _refused(made, words, "x.cambundle")
        assert not list(out.iterdir()), "nothing half written is left"
    finally:
        subprocess.run(["umount", str(out)], check=True)


def test_a_full_stdout_is_a_sentence(bundles: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [
            sys.executable,
            "-m",
            "camagent",
            "infer",
            str(make_bundle(bundles)),
            str(shared("images/bus.jpg")),
            "--json",
        ]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    _refused(done, "No space left on device", "the output")


def _refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "error[FILE_UNUSABLE]" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_a_golden_picture_agrees_or_exits_1_with_what_is_missing(bundles: Path, tmp_path: Path) -> None:
    def create(golden: str, *more: str) -> tuple[int, str, str]:
        out = str(tmp_path / "g.cambundle")
        model = str(shared("models/FastestDet.onnx"))
        done = camagent(
            "bundle", "create", model, "--name", "g", "--version", "1", *FASTESTDET, "--golden", golden, "-o", out, *more
        )
        return done.returncode, done.stdout, done.stderr

    bus = str(shared("images/bus.jpg"))
    code, out, _ = create(f"{bus}=person:2,bus", "--json")
    assert code == 0
    assert json.loads(out)["golden"][0]["seen"] == {"person": 2, "bus": 1}
    inspected = json.loads(camagent("bundle", "inspect", str(tmp_path / "g.cambundle"), "--json").stdout)
    assert inspected["verified"] is False
    golden = inspected["manifest"]["golden"][0]
    assert golden["declared"] == {"person": 2, "bus": 1}
    assert {item["label"] for item in golden["expect"]} == {"person", "bus"}
    assert golden["reference"].endswith(".npz")
    code, out, _ = create(f"{bus}=person:2,cat")
    assert code == 1
    assert "cat: 1 declared, 0 seen" in out
    assert (tmp_path / "g.cambundle").exists()
    code, out, err = create(f"{bus}=person:2", "--scale", "1")
    assert "1/255" in out
    code, _, err = create(f"{bus}=persn:2")
    assert code == 2
    assert "persn" in err


def test_the_reference_tensors_give_the_expected_outputs(bundles: Path, tmp_path: Path) -> None:
    import io
    import tarfile

    import onnxruntime as ort

    out = tmp_path / "g.cambundle"
    model = shared("models/FastestDet.onnx")
    picture = shared("images/bus.jpg")
    camagent(
        "bundle", "create", str(model), "--name", "g", "--version", "1", *FASTESTDET, "--golden", str(picture), "-o", str(out)
    )
    with tarfile.open(out) as tar:
        member = tar.extractfile("golden/0-bus.npz")
        assert member is not None
        arrays = np.load(io.BytesIO(member.read()), allow_pickle=False)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.read_bytes(), options)
    (output,) = session.run(None, {"input.1": arrays["input"]})
    assert np.allclose(output, arrays["output0"], atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["infer", "no.cambundle", "x.jpg"], 2, ["no.cambundle"]),
        (["infer", "{bundle}", "no.jpg"], 2, ["no.jpg", "is not there"]),
        (["infer", "{text}", "{image}"], 1, ["not a whole tar file"]),
        (["infer", "{bundle}", "{text}"], 2, ["readme.txt"]),
        (["infer", "{bundle}", "rtsp://127.0.0.1:1/x"], 3, ["127.0.0.1"]),
        (["bundle", "inspect", "{text}"], 1, ["not a whole tar file"]),
        (["bundle", "create", "{text}", *FASTESTDET, *NAMED], 1, ["readme.txt", "not a model"]),
        (["bundle", "create", "{image}:onnx", *FASTESTDET, *NAMED], 1, ["not ONNX"]),
        (["bundle", "create", "nothing.onnx", *FASTESTDET, *NAMED], 2, ["nothing.onnx"]),
        (["bundle", "create", "{model}", *FASTESTDET, "--name", "x/y", "--version", "1", "-o", "o"], 2, ["name"]),
        (["bundle", "create", "{model}", *FASTESTDET, "--name", "x", "--version", "abc", "-o", "o"], 2, ["PEP 440"]),
        (["bundle", "create", "{model}", *FASTESTDET, "--name", "x", "--version", "1", "-o", "nowhere/o"], 2, ["nowhere/o"]),
        (["bundle", "create", "{model}", *FASTESTDET, "--size", "100x100", *NAMED], 1,
         ["352x352", "100x100"]),
        (["bundle", "create", "{model}", "--head", "yolov8", "--labels", "coco80", *NAMED], 1,
         ["HEAD_MISMATCH", "1x85x22x22"]),
        (["bundle", "create", "{model}", "--head", "fastestdet", "--labels", "{text}", *NAMED], 1,
         ["LABEL_COUNT_MISMATCH", "80", "1 labels"]),
        (["bundle", "create", "{model}", "--head", "nope", "--labels", "coco80", *NAMED], 1,
         ["no head 'nope'", "fastestdet"]),
        (["bundle", "create", "{model}", *FASTESTDET, "--std", "1,0,1", *NAMED], 2, ["--std", "1,0,1"]),
        (["bundle", "create", "{model}", *FASTESTDET, "--mean", "nan,0,0", *NAMED], 2, ["--mean", "nan,0,0"]),
        (["bundle", "create", "{model}", *FASTESTDET, "--scale", "0", *NAMED], 2, ["--scale", "leaves nothing"]),
        (["bundle", "create", "{model}", *FASTESTDET, "--scale", "nan", *NAMED], 2, ["--scale", "leaves nothing"]),
        (["bundle", "create", "{model}", *FASTESTDET, "--task", "segment", *NAMED], 2, ["does not segment", "task = detect"]),
        (["nonsense"], 2, ["nonsense"]),
        (["bundle", "create"], 2, ["--help"]),
    ],
)  # fmt: skip
def test_bad_input_gets_a_sentence(bundles: Path, tmp_path: Path, arguments: list[str], code: int, words: list[str]) -> None:
    text = tmp_path / "readme.txt"
    text.write_text("not what you think")
    places = {
        "bundle": bundles / "FastestDet.cambundle", "text": text, "image": shared("images/bus.jpg"),
        "model": shared("models/FastestDet.onnx"),
    }  # fmt: skip
    if "{bundle}" in arguments and not places["bundle"].exists():
        make_bundle(bundles)
    done = camagent(*(argument.format(**places) for argument in arguments))
    assert done.returncode == code, done.stderr
    assert done.stderr.lstrip().startswith("error[") or "\nerror[" in done.stderr
    assert "fix:" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning:" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_a_camera_of_the_configuration_brings_its_privacy_masks(bundles: Path, tmp_path: Path) -> None:
    bundle, picture = make_bundle(bundles), shared("images/bus.jpg")
    config = tmp_path / "camagent.toml"
    config.write_text(
        f'[agent]\nallow_unsigned = true\n[[camera]]\nname = "front"\nurl = "{picture}"\n[[camera.mask]]\nname = "right"\n'
        "polygon = [[0.3, 0.0], [1.0, 0.0], [1.0, 1.0], [0.3, 1.0]]\n"
    )
    open_view = lines(camagent("infer", str(bundle), str(picture), "--json").stdout)[0]
    out = tmp_path / "seen"
    done = camagent("infer", str(bundle), "front", "-c", str(config), "--json", "--out", str(out))
    assert done.returncode == 0, done.stderr
    masked = lines(done.stdout)[0]
    assert len(masked["detections"]) < len(open_view["detections"])  # type: ignore[arg-type]
    drawn = cv2.imread(str(out / "bus.jpg"))
    assert drawn is not None
    hidden = drawn[100:-100, drawn.shape[1] // 2 :].reshape(-1, 3).astype(int)
    assert np.abs(hidden - hidden[0]).max() < 12, "something of the private area is in the drawn picture"
