"""Label lists: one label per line of a text file, or a list known by name."""

from __future__ import annotations

from pathlib import Path

from camagent.errors import InputError

COCO80 = tuple(
    """person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant|stop sign|parking meter|bench|bird|
cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe|backpack|umbrella|handbag|tie|suitcase|frisbee|skis|snowboard|sports ball|
kite|baseball bat|baseball glove|skateboard|surfboard|tennis racket|bottle|wine glass|cup|fork|knife|spoon|bowl|banana|apple|
sandwich|orange|broccoli|carrot|hot dog|pizza|donut|cake|chair|couch|potted plant|bed|dining table|toilet|tv|laptop|mouse|remote|
keyboard|cell phone|microwave|oven|toaster|sink|refrigerator|book|clock|vase|scissors|teddy bear|hair drier|toothbrush""".replace(
        "\n", ""
    ).split("|")
)
KNOWN = {"coco80": COCO80}


def read(source: str) -> tuple[str, ...]:
    """Labels in class-id order from a known list's name or a text file. Raises InputError."""
    if source in KNOWN:
        return KNOWN[source]
    path = Path(source)
    try:
        text = path.read_text("utf-8-sig")
    except OSError as exc:
        raise InputError(
            f"the label file {source} cannot be read: {exc.strerror}",
            evidence={"labels": source, "known lists": ", ".join(KNOWN)},
            fix="give a text file with one label per line, or the name of a known list",
        ) from exc
    except UnicodeDecodeError as exc:
        raise InputError(f"the label file {source} is not UTF-8 text", fix="save it as UTF-8, one label per line") from exc
    lines = [line.strip() for line in text.rstrip().splitlines()]
    blank = next((number for number, line in enumerate(lines, 1) if not line), None)
    if blank or not lines:
        raise InputError(
            f"the label file {source} has an empty line" if lines else f"the label file {source} is empty",
            evidence={"line": blank or 1},
            fix="one label per line, none empty: an empty line would shift every class behind it",
        )
    return tuple(lines)
