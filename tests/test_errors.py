from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent import cli
from camagent.cli import exit_code
from camagent.errors import BackendError, CodedError, ConfigError, SourceError
from firmware_pkg.push import RemoteRefusal
from signing.errors import printable

NASTY = [
    "cam[/]", "\x1b[2J\x1b[31mred", "a\nerror[FAKE]: b", "\u202egnp.exe", "\x00", "\ud800", "<script>alert(1)</script>",
    "a\u00a0b", "a" * 5000, "\u200b\u200d\ufeff", "${HOME}", "%s%n", "ẞ汉字", "\r overwritten",
]  # fmt: skip


@pytest.mark.parametrize("text", NASTY)
def test_nasty_strings_are_tamed(text: str) -> None:
    shown = printable(text)
    assert len(shown) <= 200
    assert shown.isprintable()
    assert "\u202e" not in shown


@given(st.text())
def test_nothing_unprintable_passes(text: str) -> None:
    shown = printable(text)
    assert len(shown) <= 200
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0x202A <= ord(c) <= 0x202E for c in shown)


def test_plain_text_passes_unchanged() -> None:
    assert printable("Grüße, 汉字 42") == "Grüße, 汉字 42"


@pytest.mark.parametrize("words", [[], ["bundle"], ["trust"], ["key"]])
def test_a_group_alone_shows_its_help_to_be_read(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Usage: camagent")
    assert "\nCommands:\n" in err
    assert "\\n" not in err


def test_an_error_says_what_evidence_and_fix() -> None:
    error = BackendError("it broke", evidence={"wanted": 1, "got": "\x1b[0m"}, fix="mend it")
    assert error.render() == "error[BACKEND_FAILED]: it broke\n  evidence: wanted = 1, got = \\x1b[0m\n  fix: mend it"
    assert error.report() == {
        "code": "BACKEND_FAILED", "what": "it broke", "evidence": {"wanted": "1", "got": "\\x1b[0m"}, "fix": "mend it",
    }  # fmt: skip


@pytest.mark.parametrize("text", NASTY)
def test_the_evidence_of_a_camera_that_is_none_is_tamed_names_and_all(text: str) -> None:
    error = RemoteRefusal("REFUSED", text, evidence={text: text}, fix=text)
    assert all(char == "\n" or char.isprintable() for char in error.render())
    assert all(key.isprintable() for key in error.report()["evidence"])  # type: ignore[attr-defined]


@pytest.mark.parametrize(("kind", "code"), [(ConfigError, 2), (SourceError, 3), (BackendError, 1), (CodedError, 1)])
def test_exit_codes(kind: type[CodedError], code: int) -> None:
    assert exit_code(kind("x", fix="y")) == code


@pytest.mark.parametrize(("left_behind", "ended"), [(True, False), (False, True)])
def test_the_interpreter_is_not_taken_down_over_a_thread_that_was_left_behind(left_behind: bool, ended: bool) -> None:
    code = (
        "import atexit, threading, time; from camagent.cli import main; atexit.register(print, 'taken down');"
        f"threading.Thread(target=time.sleep, args=({60 if left_behind else 0},), daemon=True).start(); time.sleep(0.2);"
        "main(['--version'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("camagent")
    assert ("taken down" in done.stdout) is ended
