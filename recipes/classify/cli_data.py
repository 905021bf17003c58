"""generate and lint: everything before the training."""

from __future__ import annotations

from pathlib import Path

import click

from camagent.cli.bar import work_bar
from camagent.errors import UsageError, printable
from recipes.classify.classes import SETS


@click.command(epilog="Example: python -m recipes.classify generate two --train 80 --val 250 -o work/two")
@click.argument("kinds", type=click.Choice(list(SETS)))
@click.option("--train", type=click.IntRange(0), default=80, show_default=True, help="Pictures of each class for training.")
@click.option("--val", type=click.IntRange(0), default=40, show_default=True, help="Pictures of each class to measure on.")
@click.option("--seed", type=click.IntRange(0, 99), default=0, show_default=True, help="Another seed, other pictures.")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write.")
def generate(kinds: str, train: int, val: int, seed: int, output: Path) -> None:
    """Draw nine kinds of waste, or the two that are learned from few pictures: train/CLASS, val/CLASS and dataset.toml."""
    run_generate(kinds, {"train": train, "val": val}, seed, output)


def run_generate(kinds: str, counts: dict[str, int], seed: int, output: Path) -> None:
    """Raises InputError for a folder that is not empty, FileUnusable."""
    from recipes.classify import dataset

    classes = SETS[kinds]
    with work_bar(stays_clear=False) as bar:
        task = bar.add_task("drawing", total=sum(counts.values()) * len(classes.classes))
        dataset.generate(output, classes, counts, seed, lambda: bar.advance(task))
    said = ", ".join(f"{count} {split}" for split, count in counts.items())
    click.echo(f"wrote {printable(output)}: {len(classes.classes)} classes, of each {said}")


@click.command(epilog="Example: python -m recipes.classify sheet -o sheet.jpg")
@click.option("--each", type=click.IntRange(1, 60), default=8, show_default=True, help="Pictures of each kind.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="JPEG or PNG to write.")
def sheet(each: int, output: Path) -> None:
    """Draw every kind side by side, from seeds that no training uses: a row for each, in the order of their names."""
    import numpy as np

    from recipes.classify.draw import picture
    from recipes.od_seg import pictures

    if not pictures.is_picture(output):
        raise UsageError(f"{printable(output.name)} is no picture's name", fix="give -o sheet.jpg or sheet.png")
    names = [name for kinds in SETS.values() for name in kinds.classes]
    rows = [np.hstack([picture(name, "demo", number) for number in range(each)]) for name in names]
    pictures.write(output, np.vstack(rows), 80)
    click.echo(f"wrote {printable(output)}: {', '.join(names)}")


@click.command(epilog="Example: python -m recipes.classify lint my-pictures/")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON (camagent.dataset/1).")
def lint(folder: Path, as_json: bool) -> int:
    """Look for what spoils the data set in FOLDER: train/CLASS, val/CLASS and dataset.toml.

    It is only read. Exit code 1 where something is found, each with a sentence that says what to do.
    """
    from recipes.classify.lint import lint as look
    from recipes.od_seg.cli_data import run_lint

    return run_lint(folder, as_json=as_json, look=look)
