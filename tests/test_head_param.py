"""bundle create --head-param: how a head reads an export that ends elsewhere, typed and proposed in the same words."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.cli import run
from camagent.cli.head_param import as_options, head_params
from tests.test_selftest_models import Case, create

WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1)
VALUES = st.one_of(
    st.booleans(), st.integers(-9999, 9999), WORDS, st.lists(st.integers(0, 99)), st.sampled_from(["1", "true", "null"])
)


def parsed(*texts: str) -> dict[str, Any]:
    option = click.Option(["--head-param"])
    return head_params(click.Context(click.Command("create")), option, texts)


@given(st.dictionaries(st.text(st.characters(categories=["Ll"]), min_size=1), VALUES))
def test_what_is_proposed_is_what_would_be_typed(params: dict[str, Any]) -> None:
    typed = shlex.split(" ".join(as_options(params)))
    assert parsed(*typed[1::2]) == params


@pytest.mark.parametrize("text", ["scores", "=logits", ""])
def test_what_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="KEY=VALUE"):
        parsed(text)
    with pytest.raises(click.BadParameter, match="twice"):
        parsed("scores=logits", "scores=twice")


def test_create_proposes_a_param_and_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = Case("ultraface", export="logits")
    create(case, tmp_path)
    assert "--head-param scores=logits" in capsys.readouterr().out
    (tmp_path / "again").mkdir()
    made = create(case, tmp_path / "again", "--head-param", "scores=logits")
    assert "disagrees" not in capsys.readouterr().out
    assert run(["bundle", "inspect", str(made), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["manifest"]["head"] == {"name": "ultraface", "params": {"scores": "logits"}}


def test_a_param_that_the_head_has_not_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = create(Case("ultraface"), tmp_path, "--head-param", "anchors=1")
    assert "anchors" in capsys.readouterr().err
    assert not made.exists()


def test_auto_finds_params_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create(Case("ultraface", {"head": "auto"}), tmp_path, "--head-param", "scores=logits")
    assert "--head auto finds" in capsys.readouterr().err
