"""Decoders whose pictures lie in a device's memory. No machine here has one: this one decodes in software and hides the result.

What PyAV does with a real surface (`reformat` fetches it) is its own affair; tested is who asks for it, and what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from camagent.config import Camera
from camagent.frame import Frame
from camagent.health_facts import source_facts
from camagent.sources import SourceStatus, open_source
from camagent.sources.surfaces import is_surface
from tests.support.camera import Clips


@dataclass(frozen=True)
class Format:
    name: str = "drm_prime"
    components: Sequence[int] = ()


class Surface:
    """A picture that only `reformat` gives out."""

    format = Format()

    def __init__(self, picture: av.VideoFrame, readable: bool) -> None:
        self._picture, self._readable = picture, readable
        self.pts, self.is_corrupt, self.width, self.height = picture.pts, False, picture.width, picture.height

    def reformat(self, format: str, threads: int) -> av.VideoFrame:  # noqa: A002  as PyAV has it
        assert (format, threads) == ("nv12", 1)
        if not self._readable:
            raise av.ArgumentError(22, "Function not implemented")
        return self._picture.reformat(format=format)


class Hardware:
    """A codec context named h264_rkmpp. `readable`: of its pictures, how many can be fetched; after that none."""

    name = "h264_rkmpp"

    def __init__(self, like: Any, readable: int, plain: bool = False) -> None:
        self._inner: Any = av.CodecContext.create("h264", "r")
        self._inner.extradata = like.extradata
        self.codec = self._inner.codec
        self.thread_count, self.thread_type = 0, ""
        self._left, self._plain = readable, plain

    def open(self, strict: bool) -> None:
        self._inner.open(strict=strict)

    def flush_buffers(self) -> None:
        self._inner.flush_buffers()

    def decode(self, packet: Any) -> list[Any]:
        return [self._hidden(picture) for picture in self._inner.decode(packet)]

    def _hidden(self, picture: av.VideoFrame) -> Any:
        self._left -= 1
        return picture if self._plain else Surface(picture, self._left >= -1)  # the first is looked at and then fetched


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Clips(tmp_path_factory.mktemp("clips")).make()


def played(path: Path, monkeypatch: pytest.MonkeyPatch, **hardware: Any) -> tuple[list[Frame], SourceStatus]:
    monkeypatch.setattr("camagent.sources.decoder.HARDWARE_SUFFIXES", ("v4l2m2m",))  # a name that this FFmpeg knows
    monkeypatch.setattr("camagent.sources.decoder.DEVICES", {})
    monkeypatch.setattr("camagent.sources.decoder._named", lambda stream, *_: Hardware(stream.codec_context, **hardware))
    source = open_source(Camera(name="c", url=str(path)))
    return list(source.frames()), source.status()


def levels(frames: Sequence[Frame]) -> list[float]:
    pictures: list[Any] = [frame.picture for frame in frames]
    return [float(picture.to_ndarray(format="gray").mean()) for picture in pictures]


def test_formats_of_plain_memory_are_no_surfaces() -> None:
    for name in ("yuv420p", "nv12", "p010le", "gray", "rgb24", "yuvj420p"):
        assert not is_surface(av.VideoFrame(16, 16, name))
    for name in ("drm_prime", "vaapi", "cuda", "vulkan"):
        assert not av.VideoFormat(name).components


def test_surfaces_are_fetched_as_nv12(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    software = list(open_source(Camera(name="c", url=str(clip))).frames())
    frames, status = played(clip, monkeypatch, readable=1000)
    assert len(frames) == len(software) == 40
    formats: list[Any] = [frame.picture for frame in frames]
    assert {picture.format.name for picture in formats} == {"nv12"}
    np.testing.assert_allclose(levels(frames), levels(software), atol=1.0)
    assert [frame.pts for frame in frames] == [frame.pts for frame in software]
    facts = source_facts(status)
    assert (facts["decoder"], facts["decoder_note"], facts["pixels"]) == ("h264_rkmpp", "fetched from drm_prime", "nv12")
    assert status.decoder_errors == 0


def test_software_takes_over_where_they_cannot_be_fetched(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    software = list(open_source(Camera(name="c", url=str(clip))).frames())
    frames, status = played(clip, monkeypatch, readable=-1)
    assert len(frames) == 40, "not one is lost"
    assert levels(frames) == levels(software)
    facts = source_facts(status)
    assert (facts["decoder"], facts["pixels"]) == ("h264", "yuv420p")
    for words in ("h264_rkmpp", "drm_prime", "not implemented", "software decodes"):
        assert words in facts["decoder_note"]
    assert status.decoder_errors == 0


def test_one_that_cannot_be_fetched_later_is_counted(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, status = played(clip, monkeypatch, readable=9)
    assert (len(frames), status.decoder_errors, status.decoder) == (10, 30, "h264_rkmpp")
    assert "not implemented" in status.decoder_error


def test_hardware_that_gives_plain_pictures_is_left_alone(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, status = played(clip, monkeypatch, readable=0, plain=True)
    assert (len(frames), status.decoder, status.decoder_note, status.pixels) == (40, "h264_rkmpp", "", "yuv420p")


def test_software_says_its_format_too(clip: Path) -> None:
    source = open_source(Camera(name="c", url=str(clip)))
    list(source.frames())
    assert (source.status().decoder, source.status().decoder_note, source.status().pixels) == ("h264", "", "yuv420p")
