"""The Chinese pages say what the English ones and the catalogue say: commands, codes, examples."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from camagent.language import Catalogue, chinese
from tests.test_contracts import ROOT

BLOCKS = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"(^|\s)\s*# .*$", re.MULTILINE)


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def commands(text: str) -> list[str]:
    """The command blocks, without what comments say."""
    return [COMMENT.sub("", block) for language, block in BLOCKS.findall(text) if language == "sh"]


def sections(name: str) -> dict[str, str]:
    """Code -> its section of a page of refusals."""
    found = re.findall(r"^### ([A-Z_]+)\n\n(.*?)(?=^##|\Z)", read(name), re.MULTILINE | re.DOTALL)
    assert len(found) == len(dict(found))
    return dict(found)


def catalogue() -> Catalogue:
    found = chinese().catalogue
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["README", "docs/refusals"])
def test_pages_lead_to_each_other_and_show_the_same_commands(name: str) -> None:
    english, other = read(f"{name}.md"), read(f"{name}.zh-CN.md")
    stem = Path(name).name
    assert f"]({stem}.zh-CN.md)" in english.split("\n## ")[0]
    assert f"]({stem}.md)" in other.split("\n## ")[0]
    assert commands(english)
    assert commands(other) == commands(english)
    assert {found for found in re.findall(r"\]\(([^)#]+)", english) if "zh-CN" not in found} <= set(
        re.findall(r"\]\(([^)#]+)", other)
    )


def test_a_comment_is_all_that_may_differ() -> None:
    assert commands("```sh\na -t 'x/#' -v   # say\n# all\n```\n") == ["a -t 'x/#' -v\n"]
    assert commands("```sh\na\n```\n") != commands("```sh\nb\n```\n")


def test_every_refusal_has_its_section_in_the_same_order() -> None:
    assert list(sections("docs/refusals.zh-CN.md")) == list(sections("docs/refusals.md"))


@pytest.mark.parametrize("code", sections("docs/refusals.md"))
def test_a_section_says_what_the_terminal_says(code: str) -> None:
    known, section = catalogue().errors[code], sections("docs/refusals.zh-CN.md")[code]
    assert section.startswith(known.means + "\n")
    assert "\n**差异：** " in section
    assert f"\n**怎么办：** {known.fix}\n" in section
    (example,) = re.findall(r"^```\n(.*?)\n```$", sections("docs/refusals.md")[code], re.MULTILINE | re.DOTALL)
    first, *rest = example.split("\n")
    original = first.removeprefix(f"error[{code}]: ")
    shown = [f"error[{code}]: {known.means}", f"  处理：{known.fix}", f"  原文：{original}", *rest]
    assert "```\n" + "\n".join(shown) + "\n```" in section


def test_other_codes_stand_in_its_table() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \|", read("docs/refusals.md"), re.MULTILINE)
    assert rows
    for code in rows:
        assert f"\n| `{code}` | {catalogue().errors[code].means} | {catalogue().errors[code].fix} |\n" in read(
            "docs/refusals.zh-CN.md"
        )


def test_the_table_of_causes_is_that_of_the_catalogue(tmp_path: Path) -> None:
    made = tmp_path / "causes.md"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, ROOT / ".ci" / "write-causes", made], check=True, timeout=60, env=environ)
    assert made.read_text("utf-8") == read("docs/self-test-causes.zh-CN.md"), "make docs writes it anew"
    for code in (*catalogue().causes, *catalogue().reasons):
        assert re.search(rf"^\| \[?`{code}`", made.read_text("utf-8"), re.MULTILINE)
    assert "](self-test-causes.zh-CN.md)" in read("docs/self-test.md")
