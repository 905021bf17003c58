"""generate, clip, lint and voc: everything before the training."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

from camagent.cli import EXIT_DONE, EXIT_FINDING
from camagent.cli.bar import work_bar
from camagent.cli.size import size_of
from camagent.errors import InputError, printable
from recipes.od_seg.classes import ROADS, write_classes
from recipes.od_seg.scene import SIZE
from recipes.od_seg.seeds import SPLITS, drawn, seeds_of
from recipes.od_seg.world import LIGHTS, Light

if TYPE_CHECKING:
    from recipes.od_seg.lint import Finding

    Look: TypeAlias = Callable[[Path, Callable[[int, int], None]], list[Finding]]

_SHOWN = 10  # findings of a code that are printed one by one


@click.command(epilog="Example: python -m recipes.od_seg generate --train 400 --val 80 -o work/data")
@click.option("--train", type=click.IntRange(0), default=200, show_default=True, help="Pictures for training.")
@click.option("--val", type=click.IntRange(0), default=40, show_default=True, help="Pictures to measure on.")
@click.option("--seed", type=click.IntRange(0, 99), default=0, show_default=True, help="Another seed, other streets.")
@click.option(
    "--size", callback=size_of, metavar="WxH", default=f"{SIZE[0]}x{SIZE[1]}", show_default=True, help="Of the pictures."
)
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write.")
def generate(train: int, val: int, seed: int, size: tuple[int, int], output: Path) -> None:
    """Draw road scenes with exact boxes and areas: JPEGs with a Labelme file beside each, dataset.toml and labels.txt."""
    run_generate({"train": train, "val": val}, seed, size, output)


def run_generate(counts: dict[str, int], seed: int, size: tuple[int, int], output: Path) -> None:
    """Raises InputError for a folder that is not empty, FileUnusable."""
    if output.exists() and any(output.iterdir()):
        raise InputError(
            f"{printable(output)} is not empty", fix="name a new folder: old pictures would be mixed with new ones"
        )
    write_classes(output, ROADS)
    with work_bar(stays_clear=False) as bar:
        task = bar.add_task("drawing", total=sum(counts.values()))
        for split, count in counts.items():
            for _ in drawn(seeds_of(split, count, seed), partial(_write, output / split, size)):
                bar.advance(task)
    click.echo(f"wrote {printable(output)}: " + ", ".join(f"{count} {split}" for split, count in counts.items()))


def _write(folder: Path, size: tuple[int, int], seed: int) -> None:
    """One picture and its Labelme file."""
    from recipes.od_seg import labelme, pictures
    from recipes.od_seg.scene import scene

    sample = scene(seed, size)
    path = folder / f"{seed:08d}.jpg"
    pictures.write(path, sample.picture)
    path.with_suffix(".json").write_bytes(labelme.document(sample, ROADS, path.name))


@click.command(epilog="Example: python -m recipes.od_seg clip --seconds 20 -o street.mp4")
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=20.0, show_default=True, help="Length.")
@click.option("--fps", type=click.IntRange(1, 60), default=15, show_default=True, help="Pictures per second.")
@click.option("--seed", type=click.IntRange(0, 99_999), default=0, show_default=True, help="Of the held-out streets.")
@click.option("--light", type=click.Choice(LIGHTS), help="Instead of the seed's own.")
@click.option(
    "--size", callback=size_of, metavar="WxH", default=f"{SIZE[0]}x{SIZE[1]}", show_default=True, help="Of the picture."
)
@click.option("--kilobytes", type=click.IntRange(10), default=2000, show_default=True, help="The file's size, about.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="MP4 to write.")
def clip(seconds: float, fps: int, seed: int, light: Light | None, size: tuple[int, int], kilobytes: int, output: Path) -> None:
    """Draw a street in motion, from seeds that no training uses, as H.264."""
    from recipes.od_seg.clip import write_clip
    from recipes.od_seg.scene import moving_scene

    frames = max(1, round(seconds * fps))
    with work_bar(stays_clear=False) as bar:
        task = bar.add_task("drawing", total=frames)
        samples = moving_scene(SPLITS["demo"] + seed, frames, fps, size, light=light)
        written = write_clip(output, (sample.picture for sample in samples), fps, size, kilobytes * 1000 / (frames / fps),
                             lambda: bar.advance(task))  # fmt: skip
    click.echo(f"wrote {printable(output)}: {frames} pictures, {written:,} bytes")


@click.command(epilog="Example: python -m recipes.od_seg lint my-pictures/")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON (camagent.dataset/1).")
def lint(folder: Path, as_json: bool) -> int:
    """Look for what spoils the data set in FOLDER: Labelme files beside pictures, or folders named for their class.

    It is only read. Exit code 1 where something is found, each with a sentence that says what to do.
    """
    return run_lint(folder, as_json=as_json)


def run_lint(folder: Path, *, as_json: bool = False, look: Look | None = None) -> int:
    """EXIT_DONE or EXIT_FINDING; `look` finds more than this recipe's own. Raises InputError."""
    from recipes.od_seg.lint import CODES
    from recipes.od_seg.lint import lint as usual

    look = look or usual
    with work_bar(stays_clear=as_json) as bar:
        task = bar.add_task("looking", total=None)
        findings = look(folder, lambda done, of: bar.update(task, completed=done, total=of))
    if as_json:
        rows = [{"code": one.code, "path": printable(one.path, 1000), "sentence": one.sentence} for one in findings]
        click.echo(json.dumps({"schema": "camagent.dataset/1", "folder": printable(folder, 1000), "findings": rows}))
        return EXIT_FINDING if findings else EXIT_DONE
    for code, meaning in CODES.items():
        mine = [one for one in findings if one.code == code]
        if mine:
            click.echo(f"{code} ({len(mine)}): {meaning}")
            for one in mine[:_SHOWN]:
                click.echo(f"  {printable(one.sentence, 1000)}")
            if len(mine) > _SHOWN:
                click.echo(f"  and {len(mine) - _SHOWN} more: --json lists them all")
    click.echo(f"{len(findings)} findings in {printable(folder)}" if findings else f"{printable(folder)}: nothing to mend")
    return EXIT_FINDING if findings else EXIT_DONE


@click.command(epilog="Example: python -m recipes.od_seg voc work/data -o work/voc")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write.")
def voc(folder: Path, output: Path) -> None:
    """Convert the Labelme files of FOLDER (its subfolders are the splits) to Pascal VOC; FOLDER is only read."""
    run_voc(folder, output)


def run_voc(folder: Path, output: Path) -> None:
    """Raises InputError, FileUnusable."""
    from recipes.od_seg.voc import convert

    with work_bar(stays_clear=False) as bar:
        task = bar.add_task("converting", total=None)
        count = convert(folder, output, lambda done, of: bar.update(task, completed=done, total=of))
    click.echo(f"wrote {printable(output)}: {count} pictures")
