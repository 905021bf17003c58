"""The overlay as a document: what a change does to it, that TOML brings it back, and what is refused."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.config_file import load
from camagent.errors import CodedError, ConfigError
from camagent.overlay import ChangeInvalid, describe, dump, read_change, with_change
from tests.test_errors import NASTY

SQUARE = [[0.1, 0.2], [0.9, 0.2], [0.9, 0.9]]
ZONE = {"name": "gate", "polygon": SQUARE}


def change(**keys: object) -> bytes:
    return json.dumps(keys).encode()


def written(folder: Path, overlay: bytes | None = None) -> Path:
    path = folder / "camagent.toml"
    path.write_text(
        f'[agent]\nid = "cam-01"\nstate_dir = "{folder}"\n[[camera]]\nname = "front"\nurl = "a.mp4"\nbundle = "b"\n'
        '[camera.filter]\nmin_score = 0.5\n[[camera.zone]]\nname = "street"\npolygon = [[0.0,0.0],[1.0,0.0],[1.0,1.0]]\n'
    )
    if overlay is not None:
        (folder / "overlay.toml").write_bytes(overlay)
    return path


def test_a_change_lies_over_the_file_and_can_be_taken_back(tmp_path: Path) -> None:
    made = with_change({}, "front", read_change(change(zone=[ZONE], filter={"min_score": 0.3})))
    loaded = load(written(tmp_path, dump(made)))
    (camera,) = loaded.config.camera
    assert [zone.name for zone in camera.zone] == ["gate"]
    assert camera.filter.min_score == 0.3
    told = describe(loaded, camera)
    assert told["overlay"] == ["filter.min_score", "zone"]
    assert told["base"] == loaded.digest
    back = with_change(made, "front", read_change(change(zone=None)))
    (camera,) = load(written(tmp_path, dump(back))).config.camera
    assert [zone.name for zone in camera.zone] == ["street"]
    assert camera.filter.min_score == 0.3
    assert with_change(back, "front", read_change(change(filter={"min_score": None, "labels": None}))) == {}


def test_other_cameras_keys_and_entries_stay() -> None:
    before = {"camera": [{"name": "back", "zone": [ZONE]}, {"name": "front", "mask": [ZONE]}]}
    after = with_change(before, "front", read_change(change(zone=[])))
    assert after == {"camera": [{"name": "back", "zone": [ZONE]}, {"name": "front", "mask": [ZONE], "zone": []}]}
    assert before == {"camera": [{"name": "back", "zone": [ZONE]}, {"name": "front", "mask": [ZONE]}]}


def test_an_empty_list_is_no_zone_at_all_and_not_the_files(tmp_path: Path) -> None:
    made = dump(with_change({}, "front", read_change(change(zone=[]))))
    assert load(written(tmp_path, made)).config.camera[0].zone == ()


def test_bytes_can_be_judged_before_they_are_written(tmp_path: Path) -> None:
    path = written(tmp_path)
    twice = dump(with_change({}, "front", read_change(change(zone=[ZONE, ZONE]))))
    with pytest.raises(ConfigError, match="same name"):
        load(path, twice)
    good = dump(with_change({}, "front", read_change(change(mask=[ZONE]))))
    ahead = load(path, good).digest
    written(tmp_path, good)
    assert load(path).digest == ahead


share = st.floats(0, 1, allow_nan=False)
areas = st.lists(
    st.fixed_dictionaries({
        "name": st.from_regex(r"[A-Za-z0-9_-]{1,48}", fullmatch=True),
        "polygon": st.lists(st.lists(share, min_size=2, max_size=2), min_size=3, max_size=8),
    }),
    max_size=4,
)  # fmt: skip


@given(areas, st.lists(st.text(min_size=1, max_size=64), max_size=4), share)
def test_what_goes_into_the_file_comes_out_again(zones: list[object], labels: list[str], score: float) -> None:
    asked = read_change(json.dumps({"zone": zones, "filter": {"labels": labels, "min_score": score}}).encode())
    made = with_change({}, "front", asked)
    again = tomllib.loads(dump(made).decode())
    assert json.loads(json.dumps(again)) == json.loads(json.dumps(made))


@pytest.mark.parametrize("text", NASTY)
def test_nasty_labels_stay_labels(text: str) -> None:
    try:
        asked = read_change(json.dumps({"filter": {"labels": [text]}}).encode())
    except ChangeInvalid:
        return
    made = with_change({}, "front", asked)
    assert tomllib.loads(dump(made).decode()) == made


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"null", b'"zone"', b"\xff\xfe", b'{"zone": 1}', b'{"url": "rtsp://evil"}', b'{"zone": [{}]}',
        b'{"zone": [{"name": "a b", "polygon": [[0,0],[1,0],[1,1]]}]}', b'{"zone": [{"name": "a", "polygon": [[0,0],[1,0]]}]}',
        b'{"zone": [{"name": "a", "polygon": [[0,0],[1,0],[1,2]]}]}',
        b'{"zone": [{"name": "a", "polygon": [[0,0],[1,0],[1,NaN]]}]}',
        b'{"zone": [{"name": "../a", "polygon": [[0,0],[1,0],[1,1]]}]}', b'{"filter": {"min_score": 1e99}}',
        b'{"filter": null}',
        b'{"filter": {"min_area": 1}}', b"[" * 100_000, b'{"zone":' * 50_000, b'{"mask": [{"name": "a", "polygon": []}]}',
        change(zone=[{"name": "a", "polygon": [[0.5, 0.5]] * 257}]), change(zone=[ZONE] * 65),
        b'{"filter": {"labels": [""]}}',
    ],
)  # fmt: skip
def test_what_is_no_change_is_refused_with_a_sentence(data: bytes) -> None:
    with pytest.raises(CodedError) as caught:
        read_change(data)
    assert caught.value.code == "CHANGE_INVALID"
