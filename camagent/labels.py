"""Label lists: one label per line of a text file, or a list known by name."""

from __future__ import annotations

from pathlib import Path

from camagent.errors import InputError

_COCO80 = """
person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign parking_meter bench
bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie suitcase frisbee skis snowboard
sports_ball kite baseball_bat baseball_glove skateboard surfboard tennis_racket bottle wine_glass cup fork knife spoon
bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut cake chair couch potted_plant bed dining_table
toilet tv laptop mouse remote keyboard cell_phone microwave oven toaster sink refrigerator book clock vase scissors
teddy_bear hair_drier toothbrush
"""
COCO80 = tuple(name.replace("_", " ") for name in _COCO80.split())
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
