"""Addresses and what must never be seen of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from camagent.config import Camera
from camagent.errors import ConfigError
from camagent.redact import without_credentials
from camagent.sources.urls import address_of


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://host/cam", "rtsp://host/cam"),
        ("rtsp://user:secret@host:8554/cam?x=1", "rtsp://host:8554/cam?x=1"),
        ("rtsp://user:sec@ret@host/cam", "rtsp://host/cam"),
        ("rtsp://user:sec/ret@host/cam", "rtsp://host/cam"),
        ("rtsp://user:12/secret@host/cam", "rtsp://host/cam"),
        ("rtsp://user:secret@[fe80::1]:554/cam", "rtsp://[fe80::1]:554/cam"),
        ("rtsp://host/user=admin&password=secret&channel=1", "rtsp://host/user=***&password=***&channel=1"),
        ("rtsp://host/cam?token=secret", "rtsp://host/cam?token=***"),
        ("RTSP://User:secret@host", "RTSP://host"),
        ("/a/folder/with@sign", "/a/folder/with@sign"),
        ("rtsp://host/a\x1b[31m", "rtsp://host/a\\x1b[31m"),
    ],
)
def test_shown_addresses_hold_no_secret(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


def test_credentials_files_win_and_are_quoted(tmp_path: Path) -> None:
    (tmp_path / "u").write_text("ad:min\n")
    (tmp_path / "p").write_text("p@ss/w#rd%1\n")
    camera = Camera(name="c", url="rtsp://old:gone@host/cam", user_file=tmp_path / "u", password_file=tmp_path / "p")
    address = address_of(camera)
    assert address.url == "rtsp://ad%3Amin:p%40ss%2Fw%23rd%251@host/cam"
    assert (address.shown, address.host, address.port) == ("rtsp://host/cam", "host", 554)


def test_a_password_file_alone_keeps_the_user_of_the_address(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("new")
    assert address_of(Camera(name="c", url="rtsp://me@host/", password_file=tmp_path / "p")).url == "rtsp://me:new@host/"


def test_texts_are_scrubbed_in_every_spelling() -> None:
    address = address_of(Camera(name="c", url="rtsp://me:p%40ss-word@host/cam"))
    text = f"cannot open {address.url}; p@ss-word p%40ss-word tried rtsp://me:other@host2/ ?password=abc \x07"
    clean = address.scrub(text)
    assert "ss-word" not in clean
    assert "other" not in clean
    assert "abc" not in clean
    assert "\x07" not in clean
    assert "rtsp://host/cam" in clean


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://user:sec/ret@host/cam",
        "rtsp://",
        "rtsp://host:99999/x",
        "rtsp://ho st:1x/",
        "http://me:secret@host/x",
        "ftp://x/y",
    ],
)
def test_no_address_is_a_sentence_without_the_secret(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        address_of(Camera(name="front", url=url))
    assert "front" in error.value.what
    assert "sec" not in str(error.value.report()).replace("seconds", "")


def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"password_file .*absent"):
        address_of(Camera(name="c", url="rtsp://host/", password_file=tmp_path / "absent"))
