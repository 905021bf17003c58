"""Rows -> the numbers that are advertised, and a picture of which cause is taken for which."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.selftest_jobs import Row

MOST_IN_A_SET = 3
NOTHING = "-"


def literal(row: Row) -> bool:
    """The first cause named is the one that was put in."""
    return row.top is not None and row.top.id == row.causes[0]


def right(row: Row) -> bool:
    """The first cause named is what is wrong, by any of its true names."""
    return row.top is not None and row.top.id in (row.causes[0], *row.also)


def equivalent(row: Row) -> bool:
    """What is wrong is in the first set, which has at most three members."""
    return row.top is not None and bool({row.causes[0], *row.also} & {*row.top.ids}) and len(row.top.ids) <= MOST_IN_A_SET


def mended(row: Row) -> bool:
    """The first proposal that can be applied brings everything back, as the referee sees it."""
    return row.top is not None and row.top.returns is True


def accused(row: Row) -> bool:
    """A fault is named, not only asked about."""
    return row.verdict == "fault" and any(not named.asks for named in row.named)


def falsely(row: Row) -> bool:
    """On a healthy rig: any accusation. On a harmless fault: one of something else."""
    return accused(row) and not any(cause in named.ids for cause in (*row.causes, *row.also) for named in row.named)


def told(row: Row) -> tuple[str, ...]:
    """What was named of that which may be said of a healthy rig."""
    return tuple(name for named in row.named for name in named.ids if name in row.also)


@dataclass(frozen=True, slots=True)
class Share:
    """A count out of a total."""

    hits: int
    total: int

    @staticmethod
    def of(flags: Iterable[bool]) -> Share:
        listed = list(flags)
        return Share(sum(listed), len(listed))

    @property
    def value(self) -> float:
        return self.hits / self.total if self.total else math.nan

    @property
    def upper(self) -> float:
        """The upper end of the one-sided 95 % interval of Clopper and Pearson: 3 / n for none of n (rule of three)."""
        if self.hits >= self.total:
            return 1.0
        low, high = self.value, 1.0
        for _ in range(60):  # the p at which so few hits have a chance of 5 %
            middle = (low + high) / 2
            low, high = (middle, high) if _at_most(self.hits, self.total, middle) > 0.05 else (low, middle)
        return high

    def __str__(self) -> str:
        return f"{100 * self.value:5.1f} % ({self.hits} of {self.total})" if self.total else "      - (none)"


def _at_most(hits: int, total: int, p: float) -> float:
    return sum(math.comb(total, k) * p**k * (1 - p) ** (total - k) for k in range(hits + 1))


def scores(rows: Sequence[Row]) -> dict[str, Share]:
    """Every advertised number that is a share."""
    single = [row for row in rows if row.job.kind == "fault" and not row.harmless]
    healthy = [row for row in rows if row.job.kind == "healthy"]
    pairs = [row for row in rows if row.job.kind == "pair" and not row.harmless]
    most = Counter(row.causes[0] for row in single).most_common(1)
    frequent = most[0][0] if most else ""
    return {
        "top-1": Share.of(map(right, single)),
        "equivalence top-1": Share.of(map(equivalent, single)),
        "top-1, by the one name that was put in": Share.of(map(literal, single)),
        "fix verified, of those a setting can cure": Share.of(mended(row) for row in single if row.curable),
        "claimed verified with a change, and is": Share.of(
            row.top.returns for row in single if row.top and row.top.claims and row.top.returns is not None
        ),
        "layer": Share.of((row.top.layer if row.top else "none") == row.layers[0] for row in single),
        "solved without a variant": Share.of(equivalent(row) and row.trials == 0 for row in single),
        "abstained": Share.of(not accused(row) for row in single),
        "raised": Share.of(bool(row.error) for row in rows),
        "false accusations, healthy": Share.of(map(falsely, healthy)),
        "healthy is called healthy": Share.of(row.verdict == "healthy" or bool(told(row)) for row in healthy),
        "false accusations, harmless faults": Share.of(map(falsely, [r for r in rows if r.job.kind == "fault" and r.harmless])),
        "pairs: one of the two named": Share.of(any(_has(row, cause) for cause in row.causes) for row in pairs),
        "pairs: both named": Share.of(all(_has(row, cause) for cause in row.causes) for row in pairs),
        "pairs: the two and nothing else": Share.of(_exactly(row) for row in pairs),
        "pairs: the upstream one first": Share.of(map(equivalent, pairs)),
        "baseline: always the most frequent cause": Share.of(row.causes[0] == frequent for row in single),
        "baseline: variants, exactly one works": Share.of(row.baseline == row.causes[0] for row in single),
    }


def _exactly(row: Row) -> bool:
    return all(_has(row, cause) for cause in row.causes) and all({*named.ids} & {*row.causes, *row.also} for named in row.named)


def _has(row: Row, cause: str) -> bool:
    return any(cause in named.ids for named in row.named)


def cost(rows: Sequence[Row]) -> dict[str, tuple[float, float, float]]:
    """(median, 95th percentile, maximum) of inferences and seconds."""
    healthy = [row for row in rows if row.job.kind == "healthy"]
    listed: dict[str, list[float]] = {
        "inferences": [row.inferences for row in rows], "inferences, healthy": [row.inferences for row in healthy],
        "seconds": [row.seconds for row in rows],
    }  # fmt: skip
    return {
        name: (float(np.median(values)), float(np.percentile(values, 95)), float(max(values)))
        for name, values in listed.items()
        if values
    }


def per_cause(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.job.kind == "fault":
            found[row.job.name].append(row)
    return dict(sorted(found.items()))


def confusions(rows: Sequence[Row]) -> Counter[tuple[str, str]]:
    """(what is wrong, what is named first) -> how often; a healthy rig's cause is "-". Another true name counts as the one."""
    counted: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if row.job.kind == "pair" or (row.harmless and row.job.kind == "fault"):
            continue
        named = row.top.id if row.top else NOTHING
        counted[row.causes[0] if row.causes else NOTHING, row.causes[0] if row.causes and right(row) else named] += 1
    return counted


def show(rows: Sequence[Row], console: Console) -> None:
    """Everything, as tables."""
    table = Table("score", "all", "developed on", "scored on", title="self-test")
    halves = [scores([row for row in rows if row.half == half]) for half in ("develop", "score")]
    for name, share in scores(rows).items():
        bound = f", 95 % bound {100 * share.upper:.2f} %" if name.startswith("false") and share.total else ""
        table.add_row(name, f"{share}{bound}", *(str(half[name]) for half in halves))
    console.print(table)
    table = Table("cost", "median", "95 %", "most")
    for name, values in cost(rows).items():
        table.add_row(name, *(f"{value:.2f}" if name == "seconds" else f"{value:.0f}" for value in values))
    console.print(table)
    console.print(_causes(rows))
    table = Table("what is wrong", "taken for", "times", title="confusions")
    for (wrong, named), times in confusions(rows).most_common():
        if wrong != named:
            table.add_row(wrong, named, str(times))
    console.print(table)


def _causes(rows: Sequence[Row]) -> Table:
    table = Table("fault", "harmful", "harmless", "top-1", "equivalent", "curable", "mended", "abstained")
    for name, group in per_cause(rows).items():
        harmful = [row for row in group if not row.harmless]
        cures = [row for row in harmful if row.curable]
        table.add_row(
            name, str(len(harmful)), str(len(group) - len(harmful)), str(sum(map(right, harmful))),
            str(sum(map(equivalent, harmful))), str(len(cures)), str(sum(map(mended, cures))),
            str(sum(not accused(row) for row in harmful)),
        )  # fmt: skip
    return table


def draw_matrix(rows: Sequence[Row], path: Path) -> None:
    """The confusion matrix as a picture: rows are what is wrong, columns what is named; darker is more."""
    counted = confusions(rows)
    names = sorted({name for both in counted for name in both}, key=lambda name: (name == NOTHING, name))
    cell, margin = 16, 250
    side = margin + cell * len(names) + 8
    image = np.full((side, side, 3), 255, np.uint8)
    totals = Counter[str]()
    for (wrong, _), times in counted.items():
        totals[wrong] += times
    for index, name in enumerate(names):
        at = margin + index * cell
        _write(image, name, (4, at + 12))
        label = np.full((cell, margin, 3), 255, np.uint8)
        _write(label, name, (4, 12))
        image[:margin, at : at + cell] = np.rot90(label)
        cv2.line(image, (margin, at), (side - 8, at), (225, 225, 225), 1)
        cv2.line(image, (at, margin), (at, side - 8), (225, 225, 225), 1)
    for (wrong, named), times in counted.items():
        y, x = (margin + names.index(name) * cell for name in (wrong, named))
        share = times / totals[wrong]
        tint = (int(230 - 200 * share),) * 3 if wrong == named else (int(210 - 180 * share), int(210 - 180 * share), 235)
        cv2.rectangle(image, (x + 1, y + 1), (x + cell - 1, y + cell - 1), tint, -1)
    assert cv2.imwrite(str(path), image)


def _write(image: np.ndarray[Any, Any], text: str, at: tuple[int, int]) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.38, (20, 20, 20), 1, cv2.LINE_AA)
