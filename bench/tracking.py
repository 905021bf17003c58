"""How well ids are kept on scenes whose identities are known, beside matching each frame with the one before; what it costs.

    python -m bench.tracking [--seeds 3] [--streets 2] [--write docs/tracking.md]

MOTA and IDF1 by motmetrics, each scene over several seeds. `--write` puts the tables between the page's marks and draws
the picture beside it. Cost: CPU time of the thread on one core. Exit code 1 where frame by frame is better anywhere, or the
tracker takes more than half a millisecond for 20 objects.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.heads import Timing, micros, on_one_core, timing
from camagent.frame import Detections
from camagent.track import Tracker
from tests.tracking import roads
from tests.tracking.detector import Sighting
from tests.tracking.scenes import SCENES
from tests.tracking.scoring import Follow, Score, ours, per_frame, score
from tests.tracking.world import WIDTH

BEGIN, END = "<!-- measured by python -m bench.tracking -->", "<!-- end -->"
LIMIT_US = 500.0
OBJECTS = (1, 5, 20, 100)
STREET_FRAMES, STREET_SIZE = 100, (640, 360)
Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of scene, both ways, over several seeds."""

    name: str
    ours: Sequence[Score]
    plain: Sequence[Score]

    @property
    def is_better(self) -> bool:
        """On every seed, in both measures."""
        pairs = zip(self.ours, self.plain, strict=True)
        return all(one.mota > other.mota and one.idf1 > other.idf1 for one, other in pairs)


def measure(name: str, plays: Iterable[Sequence[Sighting]]) -> Row:
    """Both ways over the same frames."""
    frames = list(plays)
    return Row(name, [score(one, ours()) for one in frames], [score(one, per_frame()) for one in frames])


def line(row: Row) -> str:
    """A row of the table in Markdown."""
    cells = []
    for scores in (row.ours, row.plain):
        given, really = sum(one.ids for one in scores), sum(one.really for one in scores)
        cells += [f"{fmean(one.mota for one in scores):.3f}", f"{fmean(one.idf1 for one in scores):.3f}",
                  str(sum(one.switches for one in scores)), f"{given} of {really}"]  # fmt: skip
    return f"| {row.name} | {' | '.join(cells)} |"


HEADING = """| scene | MOTA | IDF1 | switches | ids | MOTA, frame by frame | IDF1 | switches | ids |
|---|---|---|---|---|---|---|---|---|"""


def cost(objects: int, rounds: int = 400) -> Timing:
    """One update with this many walkers in sight and as many faint finds beside them, at 10 frames a second."""
    rng = np.random.default_rng(objects)
    spread = np.sqrt(objects / 20)  # as dense as 20 in a picture of full size
    place, speed = rng.uniform(0, 1, (objects, 2)) * [1800 * spread, 900 * spread], rng.normal(0, 60, (objects, 2))
    tracker, samples = Tracker(), []
    for index in range(rounds):
        place = place + speed * 0.1
        found, faint = (_walkers(place + rng.normal(0, far, (objects, 2)), rng, at) for far, at in ((2, 0.8), (300, 0.3)))
        took = micros(lambda found=found, faint=faint, index=index: tracker.update(found, faint, index / 10))  # type: ignore[misc]
        samples += [took] if index >= 20 else []
    return timing(samples)


def _walkers(place: NDArray[np.float64], rng: np.random.Generator, at: float) -> Detections:
    half = np.array([30.0, 75.0])
    boxes = np.concatenate([place - half, place + half], axis=1) + rng.normal(0, 3, (len(place), 4))
    return Detections(boxes.astype(np.float32), np.full(len(place), at, np.float32), np.zeros(len(place), np.int64))


def costs() -> list[str]:
    """The table of what an update takes."""
    rows = [(count, cost(count)) for count in OBJECTS]
    heading = "| objects in sight | microseconds of CPU | 10 to 90 % |\n|---|---|---|"
    return [heading, *(f"| {count} | {one.median:.0f} | {one.low:.0f} to {one.high:.0f} |" for count, one in rows)]


def draw(path: Path) -> None:
    """Who is who in the crossing, as the tracker says and frame by frame: a line per id."""
    panels = [_paths(title, follow()) for title, follow in (("camagent", ours), ("frame by frame", per_frame))]
    assert cv2.imwrite(str(path), np.concatenate(panels), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _paths(title: str, follow: Follow) -> Image:
    """Time from left to right, the middle of each box from top (left in the picture) to bottom (right)."""
    frames = list(SCENES[0].play(0))
    width, height = 1100, 300
    image = np.full((height + 40, width, 3), 255, np.uint8)
    before: dict[int, tuple[int, int]] = {}
    given: set[int] = set()
    for seen in frames:
        named = follow(seen)
        now = {
            one: (round(seen.at / frames[-1].at * (width - 1)), round(40 + float(box[0] + box[2]) / 2 / WIDTH * height))
            for one, box in zip(named.ids, named.boxes, strict=True)
        }
        for one, point in now.items():
            hue = np.array([[[one * 47 % 180, 220, 190]]], np.uint8)
            colour = tuple(int(value) for value in cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0])
            cv2.line(image, before.get(one, point), point, colour, 3, cv2.LINE_AA)
            if one not in given:
                cv2.circle(image, point, 6, colour, 2, cv2.LINE_AA)
        given |= set(now)
        before = now
    really = set().union(*(seen.truth.ids.tolist() for seen in frames))
    words = f"{title}: {len(given)} ids for {len(really)} people (a ring: a new id)"
    cv2.putText(image, words, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (40, 40, 40), 1, cv2.LINE_AA)
    return image


def rows(seeds: int, streets: int, tell: Callable[[Row], None]) -> list[Row]:
    """Every scene, then the drawn streets."""
    made = []
    for scene in SCENES:
        made.append(measure(scene.name, (list(scene.play(seed)) for seed in range(seeds))))
        tell(made[-1])
    for seed in range(streets):
        frames = [list(roads.play(seed, STREET_FRAMES, STREET_SIZE))]
        made.append(measure(f"drawn street {seed}, 10 fps", frames))
        tell(made[-1])
    return made


def write(path: Path, tables: Sequence[str]) -> None:
    """Puts the tables between the page's marks, and the picture beside it."""
    page = path.read_text("utf-8")
    head, _, rest = page.partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        sys.exit(f"{path} has no marks {BEGIN!r} and {END!r}")
    path.write_text(f"{head}{BEGIN}\n\n" + "\n".join(tables) + f"\n\n{END}{tail}", "utf-8")
    draw(path.with_suffix(".png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="of each scene")
    parser.add_argument("--streets", type=int, default=2, help="of recipes/od_seg, some 20 seconds each")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the page whose tables are renewed")
    args = parser.parse_args()
    on_one_core()
    print(HEADING)
    measured = rows(args.seeds, args.streets, lambda row: print(line(row), flush=True))
    spent = costs()
    print("", *spent, sep="\n")
    if args.write:
        write(args.write, [HEADING, *map(line, measured), "", *spent])
    missed = [f"{row.name}: frame by frame is better somewhere" for row in measured if not row.is_better]
    if (slow := cost(20).median) > LIMIT_US:
        missed.append(f"20 objects: {slow:.0f} us, to be at most {LIMIT_US:.0f}")
    print(*missed or ["targets met"], sep="\n")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
