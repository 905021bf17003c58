"""docs/signing.md: what takes more than running its commands."""

from __future__ import annotations

import os
from typing import Any

from tests.manual.blocks import Block
from tests.manual.desk import Desk
from tests.support.bundles import make_signed, members, root_json
from tests.support.hsm import PIN, soft_token
from tests.support.reference_tool import reference_tool

KEYS = """
camagent key generate --out keys/second
rm -f root.json
camagent trust init --root-key keys/release.pem --signer keys/release.pub.pem -o root.json
camagent trust add-signer root.json --root-key keys/release.pem --signer keys/second.pub.pem
"""  # the page's 2.root.json
FOLDER = "mkdir model && cp F.cambundle model/ && cp keys/release.pem keys/release.pub.pem ."


def with_a_token(block: Block, here: Desk) -> None:
    """The token is SoftHSM's and was made by its library: the two tools ask a person for their PINs."""
    library = soft_token()
    here.environment["SOFTHSM2_CONF"] = os.environ["SOFTHSM2_CONF"]
    (here.folder / "pin").write_text(PIN + "\n")
    maker, pairs, sign = block.text.splitlines()
    assert (maker.split()[0], pairs.split()[0]) == ("softhsm2-util", "pkcs11-tool")
    done = here.run(sign.replace("/usr/lib/softhsm/libsofthsm2.so", library))
    assert done.returncode == 0, f"{block}: {done.stdout}"


def by_the_public_tool(block: Block, here: Desk) -> None:
    """Its installation is kept per machine."""
    install, *rest = block.text.splitlines()
    assert install.startswith("python3 -m venv check && check/bin/pip install model-signing==1.1.1 pyopenssl"), str(block)
    (here.folder / "check").symlink_to(reference_tool())
    done = here.run("\n".join(rest).replace("/ID.sig", f"/{_signer(here)}.sig"))
    assert (done.returncode, "Verification succeeded" in done.stdout) == (0, True), f"{block}: {done.stdout}"


def by_hand(block: Block, here: Desk) -> None:
    if not (here.folder / "unpacked").exists():
        assert here.run("mkdir unpacked && tar -xf F.cambundle -C unpacked").returncode == 0
    out = here.play(block, {"/ID.sig": f"/{_signer(here)}.sig"})
    *checks, found, signed = out.split()
    assert "Verified OK" in out, f"{block}: {out}"
    assert found == signed, f"{block}: {out}"
    assert checks.count("OK") == int(found) + 1, f"{block}: {out}"


def _signer(here: Desk) -> str:
    """The id of keys/release, whose signature the page looks at."""
    return here.run("camagent key show keys/release.pub.pem --json | jq -r .id").stdout.strip()


def in_python(block: Block, here: Desk) -> None:
    """Its free names are a bundle's bytes."""
    path = make_signed(here.folder, golden=False, file="python.cambundle")
    parts = {member.name: member.data for member in members(path)}
    sig = next(data for name, data in parts.items() if name.startswith("signatures/"))
    names = [name for name in parts if not name.startswith("signatures/")]
    namespace: dict[str, Any] = {"stored_roots": [root_json()], "sig_bytes": sig, "names_in_the_bundle": names}
    namespace |= {"name": "model.onnx", "chunk": parts["model.onnx"]}
    exec(compile(block.text, str(block), "exec"), namespace)
    assert set(namespace["verified"].files) == set(names)
