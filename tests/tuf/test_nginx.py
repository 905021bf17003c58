"""A repository on a real web server: the manual's lines for rsync, nginx and a cache in front of it, and our own commands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from camagent import fetching
from tests.support.broker import wait_for
from tests.support.heavy import weighty_blobs
from tests.support.nginx import Nginx
from tests.support.tls import Authority
from tests.support.tuf_scene import QUICK, Scene, second_root

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tuf-repository.md"


def lines_of_the_manual(begin: str, **changes: str) -> str:
    """The block that begins so, with what is different here; every change must find its place."""
    (block,) = re.findall(rf"^```(?:sh)?\n({re.escape(begin)}.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert isinstance(block, str)
    for old, new in changes.items():
        assert old in block, f"{old} does not stand in {block}"
        block = block.replace(old, new)
    return block


def origin_lines(folder: Path, age: str = "60") -> str:
    return lines_of_the_manual("location /cameras/metadata/", **{"/srv": str(folder / "srv"), "max-age=60": f"max-age={age}"})


def upload(scene: Scene) -> None:
    """With the manual's own command, to a folder of this machine."""
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed")
    (scene.folder / "srv" / "cameras").mkdir(parents=True, exist_ok=True)
    command = lines_of_the_manual("rsync ", **{"www:/srv": f"{scene.folder}/srv", " site/": f" {scene.folder}/own/"})
    subprocess.run(["sh", "-ec", command], check=True)


def asked(server: Nginx, part: str) -> list[str]:
    return [line for line in server.told if part in line]


@pytest.fixture
def published(scene: Scene) -> Scene:
    scene.publish("1.0.0")
    upload(scene)
    return scene


def test_by_the_manuals_lines_over_https(published: Scene) -> None:
    authority = Authority(published.folder)
    with Nginx(published.folder / "origin", origin_lines(published.folder), identity=authority.issue("127.0.0.1")) as origin:
        url = f"{origin.url}/cameras/"
        with Path(published.config).open("a") as config:
            config.write(f'[fleet.tuf]\nurl = "{url}"\nca_file = "{authority.file}"\n')
        published.server.url = url
        published.takes("1.0.0")
        looked = origin.told
        assert published.fetch() == 0
        assert "nothing newer" in published.capsys.readouterr().out
        assert [line.split("/")[-1].split()[0] for line in origin.told[len(looked) :]] == ["2.root.json", "timestamp.json"]
        ages = {
            name: requests.get(url + name, timeout=10, verify=str(authority.file)).headers.get("Cache-Control")
            for name in ("metadata/timestamp.json", "metadata/1.targets.json", "metadata/2.root.json")
        }
        assert ages == {
            "metadata/timestamp.json": "public, max-age=60",
            "metadata/1.targets.json": "public, max-age=31536000, immutable",
            "metadata/2.root.json": None,
        }, "nobody may remember for a year that there is no new root"


def test_behind_a_cache_every_look_is_a_sound_one_and_a_bundle_leaves_the_origin_once(published: Scene) -> None:
    place = published.folder
    with Nginx(place / "origin", origin_lines(place, age="1")) as origin:
        cache = lines_of_the_manual("proxy_cache_path", **{"/var/cache/cameras": str(place / "cached")})
        lines = lines_of_the_manual(
            "location /cameras/ {",
            **{"https://origin.example.org": origin.url, "proxy_cache_valid 404 1m": "proxy_cache_valid 404 1s"},
        )
        with Nginx(place / "edge", lines, http=cache) as edge:
            published.server.url = f"{edge.url}/cameras/"
            published.takes("1.0.0")
            target = asked(edge, "/targets/")[0].split()[2]
            for _ in range(20):
                assert requests.get(edge.url + target, timeout=10).status_code == 200
            assert len(asked(origin, "/targets/")) == 1
            published.publish("1.1.0")
            upload(published)
            taken_by_and_by(published, "1.1.0")
            published.publish("1.2.0", root=second_root(), signer="new release")
            upload(published)
            taken_by_and_by(published, "1.2.0", but="REPOSITORY_SIGNATURE")  # while the cache says that there is no new root
            assert len(asked(origin, "/targets/")) == 3
            assert len(asked(edge, "timestamp.json")) > len(asked(origin, "timestamp.json"))


def taken_by_and_by(scene: Scene, version: str, but: str = "") -> None:
    """An old state from the cache is an old state, and no refusal `but` that one."""
    end = time.monotonic() + 30
    outcome = ""
    while outcome != "trial":
        assert time.monotonic() < end
        time.sleep(0.2)
        scene.capsys.readouterr()
        code, said = scene.fetch("--json"), scene.capsys.readouterr()
        if code and but:
            assert f"error[{but}]" in said.err
            continue
        assert code == 0, said.err
        outcome = json.loads(said.out)["result"]["outcome"]
        assert outcome in {"trial", "unchanged"}
    assert scene.installed()["blobs"][0] == version


def test_a_web_server_that_dies_in_the_middle_of_a_bundle(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "LIMITS", replace(QUICK, total_s=60, resumes=20, backoff_s=0.2, backoff_max_s=0.5))
    scene.publish("1.0.0", model=weighty_blobs(8))
    upload(scene)
    with Nginx(scene.folder / "origin", f"limit_rate 2m; {origin_lines(scene.folder)}") as origin:
        scene.server.url = f"{origin.url}/cameras/"

        def dies_once() -> None:
            wait_for(lambda: asked(origin, "timestamp.json"), 20)
            time.sleep(1.5)
            origin.kill()
            origin.start()
            over.wait(60)  # it ends with the thread that has started it

        over = threading.Event()
        death = threading.Thread(target=dies_once)
        death.start()
        try:
            scene.takes("1.0.0")
        finally:
            over.set()
            death.join()
        (rest,) = asked(origin, "/targets/")  # the first one was never finished, and nginx had no time to say so
        assert re.fullmatch(r"206 GET \S+ bytes=[1-9][0-9]{5,}-", rest), rest
