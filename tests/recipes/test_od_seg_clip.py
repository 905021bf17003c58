from __future__ import annotations

from pathlib import Path

import av
import pytest

from recipes.od_seg.cli import run


def test_a_clip_is_h264_of_the_length_and_size_that_were_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "street.mp4"
    arguments = ["--seconds", "2", "--fps", "10", "--size", "320x180", "--kilobytes", "60", "--light", "day", "-o", str(path)]
    assert run(["clip", *arguments]) == 0
    assert "20 pictures" in capfd.readouterr().out
    assert path.stat().st_size <= 60_000
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 320, 180)
        assert sum(1 for _ in source.decode(stream)) == 20


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(["clip", "--seconds", "0.1", "--size", "64x36", "-o", str(tmp_path / "file" / "x.mp4")]) == 2
    assert "error[FILE_UNUSABLE]" in capfd.readouterr().err
