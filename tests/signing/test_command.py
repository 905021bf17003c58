from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from signing import __main__ as command
from signing import key_files
from tests.signing.support import key, private_pem
from tests.signing.test_folder import SOME, fill


@pytest.fixture
def place(tmp_path: Path) -> Path:
    fill(tmp_path / "m", SOME)
    (tmp_path / "S.pem").write_bytes(private_pem(key()))
    (tmp_path / "S.pub.pem").write_bytes(key().public.pem)
    (tmp_path / "B.pub.pem").write_bytes(key("bob").public.pem)
    return tmp_path


def sign(place: Path, *more: str) -> int:
    paths = ["--model-path", str(place / "m"), "--output-bundle", str(place / "m.sig"), "--private-key", str(place / "S.pem")]
    return command.main(["sign-model", "--method", "key", *paths, *more])


def verify(place: Path, *more: str, public: str = "S.pub.pem", bundle: str = "m.sig") -> int:
    paths = ["--model-path", str(place / "m"), "--bundle", str(place / bundle), "--public-key", str(place / public)]
    return command.main(["verify-model", "--method", "key", *paths, *more])


def test_sign_and_verify(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sign(place) == verify(place) == 0
    assert key().public.id in capsys.readouterr().out
    assert sorted(path.name for path in place.iterdir()) == ["B.pub.pem", "S.pem", "S.pub.pem", "m", "m.sig"]


def test_a_refusal_is_1_with_reason_evidence_and_fix(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sign(place)
    (place / "m/model.bin").write_bytes(b"x")
    assert verify(place) == 1
    said = capsys.readouterr().err
    assert said.startswith("error[PAYLOAD_DIGEST_MISMATCH]: 'model.bin'")
    assert "\n  evidence: " in said
    assert "\n  fix: " in said
    assert verify(place, public="B.pub.pem") == 1
    assert "error[UNTRUSTED_SIGNER]" in capsys.readouterr().err
    for content in (b"", b"junk", b"[" * 100_000):
        (place / "bad.sig").write_bytes(content)
        assert verify(place, bundle="bad.sig") == 1
        assert "error[SIGNATURE_FORMAT]" in capsys.readouterr().err


def test_ignored_paths_and_unsigned_files(place: Path) -> None:
    assert sign(place, "--ignore-paths", "sub", "--ignore-paths", str(place / "m/.env")) == 0
    (place / "m/sub/new").write_bytes(b"")
    assert verify(place) == 0
    (place / "m/new").write_bytes(b"")
    assert verify(place) == 1
    assert verify(place, "--ignore-unsigned-files") == 0
    assert verify(place, "--ignore-paths", "new") == 0
    assert verify(place, "--ignore-paths", str(place / "m/new")) == 0


def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["sign-model"], ["sign"], ["verify-model", "--method", "x509"], ["sign-model", "--colour"]):
        assert command.main(arguments) == 2
        assert capsys.readouterr().err.startswith("error[USAGE]")


def test_what_cannot_be_read_or_written_is_1(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was verified or signed, so the answer is no; callers know 0 and 1 only."""
    sign(place)
    outside, folder = str(place / "nowhere/m.sig"), str(place / "m/sub")
    asked: list[tuple[str, Callable[[], int]]] = [
        ("INPUT_UNREADABLE", partial(verify, place, bundle="none.sig")),
        ("INPUT_UNREADABLE", partial(verify, place, bundle="m")),
        ("KEY_UNAVAILABLE", partial(verify, place, public="none.pem")),
        ("KEY_UNAVAILABLE", partial(verify, place, public="m")),
        ("INPUT_UNREADABLE", partial(sign, place, "--output-bundle", outside)),
        ("INPUT_UNREADABLE", partial(sign, place, "--output-bundle", folder)),
        ("KEY_UNAVAILABLE", partial(sign, place, "--private-key", str(place / "none.pem"))),
    ]
    for code, ask in asked:
        assert ask() == 1
        assert f"error[{code}]" in capsys.readouterr().err
    (place / "m").rename(place / "n")
    assert (verify(place), sign(place)) == (1, 1)


def test_the_other_methods_are_refused_by_name(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sign(place)
    paths = ["--model-path", str(place / "m"), "--bundle", str(place / "m.sig")]
    for method in ("certificate", "sigstore"):
        assert command.main(["verify-model", "--method", method, *paths, "--cert-chain", "ca.pem"]) == 1
        assert f"found = method {method}, known here = method key" in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["sign-model", "--help"], ["verify-model", "--help"]):
        assert command.main(arguments) == 0
        assert "python -m signing verify-model --method key" in capsys.readouterr().out


def test_encrypted_keys_open_with_a_passphrase_file(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = key_files.generate(place / "E", b"secret")
    (place / "S.pem").write_bytes(files.private_path.read_bytes())
    assert sign(place) == 1
    assert "error[KEY_PASSPHRASE]" in capsys.readouterr().err
    (place / "pass").write_bytes(b"secret\r\n")
    monkeypatch.setenv("SIGNING_PASSPHRASE_FILE", str(place / "pass"))
    assert sign(place) == 0
    assert verify(place, public="E.pub.pem") == 0


def test_nasty_names_reach_the_terminal_escaped(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sign(place)
    (place / "m" / "\x1b[31m\u202egpj.exe\n").write_bytes(b"")
    assert verify(place) == 1
    said = capsys.readouterr().err
    assert "error[EXTRA_FILE]" in said
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert verify(place, public="no\x1b[2Jne") == 1
    assert "\x1b" not in capsys.readouterr().err


def test_as_a_process_from_anywhere(place: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    common = [sys.executable, "-m", "signing"]
    options = ["--method", "key", "--model-path", "m"]
    signing = [*common, "sign-model", *options, "--output-bundle", "m/inside.sig", "--private-key", "S.pem"]
    environment = {"PYTHONPATH": str(root), "PATH": ""}
    done = subprocess.run(signing, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    verifying = [*common, "verify-model", *options, "--bundle", "m/inside.sig", "--public-key", "B.pub.pem"]
    done = subprocess.run(verifying, cwd=place, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error[UNTRUSTED_SIGNER]")
