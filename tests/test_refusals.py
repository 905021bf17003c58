"""Every refusal of DESIGN section 7: one class, a section in the manual, and real bytes that produce it through the CLI."""

from __future__ import annotations

import ast
import json
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from camagent import cli, config_file, vitals
from camagent.bundles import open_alone
from camagent.service import Origin
from signing import key_files, trust_edit
from signing.trust import read_root
from tests.signing.support import changed, key, with_value
from tests.support import bundles
from tests.support.agent import camagent
from tests.support.bundles import TarMember, in_a_year, make_signed, make_unsigned, members, rewrite, root_json, write_key
from tests.test_contracts import ROOT, modules, relative

DESIGN = (
    "UNTRUSTED_SIGNER", "SIGNATURE_MISSING", "UNSIGNED_NOT_ALLOWED", "SIGNATURE_INVALID", "SIGNATURE_ENCODING",
    "SIGNATURE_FORMAT", "THRESHOLD_NOT_MET", "SIGNER_REVOKED", "TRUST_EXPIRED", "TRUST_MISSING", "TRUST_ROTATION",
    "CLOCK_UNTRUSTED", "KEY_TYPE_UNSUPPORTED", "KEY_PASSPHRASE", "PAYLOAD_DIGEST_MISMATCH", "LINE_ENDINGS_CHANGED",
    "FILE_MISSING", "EXTRA_FILE", "UNSAFE_PATH", "BUNDLE_TRUNCATED", "SIZE_LIMIT", "MANIFEST_INVALID", "FORMAT_UNSUPPORTED",
    "DEVICE_MISMATCH", "RUNTIME_TOO_OLD", "ROLLBACK_REFUSED", "BUNDLE_EXPIRED", "NO_SPACE", "GOLDEN_FAILED",
    "LABEL_COUNT_MISMATCH", "HEAD_MISMATCH", "ARTIFACT_TARGET", "DOWNLOAD_FAILED",
)  # fmt: skip

# shown in another file: code -> file::test, which must be there and name the code
ELSEWHERE = {
    "NO_SPACE": "tests/test_bundle_sign.py::test_a_quota_leaves_the_old_file",
    "HEAD_MISMATCH": "tests/test_infer.py::test_bad_input_gets_a_sentence",
    "LABEL_COUNT_MISMATCH": "tests/test_infer.py::test_bad_input_gets_a_sentence",
    "DOWNLOAD_FAILED": "tests/test_bundle_agent.py::test_a_stranger_on_the_broker_reaches_nothing",
    "REPOSITORY_EXPIRED": "tests/tuf/test_freeze.py::test_freeze_is_noticed_when_the_timestamp_expires",
    "REPOSITORY_ROLLBACK": "tests/tuf/test_rollback.py::test_rollback_to_an_old_copy_of_everything",
    "REPOSITORY_MIXED": "tests/tuf/test_mix_and_match.py::test_files_of_different_states",
    "REPOSITORY_SIGNATURE": "tests/tuf/test_keys.py::test_a_repository_of_somebody_else",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with a trust root and the key that it trusts."""

    folder: Path

    def verify(self, path: Path, *more: str, root: bytes | None = None) -> list[str]:
        """The command that judges `path` by a root: the one that trusts `release`, unless another is given."""
        trust = self.folder / "root.json"
        trust.write_bytes(root or root_json())
        return ["bundle", "verify", str(path), "--trust", str(trust), *more]

    def signed(self, **options: Any) -> Path:
        return make_signed(self.folder, **options)

    def unsigned(self, **options: Any) -> Path:
        return make_unsigned(self.folder, **options)

    def install(self, path: Path) -> list[str]:
        """The command that installs `path` on a camera, without a daemon."""
        return ["bundle", "install", str(path), "-c", str(self.configured())]

    def configured(self) -> Path:
        """A camera's configuration, whose trust root trusts `release`."""
        config, root = self.folder / "camagent.toml", self.folder / "root.json"
        root.write_bytes(root_json())
        camera = '[[camera]]\nname = "front"\nurl = "x.mp4"\nbundle = "blobs"\n'
        config.write_text(f'[agent]\nstate_dir = "{self.folder}/state"\ntrust = "{root}"\n{camera}')
        return config

    def with_signature(self, change: Callable[[bytes], bytes]) -> list[str]:
        """A signed bundle whose .sig was changed afterwards."""
        path = self.signed()
        found = members(path)[1]
        return self.verify(bundles.changed(path, found.name, change(found.data)))

    def with_members(self, change: Callable[[list[TarMember]], list[TarMember]]) -> list[str]:
        """A signed bundle whose tar was changed afterwards."""
        path = self.signed()
        return self.verify(rewrite(path, change(members(path))))


Case = Callable[[Place], list[str]]
CASES: dict[str, Case] = {}


def produces(code: str) -> Callable[[Case], Case]:
    def register(made: Case) -> Case:
        assert code not in CASES
        CASES[code] = made
        return made

    return register


@produces("UNSIGNED_NOT_ALLOWED")
def unsigned_not_allowed(place: Place) -> list[str]:
    return place.install(place.unsigned())


@produces("GOLDEN_FAILED")
def golden_failed(place: Place) -> list[str]:
    return place.install(place.signed(gain=0))


@produces("ROLLBACK_REFUSED")
def rollback_refused(place: Place) -> list[str]:
    with open_alone(config_file.load(place.configured()).config) as desk, place.signed(index=5).open("rb") as source:
        answer = desk.install(source, Origin("local", "test"), lambda _: None)
        desk.live.store.confirm("blobs", answer["digest"])
    return place.install(place.signed(version="2.0.0", index=4))


@produces("UNTRUSTED_SIGNER")
def untrusted_signer(place: Place) -> list[str]:
    return place.verify(place.signed(signers=("development",)))


@produces("SIGNATURE_MISSING")
def signature_missing(place: Place) -> list[str]:
    return place.verify(place.unsigned())


@produces("SIGNATURE_INVALID")
def signature_invalid(place: Place) -> list[str]:
    return place.with_signature(lambda data: with_value(data, key("release").sign(b"another model")))


@produces("SIGNATURE_ENCODING")
def signature_encoding(place: Place) -> list[str]:
    return place.with_signature(lambda data: with_value(data, bytes(range(64))))  # raw r||s, as tokens and JOSE give it


@produces("SIGNATURE_FORMAT")
def signature_format(place: Place) -> list[str]:
    return place.with_signature(lambda data: data[:-20])


@produces("FORMAT_UNSUPPORTED")
def format_unsupported(place: Place) -> list[str]:
    newer = "application/vnd.dev.sigstore.bundle.v0.4+json"
    return place.with_signature(lambda data: changed(data, lambda found: found.update(mediaType=newer)))


@produces("THRESHOLD_NOT_MET")
def threshold_not_met(place: Place) -> list[str]:
    return place.verify(place.signed(), root=root_json(key("release"), key("second"), threshold=2))


def revoked_root() -> list[bytes]:
    first = root_json(key("lost"), key("release"))
    return [first, trust_edit.remove_signer(read_root(first), key("lost").public.id, [key("root")], expires=in_a_year())]


@produces("SIGNER_REVOKED")
def signer_revoked(place: Place) -> list[str]:
    first, second = revoked_root()
    (place.folder / "2.root.json").write_bytes(second)
    return place.verify(place.signed(signers=("lost",)), "--trust", str(place.folder / "2.root.json"), root=first)


YESTERDAY = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


@produces("TRUST_EXPIRED")
def trust_expired(place: Place) -> list[str]:
    return place.verify(place.signed(), root=root_json(expires=YESTERDAY))


@produces("TRUST_MISSING")
def trust_missing(place: Place) -> list[str]:
    return place.verify(place.signed(), root=b'{"signed": {}, "signatures": []}')


@produces("TRUST_ROTATION")
def trust_rotation(place: Place) -> list[str]:
    first, second = revoked_root()
    third = trust_edit.rotate(read_root(second), [key("root")], expires=in_a_year())
    (place.folder / "3.root.json").write_bytes(third)
    return place.verify(place.signed(), "--trust", str(place.folder / "3.root.json"), root=first)


@produces("CLOCK_UNTRUSTED")
def clock_untrusted(place: Place) -> list[str]:
    return place.verify(place.signed(), root=root_json(expires=YESTERDAY))


@produces("KEY_TYPE_UNSUPPORTED")
def key_type_unsupported(place: Place) -> list[str]:
    (place.folder / "large.pub.pem").write_bytes(key("large", "P-384").public.pem)
    return ["bundle", "verify", str(place.signed()), "--public-key", str(place.folder / "large.pub.pem")]


@produces("KEY_PASSPHRASE")
def key_passphrase(place: Place) -> list[str]:
    files = key_files.generate(place.folder / "locked", b"open sesame")
    return ["bundle", "sign", str(place.unsigned()), "--key", str(files.private_path)]


@produces("PAYLOAD_DIGEST_MISMATCH")
def payload_digest_mismatch(place: Place) -> list[str]:
    return place.with_members(
        lambda listed: [replace(m, data=m.data[:-1] + b"\0") if m.name == "model.onnx" else m for m in listed]
    )


@produces("LINE_ENDINGS_CHANGED")
def line_endings_changed(place: Place) -> list[str]:
    return place.with_members(lambda listed: [replace(listed[0], data=listed[0].data.replace(b"\n", b"\r\n")), *listed[1:]])


@produces("FILE_MISSING")
def file_missing(place: Place) -> list[str]:
    return place.with_members(lambda listed: [m for m in listed if m.name != "golden/blobs.png"])


@produces("EXTRA_FILE")
def extra_file(place: Place) -> list[str]:
    return place.with_members(lambda listed: [*listed, TarMember(".git/config", b"[core]\n")])


@produces("UNSAFE_PATH")
def unsafe_path(place: Place) -> list[str]:
    return place.with_members(lambda listed: [*listed, TarMember("labels.txt", kind=tarfile.SYMTYPE, link="/etc/passwd")])


@produces("BUNDLE_TRUNCATED")
def bundle_truncated(place: Place) -> list[str]:
    path = place.signed()
    path.write_bytes(path.read_bytes()[:5000])
    return place.verify(path)


@produces("SIZE_LIMIT")
def size_limit(place: Place) -> list[str]:
    return place.with_members(lambda listed: [*listed, TarMember("giant.bin", declared=1 << 40)])


@produces("MANIFEST_INVALID")
def manifest_invalid(place: Place) -> list[str]:
    return place.with_members(
        lambda listed: [replace(listed[0], data=listed[0].data.replace(b'"detect"', b'"guess"')), *listed[1:]]
    )


@produces("DEVICE_MISMATCH")
def device_mismatch(place: Place) -> list[str]:
    return place.verify(place.signed(compatible=["rk3588"]), "--device", "rk3568")


@produces("ARTIFACT_TARGET")
def artifact_target(place: Place) -> list[str]:
    artifacts = [{"path": "model.onnx", "backend": "onnx", "targets": ["rk3588"]}]
    return place.verify(place.signed(artifacts=artifacts), "--device", "rk3568")


@produces("RUNTIME_TOO_OLD")
def runtime_too_old(place: Place) -> list[str]:
    return place.verify(place.signed(requires={"camagent": ">=99"}))


@produces("BUNDLE_EXPIRED")
def bundle_expired(place: Place) -> list[str]:
    return place.verify(place.signed(expires=YESTERDAY.isoformat().replace("+00:00", "Z")))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(vitals, "clock_synchronised", lambda: True)  # the kernel's word: it differs from machine to machine
    return Place(tmp_path)


def evidence_keys(rendered: str) -> list[str]:
    """The names of the measured things in an error as it is printed."""
    line = next((line for line in rendered.splitlines() if line.strip().startswith("evidence:")), "")
    return re.findall(r"(?:^|, )([^=,]+) = ", line.strip().removeprefix("evidence: "))


@pytest.mark.parametrize("code", CASES)
def test_real_bytes_produce_the_refusal_with_both_sides_and_a_fix(
    code: str, place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if code == "CLOCK_UNTRUSTED":
        monkeypatch.setattr(vitals, "clock_synchronised", lambda: False)
    command = CASES[code](place)
    assert cli.run(command) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"error[{code}]: ")
    assert re.search(r"\n  fix: \S+ \S+", err)
    assert len(evidence_keys(err)) >= 2, err
    assert "Traceback" not in err
    section = sections()[code]
    example = section[section.index(f"error[{code}]: ") :]
    assert set(evidence_keys(example)) == set(evidence_keys(err)), f"docs/refusals.md shows another example of {code}: {err}"
    if command[:2] == ["bundle", "verify"]:
        assert f"refused: {code}" in out
        assert cli.run([*command, "--json"]) == 1
        report = json.loads(capsys.readouterr().out)
        assert (report["schema"], report["accepted"], report["code"]) == ("camagent.verify/1", False, code)
        (failed,) = [step for step in report["steps"] if step["status"] == "fail"]
        assert failed["measured"]["code"] == code
        assert len(failed["measured"]) >= 4, "code, what, fix and both sides"


def test_a_refusal_and_its_checklist_by_the_installed_command(tmp_path: Path) -> None:
    """The one test here that starts a process: streams, exit codes, and nothing but JSON on stdout."""
    place = Place(tmp_path)
    good = place.verify(place.signed())
    done = camagent(*good, "--json")
    assert (done.returncode, json.loads(done.stdout)["accepted"], done.stderr) == (0, True, "")
    bad = place.verify(place.signed(signers=("development",)))
    done = camagent(*bad)
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()[:6]] == ["✓", "✓", "–", "✓", "✗", "–"]
    assert done.stderr.startswith("error[UNTRUSTED_SIGNER]")
    assert camagent(*bad[:3]).returncode == 2, "whom to trust was not said"


def test_infer_verifies_every_file_also_those_that_it_does_not_use(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    path = place.signed(extra={"notes.bin": b"0" * 10})
    picture = place.folder / "blobs.png"
    picture.write_bytes(next(member.data for member in members(path) if member.name == "golden/blobs.png"))
    trusting = ["infer", str(path), str(picture), "--json", "--trust", place.verify(path)[-1]]
    assert cli.run(trusting) == 0
    assert json.loads(capsys.readouterr().out)["detections"]
    bundles.changed(path, "notes.bin", b"1" * 10)
    assert cli.run(trusting) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error[PAYLOAD_DIGEST_MISMATCH]: 'notes.bin'")
    configured = ["infer", str(path), str(picture), "--json", "-c", str(place.configured())]
    assert cli.run(configured) == 1
    assert "error[PAYLOAD_DIGEST_MISMATCH]" in capsys.readouterr().err


@cache
def coded_classes() -> tuple[tuple[str, str], ...]:
    """(code, file:class) of every class that sets `code`."""
    return tuple(_coded_classes())


def _coded_classes() -> Iterator[tuple[str, str]]:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                for line in node.body:
                    named = isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "code"
                    if named and isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant):
                        yield str(line.value.value), f"{relative(path)}:{node.name}"


def sections() -> dict[str, str]:
    """Code -> its section of docs/refusals.md."""
    text = (ROOT / "docs" / "refusals.md").read_text("utf-8")
    parts = re.split(r"^### `?([A-Z_]+)`?$", text, flags=re.MULTILINE)[1:]
    assert len(parts[::2]) == len(set(parts[::2])), "a code has two sections"
    return {code: body.split("\n## ")[0] for code, body in zip(parts[::2], parts[1::2], strict=True)}


@pytest.mark.parametrize("code", DESIGN)
def test_a_code_has_one_class_a_section_and_a_test(code: str) -> None:
    places = [where for found, where in coded_classes() if found == code]
    assert len(places) == 1, f"{code}: {places}"
    assert code in sections(), f"docs/refusals.md has no section {code}"
    assert f"error[{code}]: " in sections()[code], f"the section {code} shows no example"
    assert "evidence: " in sections()[code]
    assert "fix: " in sections()[code]
    homes = [code in CASES, code in ELSEWHERE]
    assert sum(homes) == 1, f"{code} is shown in {sum(homes)} places"


@pytest.mark.parametrize("code", ELSEWHERE)
def test_the_other_test_is_there(code: str) -> None:
    file, _, name = ELSEWHERE[code].partition("::")
    text = (ROOT / file).read_text("utf-8")
    assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), f"{file} has no test {name}"
    assert code in text, f"{file} does not speak of {code}"


def test_every_refusal_of_the_two_lower_layers_stands_in_the_manual() -> None:
    text = (ROOT / "docs" / "refusals.md").read_text("utf-8")
    for code, where in coded_classes():
        if where.startswith(("signing/refusals.py", "firmware_pkg/errors.py")) and code != "REFUSED":
            assert f"`{code}`" in text or code in sections(), f"docs/refusals.md says nothing of {code} ({where})"


def test_nasty_names_reach_no_terminal(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("[/]", "[red]x[/red]", "a\x1b[2Jb", "a\u202eb", "x" * 90):
        path = place.signed()
        command = place.verify(rewrite(path, [*members(path), TarMember(name, b"x")]))
        assert cli.run(command) == 1
        out, err = capsys.readouterr()
        assert "\x1b" not in out + err
        assert "\u202e" not in out + err
        assert name in err or not name.isprintable()


def test_a_file_name_that_is_markup_is_shown_as_it_is(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    odd = place.folder / "cam[bold].cambundle"
    shutil.copy(place.signed(), odd)
    assert cli.run(place.verify(odd)) == 0
    assert cli.run(["bundle", "sign", str(odd), "--key", str(write_key(place.folder))]) == 0
    assert "cam[bold].cambundle" in capsys.readouterr().out
