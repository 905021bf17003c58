"""Pages on which a camera runs: the agent that they speak of, with a model that sees blobs under the name that they give it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from camagent import config_file
from camagent.bundles import open_alone
from camagent.commands import Accepted, CommandGate
from camagent.service import Origin
from firmware_pkg.addresses import Prefix
from tests.manual.blocks import ROOT, Block, blocks, commands
from tests.manual.desk import Desk
from tests.support.broker import Authority, running, wait_for
from tests.support.bundles import blob_picture, make_signed, write_key, write_root

NAME = "fastestdet"
OPEN = 'listen = "127.0.0.1:{page}"\n'
GUARDED = OPEN + 'token_file = "token"\ncert_file = "camera.pem"\nkey_file = "camera.key"\n'


@contextmanager
def camera(folder: Path, web: str = OPEN, stored: Sequence[str] = ()) -> Iterator[Desk]:
    """An agent, its broker, and beside it what the pages name: bundles, a picture, keys."""
    (folder / "mosquitto").mkdir()
    with running(folder / "mosquitto") as broker:
        here = Desk(folder, broker, {"https://camera:": "https://127.0.0.1:"})
        furnish(here, web)
        confirmed(here, [make_signed(folder, name=NAME, version=version) for version in stored])
        with here.beside("camagent run -c etc/camagent.toml"):
            yield here


@contextmanager
def guarded(folder: Path) -> Iterator[Desk]:
    """With a token and a certificate, and three versions that were confirmed."""
    certificate = Authority(folder).issue("camera")
    assert certificate.cert.exists()
    (folder / "token").write_text("a-token-of-this-test-alone\n")
    with camera(folder, GUARDED, ("1.2.0", "1.1.0")) as here:
        yield here


@contextmanager
def workbench(folder: Path) -> Iterator[Desk]:
    """A camera whose agent does not run, and that trusts nobody yet; an unsigned bundle."""
    here = Desk(folder)
    furnish(here, OPEN)
    (folder / "root.json").unlink()
    for path in folder.glob("*.cambundle"):
        path.unlink()
    for file in (f"{NAME}-1.0.0.cambundle", "F.cambundle"):
        make_signed(folder, signers=(), name=NAME, file=file)
    yield here


@contextmanager
def shelf(folder: Path) -> Iterator[Desk]:
    """Bundles, signed and not, and the root that trusts their signer."""
    write_root(folder)
    make_signed(folder, file="F.cambundle")
    make_signed(folder, signers=(), file="unsigned.cambundle")
    yield Desk(folder)


def furnish(here: Desk, web: str) -> None:
    folder = here.folder
    (folder / "etc" / "credentials").mkdir(parents=True)
    (folder / "street.jpg").write_bytes(blob_picture(2))
    write_root(folder)
    write_key(folder)
    for version in ("1.0.0", "1.1.0"):
        make_signed(folder, name=NAME, version=version)
    port = here.broker.port if here.broker else 1
    (folder / "etc" / "camagent.toml").write_text(
        f'[agent]\nid = "cam-01"\nstate_dir = "{folder}/state"\ntrust = "{folder}/root.json"\n[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n'
        f'[web]\n{web.format(page=here.page)}[[camera]]\nname = "front"\nurl = "{folder}/street.jpg"\nbundle = "{NAME}"\n'
    )


def confirmed(here: Desk, paths: Sequence[Path]) -> None:
    """As after some days on the camera."""
    with open_alone(config_file.load(here.folder / "etc" / "camagent.toml").config) as bundles:
        for path in paths:
            with path.open("rb") as source:
                answer = bundles.install(source, Origin("local", "test"), lambda _: None)
            bundles.live.store.confirm(NAME, answer["digest"])


# -- what is more than running it ---------------------------------------------------------------------------------------------


@contextmanager
def detecting(folder: Path) -> Iterator[Desk]:
    """With a model that runs."""
    with camera(folder, stored=("1.0.0",)) as here:
        wait_for(lambda: f"runs {NAME}" in (folder / "agent.log").read_text(), 30, "the model runs")
        yield here


def uploaded(block: Block, here: Desk) -> None:
    """The job's id stands in the answer to the upload."""
    upload, follow = block.text.splitlines()
    (job,) = re.findall(r'"job": ?"([^"]+)"', here.run(here.ours(upload)).stdout)
    events = here.run(here.ours(follow, {"jobs/ID": f"jobs/{job}"})).stdout
    told = [line for line in events.splitlines() if line.startswith("{")]
    assert '"result"' in told[-1], f"{block}: {events}"


def asked(block: Block, here: Desk) -> None:
    """curl ends with 0 whatever the answer is."""
    for line, told in zip(block.text.splitlines(), ('"camagent.prediction/1"', '"overlay"'), strict=True):
        answer = here.run(here.ours(line)).stdout
        assert told in answer, f"{block}: {line}\n{answer}"


def pushed(block: Block, here: Desk) -> None:
    """The fingerprint is that of this camera's certificate."""
    certificate = x509.load_pem_x509_certificate((here.folder / "camera.pem").read_bytes())
    found = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
    here.play(block, {"9F:86:D0:81:...": found})


def ordered(block: Block, here: Desk) -> None:
    """What the camera makes of such an order, under the configuration that stands above it on the page."""
    body = {**json.loads(block.text), "sha256": 64 * "5"}
    (setting,) = [other for other in blocks(block.page) if other.language == "toml"]
    places = tomllib.loads(setting.text)["commands"]["bundle_from"]
    answer = CommandGate([Prefix.parse(place) for place in places]).judge("bundle", json.dumps(body).encode(), 0.0)
    assert isinstance(answer, Accepted), f"{block}: {answer}"
    assert answer.order is not None
    assert (answer.id, answer.order.size) == (body["id"], body["size"])


def table(block: Block, here: Desk) -> None:
    """Under the columns that are shown stands this camera."""
    head, row = here.run(here.ours("camagent fleet status --url mqtt://127.0.0.1:1883")).stdout.splitlines()[:2]
    assert head.split() == block.text.splitlines()[0].split(), f"{block}: {head}"
    assert row.split()[:2] == ["cam-01", "online"]


def permissions(block: Block, here: Desk) -> None:
    """mosquitto takes it for a list of permissions."""
    (here.folder / "acl").write_text(block.text)
    (here.folder / "guarded").mkdir()
    with running(here.folder / "guarded", [f"acl_file {here.folder}/acl", "allow_anonymous true"]) as broker:
        assert broker.port


def secret(block: Block, here: Desk) -> None:
    """A password is typed, and only its owner may read the file."""
    script = here.ours(block.text)
    environment = {**os.environ, "PATH": f"{here.folder / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], input="s3cret\n", text=True, cwd=here.folder, env=environment, timeout=30)
    file = here.folder / "etc" / "credentials" / "mqtt"
    assert (done.returncode, file.read_text(), file.stat().st_mode & 0o777) == (0, "s3cret\n", 0o600), str(block)


def from_keys_to_a_self_test(block: Block, here: Desk) -> None:
    """README's camera: the agent is left running, for this block and those after it."""
    setting, run, push = re.split(r"^(camagent run .*)$", block.text, flags=re.MULTILINE)
    ready = here.run(here.ours(setting))
    assert ready.returncode == 0, f"{block}: {ready.stdout}"
    here.stay(run)
    done = here.run(here.ours(push))
    assert done.returncode == 0, f"{block}: {done.stdout}"


def dry(block: Block, here: Desk) -> None:
    """What make would do."""
    for words in commands(block.text):
        done = here.run(words.replace("make ", f"make --no-print-directory --dry-run -C {ROOT} "))
        assert done.returncode == 0, f"{block}: {words}\n{done.stdout}"
