"""Pages on which models are looked at: recorded with public ones, which lie outside of the project, and with large ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import onnx

from tests.manual.blocks import Block, printed, typed
from tests.manual.desk import Desk
from tests.manual.ways import compare
from tests.support import forms
from tests.support.broker import running
from tests.support.bundles import write_key
from tests.support.data import shared
from tests.support.form_table import FORMS
from tests.support.rknn_models import rknn_file
from tests.support.segformer import segformer
from tests.support.toolkit import fake_environment

DETECTOR = next(form for form in FORMS if form.name == "YOLOv8/11 raw")
OPTIONS = "--head yolov8 --labels coco80 --scale 0.00392157"


@contextmanager
def recorded(folder: Path) -> Iterator[Desk]:
    """Public models, pictures and clips under the names that the page gives them."""
    (folder / "mosquitto").mkdir()
    with running(folder / "mosquitto") as broker:
        here = Desk(folder, broker)
        for kind in ("models", "images", "video"):
            for path in shared(kind).iterdir():
                (folder / path.name).symlink_to(path)
        with here.until_the_end:
            yield here


@contextmanager
def transformer(folder: Path) -> Iterator[Desk]:
    """A SegFormer in small, under the large one's name."""
    here = Desk(folder)
    onnx.save(segformer(), str(folder / "segformer-b0.onnx"))
    yield here


def detector(here: Desk) -> None:
    """A network with a detector's outputs, a picture with a person on it, and Rockchip's toolkit, or what stands for it."""
    folder = here.folder
    here.environment["CAMAGENT_RKNN_ENV"] = str(fake_environment(folder / "toolkit"))
    forms.write(DETECTOR, folder / "yolov8n.onnx", 8)
    picture = cv2.cvtColor(forms.picture(DETECTOR), cv2.COLOR_RGB2BGR)
    for place in ("pictures", "others"):
        (folder / place).mkdir()
        cv2.imwrite(str(folder / place / "0.png"), picture)
    cv2.imwrite(str(folder / "street.jpg"), picture)
    made = here.run(
        f"camagent bundle create yolov8n.onnx --name yolov8n --version 1.0.0 {OPTIONS} "
        "--golden street.jpg=person -o yolov8n-1.0.0.cambundle"
    )
    assert made.returncode == 0, made.stdout


def converted(block: Block, here: Desk) -> None:
    """The stand-in's .rknn file holds no network; one that does takes its place."""
    detector(here)
    write_key(here.folder, "signer")
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.startswith("make deb"):
            continue  # Elsewhere: it takes minutes and a network
        script = here.ours(line).replace(" ..", f" {OPTIONS} -o yolov8n-1.1.0.cambundle")
        done = here.run(script)
        assert done.returncode == 0, f"{block}: {line}\n{done.stdout}"
        if "model convert" in line:
            network = (here.folder / "yolov8n.onnx").read_bytes()
            (here.folder / "yolov8n.rknn").write_bytes(rknn_file(network, targets=("rk3566",)))


def outline(block: Block, here: Desk) -> None:
    """What a table of a large model shows, a small one's shows with other numbers: the same lines begin."""
    out = here.run(typed(block.text)).stdout
    shown, got = [_begin(line) for line in printed(block.text)], {_begin(line) for line in out.splitlines()}
    missing = [begin for begin in shown if begin and begin not in got]
    assert not missing, f"{block} shows lines that begin with {missing}:\n{out}"


def _begin(line: str) -> str:
    """The first word of a line that is no row of figures."""
    return "" if re.search(r"\d", line) or line.startswith((" ", "..")) else line.split("  ", maxsplit=1)[0].strip()


def read_back(block: Block, here: Desk) -> None:
    """The file that is shown first is made first."""
    table, session = block.text.split("\n\n", 1)
    (here.folder / "op_statistic.csv").write_text(table.partition("\n")[2] + "\n")
    here.environment["COLUMNS"] = "80"
    done = here.run(typed(session))
    compare(block, printed(session), done.stdout)
