"""Both ways with the reference implementation: PyPI `model-signing`, in a virtual environment of its own, kept per machine."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from signing import envelope, folder, key_files, statement
from signing.key_files import SoftwareKey
from tests.signing.support import FILES, key, private_pem, refused, sig
from tests.signing.test_folder import SOME, fill
from tests.support.reference_tool import reference_tool

IN_THE_TOOL = """
import json, pathlib, sys
from model_signing import hashing, signing, verifying
for job in json.load(sys.stdin):
    path, file, pem = (pathlib.Path(job[name]) for name in ("path", "signature", "pem"))
    config = hashing.Config().set_ignored_paths(paths=[file], ignore_git_paths=True)
    if job["do"] == "verify":
        try:
            verifying.Config().use_elliptic_key_verifier(public_key=pem).verify(path, file)
            print("yes")
        except Exception as exc:
            print("no", type(exc).__name__)
        continue
    if job["do"] == "shards":
        config.use_shard_serialization(shard_size=7)
    signing.Config().use_elliptic_key_signer(private_key=pem).set_hashing_config(config).sign(path, file)
    print("signed")
"""


@pytest.fixture(scope="module")
def tool() -> Path:
    """The tool's Python. Without the package index these tests are skipped."""
    return reference_tool() / "bin/python"


def jobs(tool: Path, *listed: dict[str, object]) -> list[str]:
    given = json.dumps([{name: str(value) for name, value in job.items()} for job in listed])
    done = subprocess.run([tool, "-c", IN_THE_TOOL], input=given, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if not line.startswith("WARNING")]


def pems(place: Path, signer: SoftwareKey, name: str) -> tuple[Path, Path]:
    (place / f"{name}.pem").write_bytes(private_pem(signer))
    (place / f"{name}.pub.pem").write_bytes(signer.public.pem)
    return place / f"{name}.pem", place / f"{name}.pub.pem"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    odd = {"a/b": b"1", "a-b": b"2", "a.b": b"3", "模型 (copy).bin": b"4" * 20, ".gitignore": b"", ".git/HEAD": b""}
    return fill(tmp_path / "m", SOME | odd)


def test_what_we_sign_verifies_there(tool: Path, model: Path, tmp_path: Path) -> None:
    asked = []
    for kind in ("P-256", "P-384", "P-521"):
        _, public = pems(tmp_path, key("x", kind), kind)
        file = model / f"{kind}.sig"
        file.write_bytes(
            folder.sign_model(
                model, key("x", kind), output=file, ignore=[f"{other}.sig" for other in ("P-256", "P-384", "P-521")]
            )
        )
        asked.append({"do": "verify", "path": model, "signature": file, "pem": public})
    assert jobs(tool, *asked) == ["yes"] * 3
    (model / "model.bin").write_bytes(b"x")
    assert jobs(tool, *asked) == ["no ValueError"] * 3


def test_what_it_signs_verifies_here(tool: Path, model: Path, tmp_path: Path) -> None:
    wanted = []
    for kind in ("P-256", "P-384", "P-521"):
        private, _ = pems(tmp_path, key("x", kind), kind)
        wanted.append({"do": "files", "path": model, "signature": tmp_path / f"{kind}.sig", "pem": private})
        (model / "sub/deep/x.bin").write_bytes(b"not empty: shards leave empty files out")
        wanted.append({"do": "shards", "path": model, "signature": tmp_path / f"{kind}.shards", "pem": private})
    assert jobs(tool, *wanted) == ["signed"] * 6
    files = set(SOME) | {"a/b", "a-b", "a.b", "模型 (copy).bin"}
    for kind in ("P-256", "P-384", "P-521"):
        for how in ("sig", "shards"):
            data = (tmp_path / f"{kind}.{how}").read_bytes()
            assert folder.verify_model(model, data, key("x", kind).public).names == files
    (model / "model.bin").write_bytes(b"\0\1\2weightt")
    for how in ("sig", "shards"):
        data = (tmp_path / f"P-256.{how}").read_bytes()
        refused("PAYLOAD_DIGEST_MISMATCH", partial(folder.verify_model, model, data, key("x", "P-256").public))


def test_a_single_file_that_it_signs_verifies_here(tool: Path, model: Path, tmp_path: Path) -> None:
    private, _ = pems(tmp_path, key(), "S")
    file = tmp_path / "one.sig"
    assert jobs(tool, {"do": "files", "path": model / "model.bin", "signature": file, "pem": private}) == ["signed"]
    assert folder.verify_model(model / "model.bin", file.read_bytes(), key().public).names == {"."}


def test_an_unpacked_bundle_verifies_with_the_command_in_our_manual(tool: Path, tmp_path: Path) -> None:
    place = fill(tmp_path / "unpacked", dict(FILES))
    signers = [key(), key("bob")]
    for signer in signers:
        fill(place, {f"signatures/{signer.public.id}.sig": sig(signer)})
    for number, signer in enumerate(signers):
        _, public = pems(tmp_path, signer, f"S{number}")
        file = place / "signatures" / f"{signer.public.id}.sig"
        command: list[str | Path] = [
            tool,
            "-m",
            "model_signing",
            "verify",
            "key",
            place,
            "--public_key",
            public,
            "--signature",
            file,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout.strip()) == (0, "Verification succeeded"), done.stderr


def test_its_command_line_and_ours_on_the_same_files(tool: Path, model: Path, tmp_path: Path) -> None:
    files = key_files.generate(tmp_path / "S")
    file = tmp_path / "cli.sig"
    command: list[str | Path] = [
        tool,
        "-m",
        "model_signing",
        "sign",
        "key",
        model,
        "--private_key",
        files.private_path,
        "--signature",
        file,
    ]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    ours: list[str | Path] = [
        sys.executable,
        "-m",
        "signing",
        "verify-model",
        "--method",
        "key",
        "--model-path",
        model,
        "--bundle",
        file,
    ]
    done = subprocess.run(
        [*ours, "--public-key", files.public_path], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr


def test_what_it_wrongly_accepts_is_refused_here(tool: Path, tmp_path: Path) -> None:
    private, public = pems(tmp_path, key(), "S")
    fill(tmp_path, {"secret": b"a"})
    place = fill(tmp_path / "m", {"a": b"a"})
    digest = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    payload = statement.build("m", {"a": digest}).replace(b'"name":"a"', b'"name":"../secret"')
    file = tmp_path / "x.sig"
    file.write_bytes(envelope.sign(payload, key()))
    refused("UNSAFE_PATH", lambda: folder.verify_model(place, file.read_bytes(), key().public, ignore_unsigned=True), "'..'")
    double = json.loads(folder.sign_model(place, key()))
    double["dsseEnvelope"]["signatures"].append({"sig": base64.b64encode(b"x").decode(), "keyid": ""})
    file.write_bytes(json.dumps(double).encode())
    refused("SIGNATURE_FORMAT", lambda: folder.verify_model(place, file.read_bytes(), key().public), "2 signatures")
    assert jobs(tool, {"do": "verify", "path": place, "signature": file, "pem": public}) == ["yes"]  # why the check is ours
    assert private.exists()
