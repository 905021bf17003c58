"""Rows -> the tables of docs/self-test-benchmark.md: scores, cost, where it falls short, and what is taken for what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.selftest_jobs import Row
from bench.selftest_score import accused, confusions, cost, equivalent, mended, per_cause, right, scores

TARGETS = {
    "top-1": "95 %", "equivalence top-1": "98 %", "fix verified, of those a setting can cure": "85 %",
    "false accusations, healthy": "0, bound 1 %",
}  # fmt: skip
_SHORT = 0.9  # a fault with less of its cases named is listed
_OFTEN = 3  # a confusion that comes so often is listed


def tables(rows: Sequence[Row]) -> str:
    """All four, one below the other."""
    return "\n\n".join("\n".join(part) for part in (_scores(rows), _cost(rows), _short(rows), _confusions(rows)))


def _scores(rows: Sequence[Row]) -> Iterator[str]:
    yield "| score | all | developed on | scored on | target |"
    yield "|---|---|---|---|---|"
    halves = [scores([row for row in rows if row.half == half]) for half in ("develop", "score")]
    for name, share in scores(rows).items():
        if share.total:
            bound = f", 95 % bound {100 * share.upper:.2f} %" if name.startswith("false") else ""
            parts = " | ".join(str(half[name]).strip() for half in halves)
            yield f"| {name} | {str(share).strip()}{bound} | {parts} | {TARGETS.get(name, '')} |"


def _cost(rows: Sequence[Row]) -> Iterator[str]:
    yield "| cost | median | 95 % | most |"
    yield "|---|---|---|---|"
    for name, values in cost(rows).items():
        yield f"| {name} | " + " | ".join(f"{value:.2f}" if name == "seconds" else f"{value:.0f}" for value in values) + " |"


def _short(rows: Sequence[Row]) -> Iterator[str]:
    yield "| fault | harmful | harmless | top-1 | equivalent | curable | mended | abstained |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, group in per_cause(rows).items():
        harmful = [row for row in group if not row.harmless]
        found = sum(map(right, harmful))
        if found < _SHORT * len(harmful):
            cures = [row for row in harmful if row.curable]
            numbers = (
                len(harmful), len(group) - len(harmful), found, sum(map(equivalent, harmful)), len(cures),
                sum(map(mended, cures)), sum(not accused(row) for row in harmful),
            )  # fmt: skip
            yield f"| {name} | " + " | ".join(map(str, numbers)) + " |"


def _confusions(rows: Sequence[Row]) -> Iterator[str]:
    yield "| what is wrong | taken for (-: nothing) | times |"
    yield "|---|---|---|"
    for (wrong, named), times in confusions(rows).most_common():
        if wrong != named and times >= _OFTEN:
            yield f"| {wrong} | {named} | {times} |"
