"""Blocks that are no commands to run: held against what the running program, its manual's other tests or its readers say."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
import yaml

from tests import test_refusals
from tests.manual.blocks import ROOT, Block, blocks, printed
from tests.manual.cameras import OPEN, camera
from tests.manual.desk import Desk
from tests.manual.ways import compare, plain
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


def classes(read: Callable[[Path], Any], block: Block, here: Desk) -> None:
    """Read as a data set's own."""
    (here.folder / "dataset.toml").write_text(block.text)
    found = read(here.folder)
    assert all(str(name) in block.text for name in getattr(found, "classes", None) or found.labels), str(block)
