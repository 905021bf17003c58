"""--group LABEL=GROUP: under what a class counts, such as 'disposable box' under 'other waste'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from camagent.errors import UsageError, printable
from firmware_pkg.manifest import Label


def label_groups(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """The callback of such an option: group by label. Raises click.BadParameter."""
    del ctx
    found: dict[str, str] = {}
    for text in values:
        label, _, group = text.partition("=")
        if not (label and group):
            raise click.BadParameter(
                f"{printable(text)!r} is not LABEL=GROUP such as 'disposable box=other waste'", param=param
            )
        if label in found:
            raise click.BadParameter(f"{printable(label)!r} is given twice", param=param)
        found[label] = group
    return found


def grouped(names: Sequence[str], groups: Mapping[str, str]) -> list[str | Label]:
    """Labels as a manifest has them. Raises UsageError for a group of a label that there is not."""
    unknown = next((label for label in groups if label not in names), None)
    if unknown is not None:
        raise UsageError(
            f"--group names {printable(unknown, 64)!r}, which is no label",
            evidence={"--group": unknown, "labels": ", ".join(names[:20])}, fix="name one of the labels, letter for letter",
        )  # fmt: skip
    return [Label(name=name, group=groups[name]) if name in groups else name for name in names]
