"""Blocks that are no commands to run: held against what the running program, its manual's other tests or its readers say."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import requests
import yaml
from onnx import helper, numpy_helper

from recipes.classify import dataset, weights
from recipes.classify.classes import NINE, TWO
from tests import test_refusals
from tests.manual.blocks import ROOT, Block, blocks, printed
from tests.manual.cameras import OPEN, camera
from tests.manual.desk import Desk
from tests.manual.ways import compare, plain
from tests.recipes.test_classify_failures import arrays, shapes, stored
from tests.test_auto_head_forms import test_the_manual_shows_what_an_undecided_head_is_told_as as undecided_head
from tests.test_docs_chinese import sections as chinese_sections

PUBLIC = "--labels coco80 --color bgr --resize stretch --min-score 0.65 --golden bus.jpg=person:2,bus"


# -- docs/metrics.md ----------------------------------------------------------------------------------------------------------


def watched(folder: Path) -> Any:
    """A camera with a token over plain http."""
    (folder / "token").write_text("a-token-of-this-test-alone\n")
    return camera(folder, OPEN + 'token_file = "token"\n', ("1.0.0",))


def scraped(block: Block, here: Desk) -> None:
    """As Prometheus would with this configuration."""
    (job,) = yaml.safe_load(block.text)["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    url = f"http://{target.replace('192.0.2.7:8420', f'127.0.0.1:{here.page}')}/metrics"
    assert job["authorization"]["credentials_file"].startswith("/etc/prometheus/"), str(block)
    token = (here.folder / "token").read_text().strip()
    assert requests.get(url, timeout=30).status_code == 401
    answer = requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert answer.status_code == 200
    (here.folder / "metrics").write_text(answer.text)


def queries(block: Block, here: Desk) -> None:
    """Every metric and label that is asked for is one that was scraped, or has its row on the page if it comes and goes."""
    said = (here.folder / "metrics").read_text()
    page = (ROOT / block.page).read_text("utf-8")
    for name, labels in re.findall(r"(camagent_\w+)(?:\{([^}]*)\})?", block.text):
        lines = re.findall(rf"^{name}(?:\{{(.*)\}})? ", said, re.MULTILINE)
        assert lines or f"`{name}`" in page, f"{block} asks for {name}, which /metrics does not have"
        for label in re.findall(r'(\w+)[=!]~?"', labels):
            assert any(f'{label}="' in line for line in lines), f"{block}: {name} has no label {label}"


# -- refusals -----------------------------------------------------------------------------------------------------------------


def refused(block: Block, here: Desk) -> None:
    """Made from real bytes in tests/test_refusals.py, whose evidence is compared with the example of the code's section."""
    (code,) = re.findall(r"^error\[([A-Z_]+)\]", block.text)
    section = next(other for other in blocks(block.page) if other.heading == code)
    assert section.text == block.text, f"{block} is another example of {code} than {section}"
    made = {**test_refusals.CASES, **test_refusals.ELSEWHERE, "HEAD_UNDECIDED": undecided_head}
    assert code in made, f"{block}: no test makes {code}"


def translated(block: Block, here: Desk) -> None:
    """Held against the catalogue and the English page, section by section, in tests/test_docs_chinese.py."""
    (code,) = re.findall(r"^error\[([A-Z_]+)\]", block.text)
    assert block.text in chinese_sections(block.page)[code], f"{block} is another example of {code} than its section"


def unsigned(block: Block, here: Desk) -> None:
    """The checklist's beginning."""
    here.environment["CAMAGENT_LANG"] = "zh" if "zh-CN" in block.page else "en"
    out = here.run("camagent bundle verify unsigned.cambundle --trust root.json", strict=False).stdout
    got = [plain(line) for line in out.splitlines()]
    for line in printed(block.text):
        kept = re.sub(r"= \d+", "= #", plain(line))
        assert kept in [re.sub(r"= \d+", "= #", one) for one in got], f"{block}: {line}\n{out}"


def undecided(block: Block, here: Desk) -> None:
    words = f"camagent bundle create FastestDet.onnx --name n --version 1 --head auto {PUBLIC} -o undecided.cambundle"
    done = here.run(words, strict=False)
    assert done.returncode == 3
    compare(block, printed(block.text), done.stdout)


# -- recipes ------------------------------------------------------------------------------------------------------------------


def two_kinds(here: Desk) -> None:
    """The set of two, and a checkpoint of nine, without torch."""
    dataset.generate(here.folder / "work" / "two", TWO, {"train": 2, "val": 1}, 0, lambda: None)
    stored(here.folder / "work" / "nine.npz", NINE)


def stray(block: Block, here: Desk) -> None:
    two_kinds(here)
    left = here.folder / "work" / "two" / "train" / ".ipynb_checkpoints"
    left.mkdir()
    done = here.run("python -m recipes.classify train work/two -o x.npz", strict=False)
    left.rmdir()
    compare(block, printed(block.text), done.stdout)


def counted(block: Block, here: Desk) -> None:
    """A model with nine outputs is measured on a set of two."""
    network(here.folder / "nine.onnx", 9)
    done = here.run("python -m recipes.classify evaluate nine.onnx --data work/two", strict=False)
    compare(block, printed(block.text), done.stdout)


def network(path: Path, scores: int) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Conv", ["mean", "w"], ["many"]),
        helper.make_node("Flatten", ["many"], ["scores"]),
    ]
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 64, 64])
    out = helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [1, scores])
    weight = numpy_helper.from_array(np.ones((scores, 3, 1, 1), np.float32), "w")
    graph = helper.make_graph(nodes, "g", [image], [out], initializer=[weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))


def transferred(block: Block, here: Desk) -> None:
    """The sentence; how many arrays there are is the real network's."""
    fit = weights.backbone(weights.read(here.folder / "work" / "nine.npz"), shapes(arrays(2)))
    many = re.compile(r"loaded \d+ of \d+")
    assert many.sub("", block.text) == many.sub("", f"nine.npz: {fit.sentence}\n"), f"{block}: {fit.sentence}"


def resumed(block: Block, here: Desk) -> None:
    done = here.run("python -m recipes.classify train work/two --resume work/nine.npz -o x.npz", strict=False)
    compare(block, printed(block.text), done.stdout)


def classes(read: Callable[[Path], Any], block: Block, here: Desk) -> None:
    """Read as a data set's own."""
    (here.folder / "dataset.toml").write_text(block.text)
    found = read(here.folder)
    assert all(str(name) in block.text for name in getattr(found, "classes", None) or found.labels), str(block)
