"""Whether Rockchip's converter takes a model, and how it runs it: facts of its log as JSON.

    python bench/rknn_accepts.py MODEL.onnx [--target rk3568]

Runs under a Python that has rknn-toolkit2, which cannot live beside camagent (it pins NumPy 1 and an old onnx): a virtual
environment with torch==2.13.0 "numpy<=1.26.4" onnx==1.16.1 "setuptools<80" "protobuf<5" onnxruntime scipy psutil ruamel.yaml
tqdm opencv-python-headless fast-histogram, then rknn-toolkit2==2.5.0 with --no-deps. Without quantisation.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any


def converted(model: Path, target: str, folder: Path) -> dict[str, Any]:
    from rknn.api import RKNN  # type: ignore[import-not-found,unused-ignore]

    tool = RKNN(verbose=True)
    steps: dict[str, Any] = {}
    try:
        tool.config(target_platform=target)
        steps["load"] = tool.load_onnx(model=str(model))
        steps["build"] = tool.build(do_quantization=False)
        steps["export"] = tool.export_rknn(str(folder / "made.rknn"))
    except Exception as exc:  # noqa: BLE001  the converter raises whatever it meets: that is the finding
        steps["raised"] = str(exc).strip().splitlines()[-1]
    finally:
        tool.release()
    if (folder / "made.rknn").exists():
        steps["bytes"] = (folder / "made.rknn").stat().st_size
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--target", default="rk3568")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "log"
        kept = os.dup(1), os.dup(2)
        with log.open("wb") as file:  # the compiler writes past Python's streams
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            steps = converted(args.model, args.target, folder)
            sys.stdout.flush()
            sys.stderr.flush()
            for number, old in zip((1, 2), kept, strict=True):
                os.dup2(old, number)
        text = log.read_text("utf-8", "replace")
    rows = re.findall(r"^D RKNN:.*?\] \d+\s+(\w+)\s+\w+\s+(CPU|NPU)\s.*?\s(\d+)/(\d+)/(\d+)\s", text, re.MULTILINE)
    layers = Counter((kind, where) for kind, where, *_ in rows)
    steps["million cycles, by the compiler's own estimate"] = round(sum(int(total) for *_, total in rows) / 1e6, 1)
    complaints = [line.split("] ", 1)[-1] for line in text.splitlines() if line.startswith("E ")]
    errors = Counter(re.sub(r"0x[0-9a-f]+|\d+", "#", line) for line in complaints)
    steps["layers"] = {f"{kind} on {where}": count for (kind, where), count in layers.most_common()}
    steps["errors in the log"] = dict(errors.most_common(5))
    print(json.dumps(steps))


if __name__ == "__main__":
    main()
