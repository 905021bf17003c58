"""What 8 bits cost on Rockchip's NPUs: two public detectors through the real converter and its simulator.

    python -m bench.quantization [--write docs/quantization.md]

Needs ../shared/data, the extra `build`, and rknn-toolkit2 as `camagent model convert` finds or makes it. Calibration pictures
are the first halves of two videos; what is compared are eight photographs and the second halves, which calibration never saw.
Prints the session as Markdown; --write puts it between the markers of that file, and the charts into a .png beside it.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
BEGIN, END = "<!-- session: python -m bench.quantization -->", "<!-- end of the session -->"
CALIBRATE, COMPARE = 30, 12  # frames of each video
NAMED = "--version 1.0.0 --name"
ALGORITHMS = ("normal", "kl_divergence")  # mmse takes minutes per model
CHART_ROWS, CHART_HEAD = 200, 56  # of comparing/picture.py; what lies below are photographs, which are not ours to publish


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames(folder)
        text = "\n".join(session(folder))
        charts = [read(folder / f"{stem}.png") for stem in ("ultraface", "fastestdet")]
    print(text)
    if args.write:
        before, _, rest = args.write.read_text("utf-8").partition(BEGIN)
        args.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", "utf-8")
        cv2.imwrite(str(args.write.with_suffix(".png")), np.concatenate(charts), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def session(folder: Path) -> Iterator[str]:
    """The commands and what they print."""
    yield "## Faces: UltraFace\n\n```"
    told = "--labels face.txt --mean 127,127,127 --std 128,128,128 --resize stretch --min-score 0.7"
    yield from shown(folder, f"bundle create ultraface.onnx {NAMED} ultraface --head ultraface {told} -o ultraface.cambundle")
    yield from of_model(folder, "ultraface", "ultraface.onnx")
    yield "```\n\n## Eighty classes: FastestDet\n\n```"
    yield from shown(folder, "model optimize FastestDet.onnx --passes fold-pad --rounds 0 -o fastestdet.onnx", last=1)
    told = "--labels coco80 --color bgr --scale 0.00392157 --resize stretch --min-score 0.65"
    yield from shown(
        folder, f"bundle create fastestdet.onnx {NAMED} fastestdet --head fastestdet {told} -o fastestdet.cambundle"
    )
    yield from of_model(folder, "fastestdet", "fastestdet.onnx")
    both = "fastestdet.onnx normal.rknnsim --version 1.1.0 --name fastestdet --head fastestdet"
    yield from shown(folder, f"bundle create {both} {told} -o both.cambundle")
    for backend in ("onnx", "rknn-sim"):
        yield from shown(folder, f"infer both.cambundle pictures/bus.jpg --backend {backend} --out seen", first=1)
    yield "```"


def of_model(folder: Path, stem: str, model: str) -> Iterator[str]:
    for algorithm in ALGORITHMS:
        out = f"-o {algorithm}.rknn --simulator {algorithm}.rknnsim"
        how = f"--target rk3568 --quantize int8 --calibration calibration/ --algorithm {algorithm}"
        yield from shown(folder, f"model convert {model} --from {stem}.cambundle {how} {out}", first=1)
    onnx_int8(folder, stem, model)
    others = " ".join([*(f"{algorithm}.rknnsim" for algorithm in ALGORITHMS), "int8.onnx"])
    yield from shown(folder, f"model compare {stem}.cambundle {others} --images pictures/ --png {stem}.png")


def shown(folder: Path, command: str, *, first: int | None = None, last: int | None = None) -> Iterator[str]:
    done = subprocess.run(
        [sys.executable, "-m", "camagent", *shlex.split(command)], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"camagent {command}\n{done.stdout}{done.stderr}")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    yield "$ camagent " + command
    yield from lines[:first] if first else lines[-last:] if last else lines


def frames(folder: Path) -> None:
    """calibration/, pictures/, and the models by short names."""
    (folder / "face.txt").write_text("face\n")
    for kind in ("calibration", "pictures"):
        (folder / kind).mkdir()
    for video in sorted((DATA / "video").glob("*.mp4")):
        with av.open(str(video)) as container:
            total = container.streams.video[0].frames
            wanted = {int(total / 2 * i / CALIBRATE): "calibration" for i in range(CALIBRATE)}
            wanted |= {int(total / 2 + total / 2 * i / COMPARE): "pictures" for i in range(COMPARE)}
            for index, frame in enumerate(container.decode(video=0)):
                if index in wanted:
                    cv2.imwrite(str(folder / wanted[index] / f"{video.stem}-{index}.png"), frame.to_ndarray(format="bgr24"))
    for picture in sorted((DATA / "images").glob("*.jpg")):
        (folder / "pictures" / picture.name).symlink_to(picture)
    (folder / "ultraface.onnx").symlink_to(DATA / "models" / "ultraface-RFB-320.onnx")
    (folder / "FastestDet.onnx").symlink_to(DATA / "models" / "FastestDet.onnx")


def onnx_int8(folder: Path, stem: str, model: str) -> None:
    """What ONNX Runtime's own quantiser makes of the model, for the CPU: int8.onnx."""
    import logging

    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    from camagent.inputs import one_picture
    from camagent.workbench import prepare
    from firmware_pkg.manifest import InputSpec

    onnxruntime.set_default_logger_severity(3)
    logging.disable(logging.WARNING)
    specs = {
        "ultraface": InputSpec(width=320, height=240, mean=(127, 127, 127), std=(128, 128, 128), resize="stretch"),
        "fastestdet": InputSpec(width=352, height=352, color="bgr", scale=0.00392157, resize="stretch"),
    }
    name = {"ultraface": "input", "fastestdet": "input.1"}[stem]

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, paths: Iterable[Path]) -> None:
            self._paths = iter(paths)

        def get_next(self) -> dict[str, Any] | None:
            path = next(self._paths, None)
            return None if path is None else {name: prepare(one_picture(path), specs[stem]).tensor}

    quantize_static(
        str(folder / model), str(folder / "int8.onnx"), Reader(sorted((folder / "calibration").iterdir())),
        quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=False,
    )  # fmt: skip


def read(path: Path) -> Any:
    """The charts of a comparison, without the photographs."""
    picture = cv2.imread(str(path))
    assert picture is not None
    return picture[: CHART_HEAD + CHART_ROWS * (len(ALGORITHMS) + 1)]


if __name__ == "__main__":
    main()
