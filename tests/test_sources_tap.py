"""Looking over the reader's shoulder: what is seen of every picture, which frames are kept, and that nothing else changes."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from camagent.clock import SystemClock
from camagent.config import Camera, Mask
from camagent.frame import Frame
from camagent.slot import Slot
from camagent.sources import Tap, open_source
from camagent.sources.tap import fingerprint
from tests.support.camera import Clips, RtspCamera, Viewer


def picture(seed: int, form: str = "yuv420p", size: tuple[int, int] = (320, 180)) -> av.VideoFrame:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=form)


@pytest.mark.parametrize("form", ["yuv420p", "yuvj422p", "nv12", "gray", "rgb24", "yuv420p10le", "bgra"])
def test_equal_pictures_have_equal_fingerprints_and_others_do_not(form: str) -> None:
    first, again, other = (fingerprint(picture(seed, form)) for seed in (1, 1, 2))
    assert first is not None
    assert first == again != other


def test_padding_beside_the_picture_is_not_read() -> None:
    one, two = picture(1, size=(322, 182)), picture(1, size=(322, 182))
    plane = one.planes[0]
    assert plane.line_size > plane.width
    np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:, plane.width :] = 7
    assert fingerprint(one) == fingerprint(two)


def test_a_stream_is_watched_while_it_goes_on(tmp_path: Path) -> None:
    mask = Mask(name="all", polygon=((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
    with RtspCamera(Clips(tmp_path).make()) as camera, Viewer(camera.url, fps=1.0, mask=(mask,)) as viewer:
        viewer.wait_frames(1)
        tap = viewer.source.tap = Tap(0.3, 4)
        viewer.wait(lambda _: len(tap.frames) == 4, 10)
        viewer.source.tap = None
        seen = len(tap.arrivals)
        viewer.wait_frames(2)
        assert len(tap.arrivals) - seen <= 1, "nobody watches any more"
        marks = tap.marks
        assert len(marks) > len(tap.frames), "every decoded picture, not only those that were due"
        assert len({mark for _, mark in marks}) > len(marks) / 2, "of the picture below the masks"
        assert all(later[0] > earlier[0] for earlier, later in pairwise(marks))
        for frame in tap.frames:
            plane = frame.picture.planes[0]  # type: ignore[attr-defined]
            assert len(set(bytes(plane)[: plane.width])) == 1, "kept with its masks filled"
        assert viewer.status.reconnects == 0


def test_pictures_of_a_folder_are_seen(tmp_path: Path) -> None:
    from tests.support.bundles import blob_picture

    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(blob_picture(red=number))
    source = open_source(Camera(name="c", url=str(tmp_path), fps=50.0), clock=SystemClock())
    source.tap = tap = Tap(0.0, 5)
    stop, slot = threading.Event(), Slot[Frame]()
    reader = threading.Thread(target=source.run, args=(stop, slot))
    reader.start()
    try:
        for _ in range(500):
            if len(tap.frames) == 5:
                break
            stop.wait(0.02)
    finally:
        stop.set()
        reader.join(5)
    assert len(tap.frames) == 5
    assert len({mark for _, mark in tap.marks}) == 3
