"""A magenta patch inside a privacy mask is in no picture that an agent or a tool makes: snapshots, page, reports, drawings.

The patches touch what pixels are shared over: corners on odd coordinates, turned and pointed outlines, the picture's own edge.
Each mask is 1.5 % of the picture wider than its patch: the camera's encoder smears a colour over its neighbours before any
frame reaches the agent, and no mask can know how far. A pixel counts as magenta when red and blue are both 40 levels above
green; the street has none. Without masks every kind of picture is full of it, which is what shows that this test can fail.
"""

from __future__ import annotations

import base64
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support import moving
from tests.support.agent import Agent, Listener, camagent, camera
from tests.support.broker import Broker, free_port, running
from tests.support.camera import RtspCamera

Patches = tuple[moving.Polygon, ...]
PATCHES: Patches = (
    ((0.055, 0.105), (0.205, 0.065), (0.255, 0.255), (0.095, 0.305)),  # turned
    ((0.453, 0.021), (0.611, 0.113), (0.487, 0.337)),  # pointed
    ((0.883, 0.0), (1.0, 0.0), (1.0, 0.297), (0.883, 0.297)),  # in the picture's corner
    ((0.703, 0.501), (0.731, 0.501), (0.731, 0.529), (0.703, 0.529)),  # small
)
WIDER = 0.015
# 4:2:0; and odd sides in 4:4:4, which snapshots and the page halve themselves
SIZES = [(384, 256), pytest.param((383, 255), marks=pytest.mark.full(seconds=60))]


def wider(polygon: moving.Polygon) -> list[list[float]]:
    """Every corner away from the middle, within the picture."""
    middle = np.mean(polygon, axis=0)
    corners = [point + np.sign(np.array(point) - middle) * WIDER for point in polygon]
    return [[round(float(value), 4) for value in np.clip(corner, 0, 1)] for corner in corners]


def masks(patches: Patches) -> str:
    return "".join(f'[[camera.mask]]\nname = "m{n}"\npolygon = {wider(one)}\n' for n, one in enumerate(patches))


def magenta(bgr: NDArray[np.uint8]) -> int:
    wide = bgr.astype(np.int16)
    return int(((wide[..., 2] - wide[..., 1] > 40) & (wide[..., 0] - wide[..., 1] > 40)).sum())


def worst(pictures: Iterator[bytes] | list[bytes]) -> int:
    """Magenta pixels of the picture that has most; there has to be one."""
    found = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in pictures]
    assert found
    assert all(picture is not None for picture in found)
    return max(magenta(np.asarray(picture, np.uint8)) for picture in found)


def live_pictures(port: int, count: int = 8) -> list[bytes]:
    """Of the page, as a browser gets them."""
    made: list[bytes] = []
    with socket.create_connection(("127.0.0.1", port), 20) as wire:
        wire.sendall(b"GET /api/cameras/front/live HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port)
        data = b""
        while len(made) < count:
            part = wire.recv(65536)
            assert part
            data += part
            while found := re.search(rb"Content-Length: (\d+)\r\nX-Camagent-Frame: [^\r]*\r\n\r\n", data):
                end = found.end() + int(found[1])
                if len(data) < end:
                    break
                made.append(data[found.end() : end])
                data = data[end:]
    return made


def report_pictures(path: Path) -> list[bytes]:
    """Those that stand in a page."""
    coded = re.findall(r"data:image/(?:jpeg|png);base64,([A-Za-z0-9+/=]+)", path.read_text("utf-8"))
    return [base64.b64decode(one) for one in coded]


def video_pictures(path: Path) -> Iterator[bytes]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield cv2.imencode(".png", frame.to_ndarray(format="bgr24"))[1].tobytes()


def all_pictures(folder: Path, things: Path, clip: Path, broker: Broker, section_of_masks: str) -> dict[str, int]:
    """What a run, a self-test and `infer` make of a clip: kind of picture -> magenta pixels of the worst one."""
    port = free_port()
    seen: dict[str, int] = {}
    with RtspCamera(clip) as source, Listener(broker.port) as listener:
        section = camera(source.url, things, snapshots=True, retain_snapshots=True) + section_of_masks
        more = f'[web]\nlisten = "127.0.0.1:{port}"\n'
        with Agent(folder, broker.port, section, more=more) as agent:
            listener.wait("front/health", lambda body: body["state"] == "running", 30)
            seen["page"] = worst(live_pictures(port))
            report = folder / "report.html"
            done = camagent("selftest", "-c", str(agent.path), "--html", str(report))
            assert done.returncode in {0, 1, 3}, done.stderr
            seen["self-test of the running agent"] = worst(report_pictures(report))
            listener.wait("front/events", lambda body: body["after"]["has_snapshot"], 40)
            time.sleep(moving.CROSSING_S + 1)
            assert agent.stop() == 0
        seen["snapshot"] = worst(listener.payloads("front/snapshot"))
        alone = folder / "alone.html"
        done = camagent("selftest", "-c", str(agent.path), "--html", str(alone))
        assert done.returncode in {0, 1, 3}, done.stderr
        seen["self-test alone"] = worst(report_pictures(alone))
        out = folder / "seen"
        done = camagent("infer", str(things), "front", "-c", str(agent.path), "--frames", "30", "--out", str(out))
        assert done.returncode == 0, done.stderr
        (video,) = out.glob("*.mp4")
        seen["infer --out"] = worst(video_pictures(video))
    return seen


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return moving.bundle(tmp_path_factory.mktemp("things"))


@pytest.mark.parametrize("size", SIZES)
def test_magenta_under_a_mask_is_in_no_picture(tmp_path: Path, things: Path, broker: Broker, size: tuple[int, int]) -> None:
    clip = moving.clip(tmp_path / "patched.mp4", patches=PATCHES, size=size)
    seen = all_pictures(tmp_path, things, clip, broker, masks(PATCHES))
    assert set(seen.values()) == {0}, seen


def test_without_masks_every_kind_of_picture_shows_it(tmp_path: Path, things: Path, broker: Broker) -> None:
    clip = moving.clip(tmp_path / "patched.mp4", patches=PATCHES)
    seen = all_pictures(tmp_path, things, clip, broker, "")
    assert len(seen) == 5
    assert min(seen.values()) > 1000, seen


def test_the_street_has_no_magenta_of_its_own(tmp_path: Path) -> None:
    assert worst(video_pictures(moving.clip(tmp_path / "plain.mp4"))) == 0
    assert worst(video_pictures(moving.clip(tmp_path / "patched.mp4", patches=PATCHES[3:]))) > 20, "the small one is seen"
