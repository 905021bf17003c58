"""Damaged H.264: bit flips and truncations never crash, hang or go uncounted.

The decoding runs in a child process, so that a crash of FFmpeg is seen as one. As a script: FILE SEED COUNT -> one JSON
object per variant.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from camagent.config import Camera
from camagent.errors import InputError
from camagent.sources import open_source
from tests.support.camera import Clips

ROOT = Path(__file__).resolve().parents[1]
PER_CHILD_S = 240


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A variant: some bits flipped, and now and then the end cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 3, 10, 30, 100, 1000])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.3:
        del changed[rng.randrange(len(changed)) :]
    return bytes(changed)


def main(clip: str, seed: str, count: str) -> None:
    data = Path(clip).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(int(count)):
            path = Path(folder) / "variant.h264"
            path.write_bytes(damaged(data, random.Random(f"{seed}-{number}")))
            source = open_source(Camera(name="c", url=str(path)))
            began, frames, refused = time.monotonic(), 0, ""
            try:
                for _frame in source.frames():
                    frames += 1
            except InputError as exc:
                refused = exc.what
            status = source.status()
            told = {"errors": status.decoder_errors, "corrupt": status.corrupt, "decoded": status.decoded}
            print(json.dumps({"frames": frames, "refused": refused, "seconds": time.monotonic() - began, **told}), flush=True)


def run_variants(clip: Path, seed: int, count: int) -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_sources_corrupt", str(clip), str(seed), str(count)],
        cwd=ROOT, capture_output=True, timeout=PER_CHILD_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"the decoder's process died with {done.returncode}: {done.stderr.decode()[-2000:]}"
    assert not done.stderr, done.stderr.decode()[-2000:]  # FFmpeg keeps its lines to itself
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(results: list[dict[str, object]], count: int) -> None:
    assert len(results) == count
    assert max(float(str(result["seconds"])) for result in results) < 5.0
    hurt = [r for r in results if r["refused"] or r["errors"] or r["corrupt"] or r["frames"] != 20]
    assert len(hurt) > count * 0.5  # the damage is real
    told = [r for r in hurt if r["refused"] or r["errors"] or r["corrupt"]]
    # what is lost without a word was cut off cleanly at the end, or lay in bits that nobody needs
    assert len(told) > len(hurt) * 0.8
    assert all(r["frames"] == int(str(r["decoded"])) - int(str(r["corrupt"])) for r in results)


def test_damaged_streams(tmp_path: Path) -> None:
    check(run_variants(Clips(tmp_path).make(size="320x240", seconds=2, suffix="h264"), 1, 60), 60)


@pytest.mark.full(seconds=10)
@pytest.mark.parametrize("seed", range(4))
def test_a_thousand_damaged_streams(tmp_path: Path, seed: int) -> None:
    check(run_variants(Clips(tmp_path).make(seconds=2, suffix="h264", bframes=2), seed, 250), 250)


if __name__ == "__main__":
    main(*sys.argv[1:])
