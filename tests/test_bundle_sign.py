"""camagent bundle sign: what it writes verifies here, with the public tool and with OpenSSL; and no failure costs the file."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from camagent import cli
from firmware_pkg import signed
from firmware_pkg.checklist import Checklist
from firmware_pkg.verify import Policy, verify
from signing import key_files, trust_edit
from signing.keys import PublicKey
from signing.pkcs11 import Pkcs11Signer
from signing.trust import read_root
from signing.verify import trust_key
from tests.signing.support import LATER, key, refused
from tests.signing.test_public_tool import tool  # noqa: F401  a fixture
from tests.support.agent import camagent
from tests.support.bundles import TarMember, key_id, make_signed, make_unsigned, members, rewrite, root_json, write_key
from tests.support.hsm import PIN, soft_token
from tests.test_contracts import ROOT


def sign(path: Path, key_file: Path, *more: str) -> int:
    """In this process: what main() does, without starting Python anew."""
    return cli.run(["bundle", "sign", str(path), "--key", str(key_file), *more])


def accepted(path: Path, *names: str) -> None:
    """Verifies for each of these keys alone."""
    for name in names:
        with path.open("rb") as source:
            assert verify(source, Policy(trusted=trust_key(key(name).public)), Checklist()).signers == (key_id(name),)


def litter(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def test_the_command_signs_and_the_next_key_adds_its_own(tmp_path: Path) -> None:
    path = make_unsigned(tmp_path)
    path.chmod(0o640)
    first, second = write_key(tmp_path), write_key(tmp_path, "b")
    done = camagent("bundle", "sign", str(path), "--key", str(first), "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["key"], shown["replaced"], shown["signatures"]) == (key_id(), False, [key_id()])
    assert sign(path, second) == 0
    accepted(path, "release", "b")
    names = [member.name for member in members(path)]
    assert names == [
        "bundle.json",
        *sorted(f"signatures/{key_id(n)}.sig" for n in ("release", "b")),
        "model.onnx",
        "golden/blobs.png",
    ]
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.stat().st_size % tarfile.RECORDSIZE == 0
    assert not litter(tmp_path)


def test_signing_again_with_the_same_key_replaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, file = make_signed(tmp_path, signers=("release", "b")), write_key(tmp_path)
    before = {member.name: member.data for member in members(path)}
    assert sign(path, file, "--json") == 0
    assert json.loads(capsys.readouterr().out)["replaced"] is True
    after = {member.name: member.data for member in members(path)}
    assert list(before) == list(after)
    assert [name for name in after if before[name] != after[name]] == [f"signatures/{key_id()}.sig"], "ECDSA is randomised"
    accepted(path, "release", "b")


def test_a_key_under_a_passphrase(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_unsigned(tmp_path)
    files = key_files.generate(tmp_path / "locked", b"open sesame")
    (tmp_path / "secret").write_text("open sesame\n")
    (tmp_path / "wrong").write_text("close sesame\n")
    before = path.read_bytes()
    for more in ((), ("--passphrase-file", str(tmp_path / "wrong"))):
        assert sign(path, files.private_path, *more) == 1
        assert "error[KEY_PASSPHRASE]" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert sign(path, files.private_path, "--passphrase-file", str(tmp_path / "secret")) == 0
    with path.open("rb") as source:
        verify(source, Policy(trusted=trust_key(files.public)), Checklist())


def test_roots_travel_in_the_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = root_json(key("old"))
    second = trust_edit.add_signer(read_root(first), key("release").public, [key("root")], expires=LATER)
    third = trust_edit.rotate(read_root(second), [key("root")], expires=LATER)
    for number, data in enumerate((first, second, third), start=1):
        (tmp_path / f"{number}.json").write_bytes(data)
    path, file = make_unsigned(tmp_path), write_key(tmp_path)
    before = path.read_bytes()
    assert sign(path, file, "--root", str(tmp_path / "1.json"), "--root", str(tmp_path / "3.json")) == 1
    assert "error[TRUST_ROTATION]" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert sign(path, file, "--root", str(tmp_path / "3.json"), "--root", str(tmp_path / "2.json")) == 0
    assert {"signatures/2.root.json", "signatures/3.root.json"} < {member.name for member in members(path)}
    assert sign(path, write_key(tmp_path, "b")) == 0, "the next signer keeps the roots"
    (tmp_path / "root.json").write_bytes(first)
    capsys.readouterr()
    assert cli.run(["bundle", "verify", str(path), "--trust", str(tmp_path / "root.json"), "--json"]) == 0
    signer = next(step for step in json.loads(capsys.readouterr().out)["steps"] if step["id"] == "signer")
    assert signer["measured"]["roots in the bundle"] == "2.root.json 3.root.json"


def test_a_signature_left_over_from_another_build_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, path = make_signed(tmp_path, file="old", gain=1.5), make_unsigned(tmp_path)
    first, *rest = members(path)
    rewrite(path, [first, members(old)[1], *rest])
    before = path.read_bytes()
    assert sign(path, write_key(tmp_path, "b")) == 1
    said = capsys.readouterr().err
    assert "error[PAYLOAD_DIGEST_MISMATCH]" in said
    assert key_id() in said
    assert hashlib.sha256(rest[0].data).hexdigest() in said
    assert path.read_bytes() == before
    assert sign(path, write_key(tmp_path)) == 0, "its own signer may replace it"
    rewrite(path, [first, TarMember("signatures/odd.sig", b"{}"), *rest])
    assert sign(path, write_key(tmp_path)) == 1
    assert "error[SIGNATURE_FORMAT]" in capsys.readouterr().err


def test_what_cannot_be_signed_stays_as_it_is(tmp_path: Path) -> None:
    path = make_unsigned(tmp_path)
    refused("KEY_TYPE_UNSUPPORTED", lambda: signed.add(path, key("x", "P-384")), "P-384", "P-256")
    for index in range(16):
        signed.add(path, key(f"signer {index}"))
    whole = path.read_bytes()
    refused("SIZE_LIMIT", lambda: signed.add(path, key("one more")), "17", "16")
    assert path.read_bytes() == whole
    for code, data in (("BUNDLE_TRUNCATED", whole[:-11_000]), ("SIZE_LIMIT", whole + b"x")):
        path.write_bytes(data)
        refused(code, lambda: signed.add(path, key("release")))
        assert path.read_bytes() == data
    assert not litter(tmp_path)


def test_a_link_to_a_bundle_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path = make_unsigned(tmp_path / "real")
    link = tmp_path / "latest.cambundle"
    link.symlink_to(path)
    signed.add(link, key("release"))
    assert link.is_symlink()
    accepted(path, "release")


@dataclass(frozen=True, slots=True)
class Meddler:
    """Changes the file while it is being signed."""

    path: Path

    @property
    def public(self) -> PublicKey:
        return key("release").public

    def sign(self, data: bytes) -> bytes:
        raw = bytearray(self.path.read_bytes())
        raw[raw.index(b"AveragePool")] ^= 1
        self.path.write_bytes(raw)
        return key("release").sign(data)


def test_a_file_that_changes_while_it_is_signed_gets_no_signature(tmp_path: Path) -> None:
    path = make_unsigned(tmp_path)
    refused("PAYLOAD_DIGEST_MISMATCH", lambda: signed.add(path, Meddler(path)), "model.onnx")
    assert [member.name for member in members(path)] == ["bundle.json", "model.onnx", "golden/blobs.png"]
    assert not litter(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", place], capture_output=True).returncode
    ):
        pytest.skip("a small disk can be mounted as root only")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_leaves_the_old_file(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, file = make_unsigned(small_disk, model=bytes(400_000), golden=False), write_key(small_disk)
    before = path.read_bytes()
    assert sign(path, file) == 1
    said = capsys.readouterr().err
    assert "error[NO_SPACE]" in said
    assert "bytes" in said
    assert path.read_bytes() == before
    assert not litter(small_disk)


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def test_a_quota_leaves_the_old_file(tmp_path: Path) -> None:
    path, file = make_unsigned(tmp_path, model=bytes(400_000), golden=False), write_key(tmp_path)
    before = path.read_bytes()
    command = [sys.executable, "-m", "camagent", "bundle", "sign", str(path), "--key", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit_file_size)
    assert (done.returncode, "error[NO_SPACE]" in done.stderr) == (1, True), done.stderr
    assert os.strerror(errno.EFBIG) not in done.stdout
    assert path.read_bytes() == before
    assert not litter(tmp_path)


def test_a_quota_leaves_the_old_file_when_a_bundle_is_built_anew(tmp_path: Path) -> None:
    (tmp_path / "m.rknn").write_bytes(bytes(400_000))
    (tmp_path / "o.cambundle").write_bytes(b"the old one")
    command = [sys.executable, "-m", "camagent", "bundle", "create", "m.rknn:rknn", "--name", "x", "--version", "1"]
    command += ["--head", "yolov8", "--labels", "coco80", "--size", "64x64", "-o", "o.cambundle"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, preexec_fn=limit_file_size)
    assert (done.returncode, "error[NO_SPACE]" in done.stderr) == (1, True), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.rknn", "o.cambundle"]
    assert (tmp_path / "o.cambundle").read_bytes() == b"the old one"


KILLS = 4


def test_kill_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path, file = make_unsigned(tmp_path, model=random.Random(1).randbytes(20 << 20), golden=False), write_key(tmp_path)
    unsigned = path.read_bytes()
    command = [sys.executable, "-m", "camagent", "bundle", "sign", str(path), "--key", str(file)]
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    whole = time.monotonic() - started
    delays = random.Random(2)
    outcomes = set()
    for _ in range(KILLS):
        path.write_bytes(unsigned)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(whole * delays.uniform(0.4, 1.1))
            process.send_signal(signal.SIGKILL)
        if path.read_bytes() == unsigned:
            outcomes.add("old")
        else:
            accepted(path, "release")
            outcomes.add("new")
    assert outcomes <= {"old", "new"}
    assert sign(path, file) == 0
    accepted(path, "release")


def test_no_key_no_bundle_no_folder_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, file = make_unsigned(tmp_path), write_key(tmp_path)
    for arguments in (
        [str(path), "--key", str(tmp_path / "no.pem")],
        [str(tmp_path / "no.cambundle"), "--key", str(file)],
        [str(path)],
        [str(path), "--key", "pkcs11:token=cameras", "--passphrase-file", str(file)],
        [str(path), "--key", "pkcs11:token=a;object=b?module-path=/nowhere"],
    ):
        assert cli.run(["bundle", "sign", *arguments]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error[")
        assert "fix:" in said


def test_the_public_tool_verifies_an_unpacked_bundle(tool: Path, tmp_path: Path) -> None:  # noqa: F811
    place = tmp_path / "unpacked"
    place.mkdir()
    path = make_signed(tmp_path, signers=("release", "b"), extra={"more/labels.txt": b"red\n", "a.b": b"", "a-b": b"x"})
    subprocess.run(["tar", "-xf", path, "-C", place], check=True)
    for name in ("release", "b"):
        write_key(tmp_path, name)
        public, signature = tmp_path / f"{name}.pub.pem", place / "signatures" / f"{key_id(name)}.sig"
        command: list[str | Path] = [tool, "-m", "model_signing", "verify", "key", place, "--public_key", public]
        command += ["--signature", signature]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout.strip()) == (0, "Verification succeeded"), done.stderr
    (place / "model.onnx").write_bytes(b"another")
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 1


def test_openssl_alone_verifies_a_signature(tmp_path: Path) -> None:
    """The recipe of docs/signing.md, with tar, jq-like JSON and openssl; the payload then names every file's SHA-256."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    path = make_signed(tmp_path)
    write_key(tmp_path)
    envelope: dict[str, Any] = json.loads(members(path)[1].data)["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    (tmp_path / "pae").write_bytes(b"DSSEv1 28 application/vnd.in-toto+json %d " % len(payload) + payload)
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    command = ["openssl", "dgst", "-sha256", "-verify", "release.pub.pem", "-signature", "sig", "pae"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "Verified OK"), done.stderr
    listed = {entry["name"]: entry["digest"] for entry in json.loads(payload)["predicate"]["resources"]}
    assert listed == {m.name: hashlib.sha256(m.data).hexdigest() for m in members(path) if not m.name.startswith("signatures/")}


def manual(heading: str, number: int = 0) -> str:
    """A block of commands of docs/signing.md."""
    text = (ROOT / "docs" / "signing.md").read_text("utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found: str = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)[number]
    return found


def test_the_manuals_first_commands_lead_to_a_bundle_that_is_accepted(tmp_path: Path) -> None:
    block = manual("A first key to a running bundle, in five commands")
    commands = [line.split()[1:] for line in block.splitlines() if line.startswith("camagent ")]
    assert len(commands) == 5
    assert [command[:2] for command in commands[3:]] == [["trust", "install"], ["bundle", "install"]]
    (tmp_path / "keys").mkdir()
    make_unsigned(tmp_path, file="fastestdet-1.0.0.cambundle")
    for command in (*commands[:3], ["bundle", "verify", "fastestdet-1.0.0.cambundle", "--trust", "root.json"]):
        done = subprocess.run([sys.executable, "-m", "camagent", *command], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_the_manuals_check_with_openssl_and_jq(tmp_path: Path) -> None:
    for program in ("jq", "openssl", "bash"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    write_key(tmp_path)
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", make_signed(tmp_path), "-C", tmp_path / "unpacked"], check=True)
    script = "set -euo pipefail\n" + manual("Checking a bundle without our software", 1).replace("ID.sig", f"{key_id()}.sig")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    assert lines[0] == "Verified OK"
    assert sorted(lines[1:4]) == ["bundle.json: OK", "golden/blobs.png: OK", "model.onnx: OK"]
    assert lines[4:6] == ["3", "3"]


def test_a_token_signs_by_its_uri(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token, path = soft_token(), make_unsigned(tmp_path)
    (tmp_path / "pin").write_text(PIN + "\n")
    uri = f"pkcs11:token=cameras;object=release?module-path={token}"
    done = cli.run(["bundle", "sign", str(path), "--key", uri, "--passphrase-file", str(tmp_path / "pin"), "--json"])
    assert done == 0, capsys.readouterr().err
    with Pkcs11Signer(token, "cameras", "release", PIN) as signer, path.open("rb") as source:
        assert json.loads(capsys.readouterr().out)["key"] == signer.public.id
        assert verify(source, Policy(trusted=trust_key(signer.public)), Checklist()).signers == (signer.public.id,)
    (tmp_path / "pin").write_text("0000\n")
    assert cli.run(["bundle", "sign", str(path), "--key", uri, "--passphrase-file", str(tmp_path / "pin")]) == 1
    assert "error[KEY_PASSPHRASE]" in capsys.readouterr().err
