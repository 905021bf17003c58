"""How pictures become a bare model's input: as a bundle's manifest says, or the options of `bundle create`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from click.core import ParameterSource

from camagent.cli.golden_request import input_of, read_file
from camagent.cli.numbers import scale_of, triple_of
from camagent.cli.size import size_of
from camagent.cli.tool_bundle import load_bundle
from camagent.errors import UsageError, printable
from camagent.pipeline import TensorSpec, UsableBundle
from firmware_pkg.manifest import InputSpec

_F = TypeVar("_F", bound=Callable[..., Any])
_BUNDLE = click.Path(exists=True, dir_okay=False, path_type=Path)
_INPUT = ("size", "color", "scale", "mean", "std", "resize")
_OPTIONS = (
    click.option(
        "--from", "source", type=_BUNDLE, metavar="BUNDLE",
        help="Bundle whose manifest says how pictures are prepared: calibration and camera cannot disagree then.",
    ),
    click.option("--size", callback=size_of, metavar="WxH", help="Network input, where the model leaves it open."),
    click.option("--color", type=click.Choice(["rgb", "bgr"]), default="rgb", help="Channel order.  [default: rgb]"),
    click.option("--scale", type=float, callback=scale_of, default=1.0, help="Applied first: x*S.  [default: 1]"),
    click.option("--mean", callback=triple_of, default="0,0,0", help="Subtracted after scaling.  [default: 0,0,0]"),
    click.option("--std", callback=triple_of, default="1,1,1", help="Divided by, last.  [default: 1,1,1]"),
    click.option(
        "--resize", type=click.Choice(["letterbox", "stretch", "crop"]), default="letterbox",
        help="How a picture of another shape is fitted.  [default: letterbox]",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contract:
    """As given: a bundle to read it from, or the input's options. `told`: which of the latter were given."""

    source: Path | None
    size: tuple[int, int] | None
    values: dict[str, Any]
    told: tuple[str, ...]


def contract_options(command: _F) -> _F:
    """Adds `--from BUNDLE` and the input's options; the command gets them as `contract`."""

    @wraps(command)  # and the options that lie below
    def with_contract(**given: Any) -> Any:
        context = click.get_current_context()
        told = tuple(name for name in _INPUT if context.get_parameter_source(name) is ParameterSource.COMMANDLINE)
        values = {name: given.pop(name) for name in _INPUT if name != "size"}
        made = Contract(given.pop("source"), given.pop("size"), values, told)
        return command(**given, contract=made)

    decorated: Any = with_contract
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    done: _F = decorated
    return done


def is_bundle(path: Path) -> bool:
    """Whether a file is a tar, as bundles are."""
    with path.open("rb") as file:
        return file.read(512)[257:262] == b"ustar"


def bundle_of(path: Path, contract: Contract, roots: tuple[Path, ...], backend: str = "onnx") -> UsableBundle | None:
    """The bundle that says how pictures are prepared: the model itself, or --from. Raises UsageError, Refused."""
    own = path if is_bundle(path) else contract.source
    if own is None:
        if roots:
            raise UsageError("a bare model has no signature to verify", fix="give the bundle, or leave --trust out")
        return None
    if contract.told:
        raise UsageError(
            f"--{contract.told[0]} says again what the bundle says",
            evidence={"bundle": printable(own.name)},
            fix=f"leave {', '.join('--' + name for name in contract.told)} out",
        )
    return load_bundle(own, roots, None, golden=True, backend=backend)


def input_spec(spec: TensorSpec, contract: Contract) -> InputSpec:
    """A bare model's input under the options. Raises UsageError."""
    try:
        return msgspec.convert({**input_of(spec, contract.size), **contract.values}, InputSpec)
    except msgspec.ValidationError as exc:
        raise UsageError(f"these options make no input: {exc}", fix="mend the option that is named") from exc


def model_bytes(path: Path) -> bytes:
    """A bare model's bytes. Raises InputError."""
    return read_file(path, "model")
