"""The self-test against faults that were put in on purpose: does it name them, does its fix work, does it accuse the innocent?

python -m bench.selftest [--quick | --full] [--tier 1|2] [--only CAUSE] [--seeds N] [--json F] [--markdown F] [--png F]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from bench import selftest_markdown
from bench import selftest_score as score
from bench.selftest_jobs import Job, Row, prepare, run
from tests.lab import health, inject, real

QUICK = (2, 50, 8)  # seeds per fault, healthy rigs, pairs
FULL = (20, 350, 40)


def jobs(seeds: int, healthy: int, pairs: int, *, only: str = "") -> list[Job]:
    """What is to be examined of analytic models, always in the same order."""
    made = [Job("fault", name, seed) for name in sorted(inject.FAULTS) for seed in range(seeds) if only in name]
    if not only:
        kinds = list(health.KINDS)
        made += [Job("healthy", kinds[index % len(kinds)], index // len(kinds)) for index in range(healthy)]
        made += [Job("pair", str(index), 0) for index in range(pairs)]
    return made


def jobs_of_networks(seeds: int, *, only: str = "") -> list[Job]:
    """The same with three small networks that nobody here made; faults that only a blob detector can have fall away."""
    names = list(real.NETWORKS)
    faults = [
        (name, seed, network) for name in sorted(inject.FAULTS) if only in name for seed in range(seeds) for network in names
    ]
    made = [Job("fault", name, seed, network) for name, seed, network in faults]
    if not only:
        kinds = [(kind, seed, network) for kind in health.OF_NETWORKS for seed in range(seeds) for network in names]
        made += [Job("healthy", kind, seed, network) for kind, seed, network in kinds]
    return made


def examine_all(listed: Sequence[Job], processes: int, tell: Callable[[], None] = lambda: None) -> list[Row]:
    """Rows in the order of `listed`, whatever process they came from."""
    rows: list[Row | None] = []
    if processes == 1:
        prepare()
        for job in listed:
            rows.append(run(job))
            tell()
    else:
        with multiprocessing.get_context("spawn").Pool(processes, prepare) as pool:
            for row in pool.imap(run, listed, chunksize=4):
                rows.append(row)
                tell()
    return [row for row in rows if row is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="two seeds, few healthy rigs (default)")
    size.add_argument("--full", action="store_true", help="twenty seeds, 350 healthy rigs, 40 pairs")
    parser.add_argument("--tier", type=int, choices=(1, 2), default=1, help="1: analytic models; 2: three small networks")
    parser.add_argument("--only", default="", metavar="CAUSE", help="faults whose name contains this")
    parser.add_argument("--seeds", type=int, help="per fault")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="every row")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the tables of docs/self-test-benchmark.md")
    parser.add_argument("--png", type=Path, metavar="FILE", help="the confusion matrix as a picture")
    args = parser.parse_args()
    seeds, healthy, pairs = FULL if args.full else QUICK
    if args.tier == 2 and real.missing():
        sys.exit(f"tier 2 is skipped: {real.missing()}")
    seeds = args.seeds or seeds
    listed = jobs(seeds, healthy, pairs, only=args.only) if args.tier == 1 else jobs_of_networks(seeds, only=args.only)
    console = Console(width=None if sys.stdout.isatty() else 150)
    with Progress(disable=not sys.stderr.isatty(), console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("examining", total=len(listed))
        rows = examine_all(listed, args.processes, lambda: progress.advance(bar))
    score.show(rows, console)
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    if args.markdown:
        args.markdown.write_text(selftest_markdown.tables(rows) + "\n")
    if args.png:
        score.draw_matrix(rows, args.png)


if __name__ == "__main__":
    main()
