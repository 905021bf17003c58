"""What the page costs the agent: processor time of the web server's threads, as shares of one core.

    python -m bench.page_cost [--seconds 20]

A real agent in this process looks at a 720p H.264 clip ten times a second; viewers are processes of their own. Per-thread times
are the kernel's (/proc/self/task), so that the decoder's and the model's own work is not in them. Where a viewer costs the
worker something, that is in the line of the whole process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from camagent.cli.serve import Servers
from camagent.config_file import load
from camagent.pipeline import Agent
from tests.support.broker import free_port
from tests.support.bundles import make_unsigned

WIDTH, HEIGHT, FPS = 1280, 720, 25
NOBODY, ONE_VIEWER = 0.01, 0.10  # the targets: shares of one core
OURS = ("web", "web-live", "AnyIO worker thread")
_TICKS = os.sysconf("SC_CLK_TCK")
# a viewer as the page is one: takes every picture, and asks for the status every two seconds
VIEWER = """
import http.client, sys, threading, time
port = int(sys.argv[1])
def live():
    c = http.client.HTTPConnection("127.0.0.1", port); c.request("GET", "/api/cameras/front/live"); r = c.getresponse()
    while r.read1(65536): pass
threading.Thread(target=live, daemon=True).start() if "live" in sys.argv else None
while True:
    c = http.client.HTTPConnection("127.0.0.1", port); c.request("GET", "/api/status"); c.getresponse().read(); c.close()
    time.sleep(2)
"""


@dataclass(frozen=True, slots=True)
class Case:
    """Who looks while it is measured."""

    name: str
    viewers: Sequence[Sequence[str]]


CASES = (
    Case("nobody", ()),
    Case("one page, its picture paused", ((),)),
    Case("one page", (("live",),)),
    Case("three pages", (("live",),) * 3),
    Case("nobody again", ()),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="per case")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as port:
        time.sleep(5)
        print(f"{WIDTH}x{HEIGHT}, {FPS} frames a second, 10 inferences; {seconds:g} s per case; shares of one core\n")
        print(f"{'':30}{'web':>8}{'encoder':>9}{'others':>8}{'page':>8}   whole process")
        shares = {case.name: measure(case, port, seconds) for case in CASES}
    idle = max(shares["nobody"], shares["nobody again"])
    print(
        f"\nnobody looks: {idle:.2%} (target < {NOBODY:.0%}), one viewer: {shares['one page']:.2%} (target < {ONE_VIEWER:.0%})"
    )
    sys.exit(not (idle < NOBODY and shares["one page"] < ONE_VIEWER))


def measure(case: Case, port: int, seconds: float) -> float:
    """The page's share of one core; prints the case's line."""
    with ExitStack() as stack:
        for options in case.viewers:
            viewer = stack.enter_context(subprocess.Popen([sys.executable, "-c", VIEWER, str(port), *options]))
            stack.callback(viewer.kill)
        time.sleep(3)
        before, whole, began = spent(), time.process_time(), time.monotonic()
        time.sleep(seconds)
        after, lasted = spent(), time.monotonic() - began
        process = (time.process_time() - whole) / lasted
    used = {name: (after.get(name, 0.0) - before.get(name, 0.0)) / lasted for name in OURS}
    page = sum(used.values())
    print(f"{case.name:30}" + "".join(f"{value:8.2%} " for value in used.values()) + f"{page:7.2%}   {process:.1%}")
    return page


def spent() -> dict[str, float]:
    """Seconds of processor time per thread of ours."""
    made: dict[str, float] = {}
    for thread in threading.enumerate():
        path = Path(f"/proc/self/task/{thread.native_id}/stat")
        if thread.name in OURS and path.exists():
            fields = path.read_text("ascii").rpartition(")")[2].split()
            made[thread.name] = made.get(thread.name, 0.0) + (int(fields[11]) + int(fields[12])) / _TICKS
    return made


@contextmanager
def running(folder: Path) -> Iterator[int]:
    """An agent on the clip; the port of its page."""
    port = free_port()
    (folder / "camagent.toml").write_text(
        f'[agent]\nid = "bench"\nstate_dir = "{folder}/state"\nallow_unsigned = true\n[mqtt]\nurl = "mqtt://127.0.0.1:{free_port()}"\n'
        f'[web]\nlisten = "127.0.0.1:{port}"\n[[camera]]\nname = "front"\nurl = "{clip(folder)}"\nfps = 10\n'
        f'bundle = "{make_unsigned(folder)}"\n'
    )
    agent = Agent(load(folder / "camagent.toml"))
    servers = Servers(agent)
    servers.start()
    thread = threading.Thread(target=agent.run, name="agent")
    thread.start()
    try:
        yield port
    finally:
        agent.request_stop()
        thread.join(30)
        servers.stop()
        agent.owner.release()


def clip(folder: Path) -> Path:
    """Ten seconds with texture, noise and blobs that move."""
    path, noise = folder / "clip.mp4", np.random.default_rng(0)
    texture = noise.integers(0, 160, (HEIGHT // 8, WIDTH // 8, 3)).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = WIDTH, HEIGHT, "yuv420p", Fraction(1, FPS)
        for index in range(10 * FPS):
            picture = texture.copy()
            left = index * 4 % (WIDTH - 320)
            picture[:180, left : left + 320] = (255, 0, 0)
            picture[540:, WIDTH - 320 - left : WIDTH - left] = (0, 0, 255)
            picture[::2, ::2] += noise.integers(0, 8, picture[::2, ::2].shape).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    main()
