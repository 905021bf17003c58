"""What verifying a bundle costs beside the SHA-256 of the same bytes, which it cannot do without.

python -m bench.verify [--mib 200] [--rounds 9]

Three ways take turns within one run: `hashlib.sha256` over the bytes in memory (no reading at all), `hashlib.sha256` over the
file read in pieces of 1 MiB, and `firmware_pkg.verify` of the file. The best round of each counts; then memory, and `load`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from firmware_pkg import archive, manifest, signed
from firmware_pkg.checklist import Checklist
from firmware_pkg.limits import MIB
from firmware_pkg.verify import Policy, load, verify
from signing.key_files import SoftwareKey
from signing.verify import trust_key

TARGET = 0.85
PIECE = MIB
SMALL = 1_000_000  # an artifact of the size of FastestDet, for `load`


def make(path: Path, size: int, key: SoftwareKey) -> None:
    """A signed bundle with two artifacts: one of `size` bytes, and a small one."""
    files = {"model.rknn": os.urandom(size), "model.onnx": os.urandom(SMALL)}
    document = {
        "schema": 1, "name": "bench", "version": "1.0.0", "created": "2026-11-23T00:00:00Z", "task": "detect",
        "input": {"width": 640, "height": 640}, "head": {"name": "yolov8"}, "labels": ["thing"],
        "artifacts": [{"path": "model.rknn", "backend": "rknn"}, {"path": "model.onnx", "backend": "onnx"}],
        "files": {name: len(data) for name, data in files.items()},
    }  # fmt: skip
    archive.write(path, manifest.parse(json.dumps(document).encode()), files)
    signed.add(path, key)


def seconds(way: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def hash_file(path: Path) -> None:
    """hashlib alone, over the file as it lies on disk."""
    digest, piece = hashlib.sha256(), memoryview(bytearray(PIECE))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(piece):
            digest.update(piece[:count])


def verify_file(path: Path, policy: Policy) -> None:
    """The real thing, from an unbuffered file."""
    with path.open("rb", buffering=0) as file:
        verify(file, policy, Checklist())


def load_small(path: Path, policy: Policy) -> None:
    """What the agent does at its start: one small artifact of a large bundle."""
    with path.open("rb") as file:
        load(file, policy, lambda _: ["model.onnx"])


def peak_kib() -> int:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(path: Path, policy: Policy, rounds: int) -> bool:
    """Prints the table; True where the target is met."""
    hash_file(path)  # into the page cache
    before = peak_kib()
    verify_file(path, policy)
    grown = peak_kib() - before
    data = path.read_bytes()
    ways: dict[str, Callable[[], object]] = {
        "hashlib.sha256, bytes in memory": lambda: hashlib.sha256(data).digest(),
        "hashlib.sha256, file in 1 MiB pieces": lambda: hash_file(path),
        "firmware_pkg.verify": lambda: verify_file(path, policy),
    }
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            best[name] = min(best[name], seconds(way))
    speed = {name: len(data) / MIB / taken for name, taken in best.items()}
    verified = speed["firmware_pkg.verify"]
    for name, rate in speed.items():
        print(f"{name:38}{rate:8.0f} MiB/s   verify reaches {verified / rate:6.1%} of it")
    print(f"{'memory that verifying added at most':38}{grown:8} KiB")
    print(
        f"{'load of a 1 MB artifact':38}{min(seconds(lambda: load_small(path, policy)) for _ in range(rounds)) * 1e3:8.1f} ms"
    )
    return verified / speed["hashlib.sha256, file in 1 MiB pieces"] >= TARGET


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    key = SoftwareKey(ec.generate_private_key(ec.SECP256R1()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.cambundle"
        maker = get_context("fork").Process(target=make, args=(path, args.mib * MIB, key))  # its memory is not ours
        maker.start()
        maker.join()
        met = measure(path, Policy(trusted=trust_key(key.public)), args.rounds)
    print(f"target: {TARGET:.0%} of hashlib over the same file: {'met' if met else 'MISSED'}")
    sys.exit(not met)


if __name__ == "__main__":
    main()
