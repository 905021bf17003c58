"""Every code of this package has one class and a line in the manual; what produces it stands in the other tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from signing import refusals
from signing.refusals import Refused, first_to_speak

ROOT = Path(__file__).resolve().parents[2]
CLASSES = [
    found
    for found in vars(refusals).values()
    if isinstance(found, type) and issubclass(found, Refused) and found is not Refused
]
TESTS = "\n".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))


def test_codes_are_unique() -> None:
    codes = [found.code for found in CLASSES]
    assert len(set(codes)) == len(codes)
    assert "REFUSED" not in codes


@pytest.mark.parametrize("found", CLASSES, ids=lambda found: found.code)
def test_every_code_is_produced_by_a_test_and_explained_in_the_manual(found: type[Refused]) -> None:
    assert re.search(rf'(refused\(|: \(|\(|, )"{found.code}"', TESTS), f"no test produces {found.code}"
    assert f"| `{found.code}` |" in (ROOT / "docs" / "signing.md").read_text("utf-8")


def test_the_class_name_is_the_code() -> None:
    for found in CLASSES:
        assert re.sub(r"(?<!^)(?=[A-Z])", "_", found.__name__).upper() == found.code


def test_precedence() -> None:
    made = [
        found("x", fix="y")
        for found in (refusals.SignatureInvalid, refusals.SizeLimit, refusals.SignatureFormat, refusals.TrustExpired)
    ]
    assert isinstance(first_to_speak(made), refusals.SizeLimit)
    assert isinstance(first_to_speak(made[2:]), refusals.SignatureFormat)
    assert isinstance(first_to_speak(made[3:]), refusals.TrustExpired)
    assert first_to_speak([made[0], refusals.SignatureInvalid("z", fix="y")]) is made[0]
