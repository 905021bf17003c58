"""The pure half of the hawkBit client: whatever a server says, it is read as documented or refused; what is said back fits."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent import cli, config_file
from camagent.config import Hawkbit as Section
from camagent.errors import CodedError, ConfigError, HawkbitBusy, HawkbitDenied, HawkbitStrange
from camagent.integrations import hawkbit_read as read
from camagent.integrations import hawkbit_words as words
from camagent.integrations.hawkbit_memory import Doing, Item, Memory, remembered
from camagent.integrations.hawkbit_plan import prefix_for
from camagent.integrations.hawkbit_server import Server, check
from camagent.integrations.hawkbit_wire import Gone, judge, retry_after_s
from firmware_pkg.addresses import Prefix, parse_url
from tests.test_errors import NASTY
from tests.test_refusals import DESIGN

BASE = parse_url("https://hawkbit.example.org/DEFAULT/controller/v1/cam-01")
LINK = parse_url("https://hawkbit.example.org/DEFAULT/controller/v1/cam-01/deploymentBase/17?c=-3")

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["id", "deployment", "chunks", "artifacts", "_links", "href", "config", "polling", "sleep", "download",
                         "update", "size", "filename", "hashes", "sha256", "cancelAction", "stopId", "deploymentBase", "x"]),
        inner, max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.binary(max_size=200) | anything.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    for reading in (lambda: read.offers(data, BASE), lambda: read.deployment(data, LINK), lambda: read.stop_id(data)):
        shown = ""
        try:
            reading()
        except HawkbitStrange as exc:
            shown = exc.render().replace("\n", "")
        assert not shown or shown.isprintable()


def test_a_root_resource() -> None:
    found = read.offers(
        json.dumps({
            "config": {"polling": {"sleep": "00:01:00"}}, "new": {"field": 1},
            "_links": {"deploymentBase": {"href": str(LINK)}, "configData": {"href": "cam-01/configData"}},
        }).encode(), BASE,
    )  # fmt: skip
    assert (found.poll_s, found.deployment, found.cancel, found.confirmation) == (60.0, LINK, None, None)
    assert str(found.config_data) == f"{BASE}/configData"
    assert read.id_in(LINK) == "17"
    assert str(read.feedback_of(LINK)) == f"{BASE}/deploymentBase/17/feedback"
    assert str(read.with_history(LINK)) == f"{LINK}&actionHistory=-1"


@pytest.mark.parametrize(
    "href",
    [
        "http://hawkbit.example.org/x/deploymentBase/1", "https://hawkbit.example.org:444/x", "//evil.example/x",
        "https://hawkbit.example.org@evil.example/x", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_the_api_is_followed_on_its_own_server_alone(href: str) -> None:
    with pytest.raises(HawkbitStrange):
        read.own_link({"href": href}, BASE)


@given(st.text(max_size=2000) | st.sampled_from(NASTY) | st.text(alphabet="<>/abc!? =", max_size=100))
def test_whatever_is_told_fits(text: str) -> None:
    body = json.loads(words.body(words.told(*[text] * 70), 1_800_000_000.0))
    assert body["timestamp"] == 1_800_000_000_000
    assert len(body["status"]["details"]) <= 50
    for line in body["status"]["details"]:
        assert len(line) <= 500
        assert line.isprintable()
        assert not re.search("[<>]", line)
    attributes = json.loads(words.attributes_body({f"{number}{text}": text for number in range(300)}))
    assert len(attributes["data"]) <= 100
    assert all(len(part) <= 128 and part.isprintable() for pair in attributes["data"].items() for part in pair)


def test_markup_goes_and_what_it_said_stays() -> None:
    assert words.plain("<b>no</b> <script>alert(1)</script>") == "no alert(1)"
    assert words.plain("3 < 4 and 5 > 4, a <= b") == "3 ( 4 and 5 ) 4, a (= b"


@given(st.text(alphabet="ab1._-", min_size=1, max_size=48), st.text(alphabet="0123456789.", min_size=1, max_size=20))
def test_a_trial_is_found_again_in_the_history(name: str, version: str) -> None:
    said = words.told(words.on_trial(name, version, "ab" * 32)).details
    assert words.trial_of(["server: action retrieved", *said]) == [(name, version, "ab" * 32)]


def test_every_refusal_has_a_number_of_its_own() -> None:
    told = {*DESIGN, "TRIAL_FAILED", "TRIAL_ENDED", "ACTION_UNSUPPORTED", "STATE_UNUSABLE", "BACKEND_FAILED", "INTERNAL"}
    assert told - {"KEY_PASSPHRASE"} == set(words.NUMBERS), "a passphrase is asked for where bundles are signed"
    assert len(set(words.NUMBERS.values())) == len(words.NUMBERS)
    assert words.OTHER not in words.NUMBERS.values()
    text = (Path(__file__).parents[2] / "docs" / "hawkbit.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| `(\w+)` \|", text, re.MULTILINE))
    assert {code: int(number) for number, code in rows.items()} == dict(words.NUMBERS)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5.0), (" 120 ", 120.0), ("999999", 3600.0), ("-1", None), ("soon", None), ("", None), ("٣", None),
        ("Thu, 26 Nov 2026 10:00:00 GMT", None), ("9" * 30, None),
    ],
)  # fmt: skip
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after_s(text) == seconds


def test_every_status_means_something() -> None:
    for status in (200, 201, 202, 204):
        judge(status, {}, "POST")
    judge(304, {}, "GET")
    for status, kind in ((401, HawkbitDenied), (403, HawkbitDenied), (409, HawkbitBusy), (429, HawkbitBusy), (500, HawkbitBusy),
                         (404, Gone), (405, Gone), (410, Gone), (301, HawkbitStrange), (304, HawkbitStrange),
                         (400, HawkbitStrange), (418, HawkbitStrange)):  # fmt: skip
        with pytest.raises(kind):
            judge(status, {}, "POST")


@pytest.mark.parametrize(
    ("url", "listed", "allowed"),
    [
        ("https://hawkbit.example.org/any/file", (), True), ("https://cdn.example/x", (), True),
        ("http://cdn.example/x", (), False), ("https://192.0.2.7/x", (), False), ("https://[2001:db8::1]/x", (), False),
        ("https://cdn.example/b/x", ("https://cdn.example/b/",), True),
        ("https://cdn.example/a/x", ("https://cdn.example/b/",), False),
        ("https://other.example/x", ("https://cdn.example/b/",), False), ("https://192.0.2.7/x", ("https://192.0.2.7/",), True),
        ("https://hawkbit.example.org/x", ("https://cdn.example/b/",), True),
    ],
)  # fmt: skip
def test_where_files_may_lie(url: str, listed: tuple[str, ...], allowed: bool) -> None:
    prefixes = tuple(map(Prefix.parse, listed))
    if allowed:
        assert any(prefix.covers(parse_url(url)) for prefix in prefix_for(parse_url(url), BASE, prefixes))
    else:
        with pytest.raises(CodedError) as caught:
            prefix_for(parse_url(url), BASE, prefixes)
        assert caught.value.code == "ACTION_UNSUPPORTED"


def test_memory_has_an_end() -> None:
    known: dict[str, int] = {}
    for number in range(100):
        known = remembered(known, f"{number % 40}", number)
    assert len(known) == 32
    assert list(known.values()) == list(range(68, 100))
    assert remembered({"a": 1}, None, 2) == {"a": 1}
    item = Item(filename="a", url="b", size=1, sha256=None)
    assert Memory(doing=Doing(action="1", phase="ready", items=(item,))).doing


@pytest.mark.parametrize(
    "keys",
    [
        {"url": "hawkbit.example.org"}, {"url": "ftp://h/"}, {"url": "https://u:geheim@h/"}, {"url": "https://h/x?a=b"},
        {"url": "https://h/DEFAULT/controller/v1/cam-01"}, {"url": "https://h", "download_from": ("cdn",)},
        {"url": "https://h", "download_from": ("http://cdn.example/",)},
    ],
)  # fmt: skip
def test_sections_that_cannot_be_spoken_to(keys: dict[str, str | tuple[str, ...]]) -> None:
    with pytest.raises(ConfigError) as caught:
        check(Section(**keys), "cam-01")  # type: ignore[arg-type]
    assert "geheim" not in caught.value.render()


def test_the_root_resource_of_a_section() -> None:
    server = Server.of(
        Section(url="https://h:8443/behind/a/proxy/", tenant="acme", cert_file=Path("c"), key_file=Path("k")), "cam-01"
    )
    assert str(server.base) == "https://h:8443/behind/a/proxy/acme/controller/v1/cam-01"
    assert server.token() is None


def test_the_manuals_section_is_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "hawkbit.md").read_text("utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    config = config_file.parse(tomllib.loads(example))
    check(config.fleet.hawkbit, config.agent.id)
    assert config.fleet.hawkbit.url == "https://hawkbit.example.org"


def test_config_check_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "camagent.toml"
    path.write_text('[fleet.hawkbit]\nurl = "https://h/DEFAULT/controller/v1/x"\ntarget_token_file = "t"\n')
    assert cli.run(["config", "check", "-c", str(path)]) == 2
    assert "fleet.hawkbit.url is not the base of a server" in capsys.readouterr().err
    path.write_text('[fleet.hawkbit]\nurl = "https://h"\ntarget_token_file = "t"\n')
    assert cli.run(["config", "check", "-c", str(path)]) == 0
