"""`bundle create --head auto`: the head is the one that sees on the golden pictures what is said to be on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from camagent.cli.golden_request import GoldenRequest
from camagent.errors import UsageError, printable
from camagent.pipeline import BackendOptions, Workbench, one_picture
from firmware_pkg.manifest import Manifest
from firmware_pkg.model_file import require_self_contained

if TYPE_CHECKING:
    from camagent.selftest.known import Known

AUTO = "auto"


def recognised(
    draft: Manifest, contents: Mapping[str, bytes], requests: Sequence[GoldenRequest], task: str | None,
    say: Callable[[str], None],
) -> Manifest:  # fmt: skip
    """The draft with the head that the pictures tell, and its task.

    Raises:
        UsageError: nothing is declared to be on a picture, or there is no float model.
        HeadMismatch, HeadUndecided: no head, or more than one.
    """
    from camagent.selftest import auto_head

    onnx = next((artifact for artifact in draft.artifacts if artifact.backend == "onnx"), None)
    if onnx is None:
        raise UsageError("--head auto needs the float model", fix="add the .onnx file the others were converted from")
    known = known_of(requests)
    if not known:
        raise UsageError(
            "--head auto needs a golden picture and what is on it",
            evidence={"golden pictures": len(requests), "with labels": 0},
            fix="add --golden IMAGE=label[:count], such as street.jpg=person:2,car; or name the head",
        )
    require_self_contained(contents[onnx.path])
    bench = Workbench(onnx.backend, contents[onnx.path], BackendOptions())
    try:
        found, alike = auto_head.find(bench, draft, known, task)
    finally:
        bench.close()
    more = f"; {', '.join(alike)} would read the same" if alike else ""
    sees = "; ".join(f"{printable(one.name)}: {seen}" for one, seen in zip(known, found.seen, strict=True))
    say(f"head: {found.head}, for it sees {printable(sees, 400)}{more}")
    return found.manifest


def known_of(requests: Sequence[GoldenRequest]) -> tuple[Known, ...]:
    """The pictures that something is declared for. Raises InputError for a file that is no picture."""
    from camagent.selftest.known import Known

    wanted = [one for one in requests if one.declared]
    return tuple(Known(str(one.image), one_picture(one.image), one.declared, (), None) for one in wanted)
