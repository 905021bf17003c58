"""Downloads that go well, that break and go on, and the rules by which a URL and an address are judged."""

from __future__ import annotations

import io
import posixpath
import re
import socket
import threading
import time
import tracemalloc
from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from firmware_pkg import transfer
from firmware_pkg.addresses import Prefix, UnusableUrl, forbidden, parse_url
from firmware_pkg.errors import DownloadFailed
from firmware_pkg.order import Limits, Listener, Order, Rules, is_own_address, permitted, system_resolver
from firmware_pkg.response import Broken
from firmware_pkg.transfer import checked_addresses, download
from firmware_pkg.watch import Pace
from tests.support.http_server import Files, Request, Server, head, refusing, serving, sha256, trap
from tests.support.tls import Authority

CONTENT = Random(3).randbytes(1_000_003)
QUICK = Limits(connect_s=2, read_s=1, total_s=20, window_s=5, backoff_s=0.01, backoff_max_s=0.05)


def order_of(server: Server, path: str = "/models/a.cambundle", content: bytes = CONTENT, **changes: Any) -> Order:
    return Order(**{"url": server.url(path), "sha256": sha256(content), "size": len(content), **changes})


def rules_of(server: Server, path: str = "/models/", **changes: Any) -> Rules:
    return Rules(**{"allowed": (Prefix.parse(server.url(path)),), "limits": QUICK, **changes})


def fetch(server: Server, content: bytes = CONTENT, **changes: Any) -> bytes:
    with download(order_of(server, content=content), rules_of(server, **changes)) as source:
        return source.read()


def refusal(order: Order, rules: Rules) -> DownloadFailed:
    """What the download is refused with; both sides and a fix are always there."""
    before = threading.active_count()
    with pytest.raises(DownloadFailed) as caught, download(order, rules) as source:
        source.read()
    assert caught.value.code == "DOWNLOAD_FAILED"
    assert {"reason", "expected", "found"} <= set(caught.value.evidence)
    assert caught.value.fix
    assert threading.active_count() <= before + 2, "the watch must be gone; only the server's threads may be left"
    return caught.value


def reason(order: Order, rules: Rules) -> str:
    return refusal(order, rules).evidence["reason"]


# -- the file comes -------------------------------------------------------------------------------------------------------


def test_a_file_of_which_nobody_knows_the_digest_and_a_token_of_another_scheme() -> None:
    with serving(Files(CONTENT)) as server:
        order = order_of(server, sha256=None, token="geheim", scheme="TargetToken")
        with download(order, rules_of(server)) as source:
            assert source.read() == CONTENT
        assert server.requests[0].headers["authorization"] == "TargetToken geheim"
        assert reason(order_of(server, sha256=None, size=len(CONTENT) - 1), rules_of(server)) == "wrong-size"


def test_a_file_comes_as_a_stream_with_progress() -> None:
    told: list[int] = []
    with (
        serving(Files(CONTENT)) as server,
        download(order_of(server), rules_of(server), progress=told.append) as source,
    ):
        assert server.connections == 0, "nothing is asked before the first read"
        assert source.read(10) == CONTENT[:10]
        assert source.read(500_000) == CONTENT[10:500_010], "a read gives all it was asked for"
        assert source.read() + source.read() == CONTENT[500_010:]
    assert told[-1] == len(CONTENT)
    assert told == sorted(told)
    (asked,) = server.requests
    assert asked.headers == {
        "host": f"127.0.0.1:{server.port}", "connection": "close", "user-agent": "camagent", "accept-encoding": "identity",
        "accept": "*/*",
    }  # fmt: skip


@pytest.mark.parametrize("answer", [Files(CONTENT, length=False), Files(CONTENT, etag='"a"')], ids=["unframed", "framed"])
def test_a_file_comes_whole(answer: Files) -> None:
    with serving(answer) as server:
        assert fetch(server) == CONTENT


def chunked(_server: Server, _request: Request, wire: socket.socket, *, content: bytes = CONTENT) -> None:
    wire.sendall(head(200, "Transfer-Encoding: chunked"))
    for at in range(0, len(content), 7000):
        part = content[at : at + 7000]
        wire.sendall(b"%x\r\n%b\r\n" % (len(part), part))
    wire.sendall(b"0\r\n\r\n")


def test_a_chunked_file_comes_whole() -> None:
    with serving(chunked) as server:
        assert fetch(server) == CONTENT


def test_an_ipv6_server_is_reached() -> None:
    with serving(Files(CONTENT), host="::1") as server:
        assert fetch(server) == CONTENT
        assert server.requests[0].headers["host"] == f"[::1]:{server.port}"


def test_the_whole_file_is_never_in_memory() -> None:
    size = 48 << 20
    block = Random(5).randbytes(1 << 20)
    digest = sha256(block * (size >> 20))

    def stream(_server: Server, _request: Request, wire: socket.socket) -> None:
        wire.sendall(head(200, f"Content-Length: {size}"))
        for _ in range(size >> 20):
            wire.sendall(block)

    with serving(stream) as server:
        order = Order(url=server.url("/models/x"), sha256=digest, size=size)
        with download(order, rules_of(server)) as source:
            source.read(1)  # libraries are loaded
            tracemalloc.start()
            try:
                while source.read(65536):
                    pass
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    assert peak < 2 << 20, peak


def test_a_query_and_percent_signs_go_out_as_they_were_judged() -> None:
    with serving(Files(CONTENT)) as server:
        order = order_of(server, "/mod%65ls/a%20b%2b.cambundle?sig=%2fA&x=..")
        assert download(order, rules_of(server)).read() == CONTENT
    assert server.requests[0].target.lower() == "/models/a%20b+.cambundle?sig=%2fa&x=.."


def test_the_token_goes_to_its_server_and_is_not_shown() -> None:
    with serving(Files(CONTENT)) as server:
        order = order_of(server, token="geheim")
        assert "geheim" not in repr(order)
        assert download(order, rules_of(server)).read() == CONTENT
    assert server.requests[0].headers["authorization"] == "Bearer geheim"


def test_a_redirect_within_the_server_is_followed_without_the_token() -> None:
    files = Files(CONTENT)

    def answer(server: Server, request: Request, wire: socket.socket) -> None:
        if request.target == "/models/a.cambundle":
            refusing(302, "Location: v2/a.cambundle")(server, request, wire)
        else:
            files(server, request, wire)

    with serving(answer) as server:
        assert download(order_of(server, token="geheim"), rules_of(server)).read() == CONTENT
    assert [request.target for request in server.requests] == ["/models/a.cambundle", "/models/v2/a.cambundle"]
    assert ["authorization" in request.headers for request in server.requests] == [True, False]


def test_neither_proxy_nor_netrc_nor_authorities_of_the_environment_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password geheim\n")
    with serving(refusing(500)) as proxy, serving(Files(CONTENT)) as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url())
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none"))
        assert fetch(server) == CONTENT
    assert proxy.connections == 0
    assert "authorization" not in server.requests[0].headers


# -- the connection breaks ------------------------------------------------------------------------------------------------


def test_a_broken_connection_is_resumed_where_it_broke() -> None:
    files = Files(CONTENT, etag='"one"', cuts=[300_000, 200_000, 0, 1])
    with serving(files) as server:
        assert fetch(server) == CONTENT
    starts = [request.headers.get("range") for request in server.requests]
    assert starts == [None, "bytes=300000-", "bytes=500000-", "bytes=500000-", "bytes=500001-"]
    assert {request.headers.get("if-range") for request in server.requests[1:]} == {'"one"'}


@pytest.mark.parametrize("length", [True, False])
def test_a_server_without_ranges_is_passed_over_to_where_it_broke(length: bool) -> None:
    files = Files(CONTENT, etag='"one"', cuts=[300_000, 700_000], ranges=False, length=length)
    with serving(files) as server:
        assert fetch(server) == CONTENT
    assert len(server.requests) == 3


@pytest.mark.parametrize("etags", [('"one"', '"two"'), (None, None)], ids=["etag", "bytes"])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_that_changes_meanwhile_is_refused(etags: tuple[str | None, str | None], ranges: bool) -> None:
    files = Files(CONTENT, cuts=[300_000], ranges=ranges, then=b"x" * len(CONTENT), etag=etags[0], then_etag=etags[1])
    with serving(files) as server:
        expected = "digest" if ranges and etags[0] is None else "changed"  # without ETag only the digest can tell
        assert reason(order_of(server), rules_of(server)) == expected
    assert len(server.requests) == 2


def test_a_file_that_became_shorter_is_refused() -> None:
    with serving(Files(CONTENT, cuts=[300_000], then=CONTENT[:400_000])) as server:
        assert reason(order_of(server), rules_of(server)) == "changed"


def test_a_server_that_ignores_the_condition_of_a_range_is_caught_by_its_etag() -> None:
    def answer(server: Server, request: Request, wire: socket.socket) -> None:
        first = len(server.requests) == 1
        files = Files(CONTENT, etag='"one"' if first else '"two"', cuts=[1000] if first else [])
        files(server, Request(request.method, request.target, {**request.headers, "if-range": files.etag or ""}, b""), wire)

    with serving(answer) as server:
        assert reason(order_of(server), rules_of(server)) == "changed"
        assert len(server.requests) == 2


def test_a_range_that_was_not_asked_for_is_refused() -> None:
    def answer(server: Server, request: Request, wire: socket.socket) -> None:
        if len(server.requests) == 1:
            Files(CONTENT, cuts=[1000])(server, request, wire)
        else:
            wire.sendall(head(206, "Content-Range: bytes 0-9/10", "Content-Length: 10") + b"0123456789")

    with serving(answer) as server:
        assert reason(order_of(server), rules_of(server)) == "changed"


def test_a_server_that_is_busy_is_asked_again_a_few_times() -> None:
    def answer(server: Server, request: Request, wire: socket.socket) -> None:
        (refusing(503) if len(server.requests) < 3 else Files(CONTENT))(server, request, wire)

    with serving(answer) as server:
        assert fetch(server) == CONTENT
    with serving(refusing(503)) as server:
        found = refusal(order_of(server), rules_of(server))
        assert found.evidence["reason"] == "unreachable"
        assert "503" in found.what
        assert len(server.requests) == 1 + QUICK.first_tries


def test_resumes_are_bounded_and_a_failed_download_stays_failed() -> None:
    with serving(Files(CONTENT, cuts=[1000] * 100)) as server:
        source = download(order_of(server), rules_of(server))
        for _ in range(3):
            with pytest.raises(DownloadFailed) as caught:
                source.read()
            assert caught.value.evidence["reason"] == "broken"
        source.close()
        assert len(server.requests) == 1 + QUICK.resumes


def test_nobody_there_is_said_with_the_systems_words() -> None:
    with serving(Files(CONTENT)) as server:
        pass
    found = refusal(order_of(server), rules_of(server))
    assert found.evidence["reason"] == "unreachable"
    assert "Connection refused" in found.what


def test_a_download_is_stopped_while_it_waits() -> None:
    stop = threading.Event()

    def answer(server: Server, _request: Request, wire: socket.socket) -> None:
        wire.sendall(head(200, f"Content-Length: {len(CONTENT)}") + CONTENT[:100_000])
        server.over.wait(20)

    rules = Limits(read_s=15, total_s=20)
    with serving(answer) as server, download(order_of(server), rules_of(server, limits=rules), stop=stop) as source:
        source.read(100)
        threading.Timer(0.2, stop.set).start()
        began = time.monotonic()
        with pytest.raises(DownloadFailed) as caught:
            source.read()
        assert time.monotonic() - began < 2
        assert caught.value.evidence["reason"] == "stopped"


def test_a_download_that_is_given_up_leaves_no_thread_and_no_socket() -> None:
    before = threading.active_count()
    with serving(Files(CONTENT)) as server:
        for _ in range(20):
            with download(order_of(server), rules_of(server)) as source:
                source.read(10)
    assert threading.active_count() == before
    assert source.closed


# -- TLS ------------------------------------------------------------------------------------------------------------------


def test_tls_with_the_right_authority_and_only_with_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    stranger = Authority(tmp_path, "stranger")
    with serving(Files(CONTENT), tls=authority.issue("127.0.0.1").server()) as server:
        assert fetch(server, ca_file=authority.file) == CONTENT
        for wrong in (stranger.file, None):
            found = refusal(order_of(server), rules_of(server, ca_file=wrong))
            assert found.evidence["reason"] == "tls"
            assert "issuer" in found.evidence["found"] or "self-signed" in found.evidence["found"]
        assert len(server.requests) == 1, "a server that is not trusted gets no request"


def test_tls_with_another_name_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with serving(Files(CONTENT), tls=authority.issue("updates.example.org", "127.0.0.2").server()) as server:
        found = refusal(order_of(server), rules_of(server, ca_file=authority.file))
        assert found.evidence["reason"] == "tls"
        assert "127.0.0.1" in found.evidence["expected"]
        assert server.requests == []


def test_tls_whose_time_has_not_come_shows_the_clock(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with serving(Files(CONTENT), tls=authority.issue("127.0.0.1", starts_in_days=5).server()) as server:
        found = refusal(order_of(server), rules_of(server, ca_file=authority.file))
        assert found.evidence["reason"] == "tls"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", found.evidence["time of this device"])


def test_a_file_of_authorities_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with serving(Files(CONTENT)) as server:
        order = Order(url=f"https://127.0.0.1:{server.port}/models/x", sha256=sha256(CONTENT), size=1)
        for file in ("ca.pem", "absent.pem"):
            rules = Rules(allowed=(Prefix.parse(order.url),), ca_file=tmp_path / file, limits=QUICK)
            assert reason(order, rules) == "tls"
        assert server.connections == 0


def test_tls_that_is_none_is_no_crash(tmp_path: Path) -> None:
    with serving(trap, greet=True) as server:
        order = Order(url=f"https://127.0.0.1:{server.port}/models/x", sha256=sha256(CONTENT), size=1)
        assert reason(order, Rules(allowed=(Prefix.parse(order.url),), limits=QUICK)) == "unreachable"


# -- which URL ------------------------------------------------------------------------------------------------------------

UNDER = Prefix.parse("https://a.example/models")


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/models", "https://a.example/models/", "https://a.example/models/x", "https://A.EXAMPLE/models/x",
        "https://a.example:443/models/x", "HTTPS://a.example/models/x", "https://a.example/%6dodels/x", "https://a.example/models/x?y=/../",
    ],
)  # fmt: skip
def test_what_is_below_the_entry_is_allowed(url: str) -> None:
    assert permitted(url, [UNDER]).host == "a.example"


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/models-evil", "https://a.example/modelsx/y", "https://a.example.evil/models/x", "https://a.example/",
        "http://a.example/models/x", "https://a.example:8443/models/x", "https://a.example@evil/models/x", "https://evil/models/x",
        "https://u:p@a.example/models/x", "https://a.example/models/../x", "https://a.example/models/%2e%2e/x",
        "https://a.example/models/.%2E/x", "https://a.example/models/%252e%252e/x", "https://a.example/models/..%2fx",
        "https://a.example/models/..;/x", "https://a.example/models/x;y", "https://a.example/models\\..\\x",
        "https://a.example/models/%5c..%5cx", "https://a.example\\@evil/models/x", "https://evil#@a.example/models/x",
        "https://evil?@a.example/models/x", "https://a.example/models/x#y", "https://a.example//models/x", "https:///models/x",
        "https://a.example/models/%00", "https://a.example/models/%c0%ae%c0%ae/x", "https://a.example/models/%zz",
        "https://a.example /models/x", " https://a.example/models/x", "https://a.example/models/x\n", "https://a.example./models/x",
        "https://a.exаmple/models/x", "https://a.example/Models/x", "https://a.example:0443/models/x", "https://a.example:/models/x",
        "https://a.example:0/models/x", "https://a.example:70443/models/x", "//a.example/models/x", "a.example/models/x", "",
        "file:///etc/passwd", "file://a.example/models/x", "gopher://a.example/models/x", "ftp://a.example/models/x",
        "https:a.example/models/x", "https:/a.example/models/x", "https://a.example/models/" + "x" * 2000,
        "jar:https://a.example/models/x", "data:,x", "https://[a.example]/models/x", "https://-a.example/models/x",
        "https://a..example/models/x", "https://a.example/models/\u202ex", "https://a.example/models/%e2%80%ae",
    ],
)  # fmt: skip
def test_what_is_not_below_the_entry_is_refused(url: str) -> None:
    with pytest.raises(DownloadFailed) as caught:
        permitted(url, [UNDER])
    assert caught.value.evidence["reason"] == "not-allowed-url"


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.01", "1.2.3.4.5", "256.1.1.1", "127.0.0.0x1", "x.1",
     "[::1%25lo]", "[::1%lo]", "[127.0.0.1]", "[::ffff:127.0.0.1", "::1", "１２７.0.0.1", "127。0。0。1", "127.0.0.1."],
)  # fmt: skip
def test_hosts_that_resolvers_read_differently_are_no_hosts(host: str) -> None:
    with pytest.raises(UnusableUrl):
        parse_url(f"http://{host}/models/x")


def test_a_literal_is_allowed_only_in_the_form_that_was_allowed() -> None:
    allowed = [Prefix.parse("http://127.0.0.1:8000/m"), Prefix.parse("http://[::1]/m")]
    assert permitted("http://[0:0::1]/m/x", allowed).host == "::1"
    for url in ("http://[::ffff:127.0.0.1]:8000/m/x", "http://localhost:8000/m/x", "http://127.0.0.2:8000/m/x"):
        with pytest.raises(DownloadFailed):
            permitted(url, allowed)


@pytest.mark.parametrize(
    "entry", ["https://a.example/m?x=1", "https://a.example/m?", "ftp://a/", "models", "https://*/m", "https://a/../m"]
)
def test_entries_that_say_nothing_certain_are_no_entries(entry: str) -> None:
    with pytest.raises(UnusableUrl):
        Prefix.parse(entry)


def test_an_empty_list_allows_nothing() -> None:
    with pytest.raises(DownloadFailed) as caught:
        permitted("https://a.example/models/x", [])
    assert "empty" in caught.value.evidence["expected"]


def test_a_query_is_not_shown() -> None:
    for url in ("https://evil/x?token=geheim", "https://e vil/x?token=geheim"):
        with pytest.raises(DownloadFailed) as caught:
            permitted(url, [UNDER])
        assert "geheim" not in caught.value.render()


PIECES = st.sampled_from(
    ["https://", "http://", "a.example", "evil", "models", "models-evil", "/", "//", "..", ".", "%2e", "%2f", "%5c", "%25", "%",
     "@", ":", ":443", ":80", "\\", ";", "?", "#", "&", "x", "[::1]", "127.0.0.1", "\t", "\n", " ", "\0", "é", "K", "x@", "%41",
     "~", "*"]
)  # fmt: skip
URLS = st.one_of(
    st.lists(PIECES, max_size=8).map("".join),
    st.lists(PIECES, max_size=6).map(lambda parts: "https://a.example/models" + "".join(parts)),
    st.lists(PIECES, max_size=3).map(lambda parts: "https://a.example" + "".join(parts) + "/models/x"),
    st.text(max_size=20).map(lambda text: "https://a.example/models" + text),
)


def fully_decoded(text: str) -> str:
    while (once := unquote(text)) != text:
        text = once
    return text


@given(URLS)
def test_whoever_reads_an_allowed_url_it_lies_under_its_entry(text: str) -> None:
    """The standard library, urllib3 and a server that decodes everything and walks `..` must all agree with us."""
    try:
        url = permitted(text, [UNDER])
    except DownloadFailed:
        return
    for form in (text, str(url)):
        split = urlsplit(form)
        assert (split.scheme, split.hostname, split.port or 443) == ("https", "a.example", 443)
        assert split.username is None
        other = urllib3.util.parse_url(form)
        assert (other.scheme, other.host, other.port or 443, other.auth) == ("https", "a.example", 443, None)
        for path in (split.path, other.path or ""):
            walked = posixpath.normpath(fully_decoded(path).replace("\\", "/").partition(";")[0])
            assert walked == "/models" or walked.startswith("/models/"), walked
    assert parse_url(str(url)) == url, "the canonical form is its own canonical form"


@given(
    st.lists(
        st.text("abcXYZ019-._~!$&'()*+,=:@é ", min_size=1, max_size=8).filter(lambda text: text.strip(".")),
        min_size=1,
        max_size=4,
    )
)
def test_every_honest_path_under_the_entry_is_allowed(segments: list[str]) -> None:
    from urllib.parse import quote

    text = "https://a.example/models/" + "/".join(quote(segment, safe="") for segment in segments)
    assert permitted(text, [UNDER]).segments == ("models", *segments)


# -- which address --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "169.254.169.254", "224.0.0.1", "239.1.1.1", "0.0.0.0", "0.1.2.3", "255.255.255.255",
        "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "febf::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.1.1",
        "::ffff:0:0", "::127.0.0.1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1",
        "64:ff9b:1:7f00:0:100::", "::ffff:0:127.0.0.1", "2001:0:7f00:1::", "2001:0:102:304:0:0:80ff:fffe",
        "2001:db8::5efe:7f00:1", "2001:db8::200:5efe:a9fe:a9fe",
    ],
)  # fmt: skip
def test_addresses_that_are_never_connected_to(address: str) -> None:
    assert forbidden(ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["192.168.1.7", "10.0.0.1", "172.16.0.1", "203.0.113.9", "100.64.0.1", "fd00::2", "2001:db8::1", "2606:4700::1",
     "::ffff:192.168.1.7", "64:ff9b::c0a8:107", "2002:c0a8:107::"],
)  # fmt: skip
def test_addresses_that_may_be_connected_to(address: str) -> None:
    assert forbidden(ip_address(address)) is None


def addresses(answer: list[str], host: str = "updates.example", **changes: Any) -> tuple[str, ...]:
    url = parse_url(f"http://{host}:8420/m/x")
    rules = Rules(allowed=(Prefix(url),), resolve=lambda *_: answer, **changes)
    return checked_addresses(url, rules)


def test_one_forbidden_address_among_many_refuses_the_name() -> None:
    assert addresses(["192.168.1.7", "fd00::1"]) == ("192.168.1.7", "fd00::1")
    for bad in ("127.0.0.1", "::ffff:127.0.0.1", "fe80::1%2", "not an address"):
        with pytest.raises(DownloadFailed) as caught:
            addresses(["192.168.1.7", bad])
        assert caught.value.evidence["reason"] == "address-not-allowed"
        assert bad in caught.value.evidence["found"]


def test_the_agents_own_listener_is_never_asked() -> None:
    own: dict[str, Any] = {"is_own": lambda address: address == "192.168.1.7"}
    for listen in ("0.0.0.0:8420", "[::]:8420", "192.168.1.7:8420", ":8420"):
        listener = Listener.parse(listen)
        assert listener
        with pytest.raises(DownloadFailed) as caught:
            addresses(["192.168.1.7"], listener=listener, **own)
        assert "own listener" in caught.value.evidence["found"]
        assert addresses(["192.168.1.8"], listener=listener, **own)
    assert addresses(["192.168.1.7"], listener=Listener("0.0.0.0", 80), **own), "another port is another service"
    assert addresses([], host="192.168.1.7", listener=Listener("0.0.0.0", 8420), **own), "unless the entry is that address"
    assert Listener.parse("") is None


def test_a_name_without_an_address_is_worth_another_try() -> None:
    with pytest.raises(Broken):
        addresses([])
    url = parse_url("http://no-such-name.invalid/m/x")
    with pytest.raises(Broken):
        checked_addresses(url, Rules(allowed=(Prefix(url),)))


def test_the_machines_own_addresses_are_known() -> None:
    assert is_own_address("127.0.0.1")
    assert is_own_address("::1")
    assert not is_own_address("203.0.113.77")
    assert not is_own_address("2001:db8::77")
    assert set(system_resolver("localhost", 80)) & {"127.0.0.1", "::1"}


# -- orders and patience --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"size": 0}, {"size": -1}, {"size": 2**40}, {"sha256": "A" * 64}, {"sha256": "a" * 63}])
def test_an_order_that_makes_no_sense_is_refused_before_anything_is_asked(changes: dict[str, Any]) -> None:
    with serving(Files(CONTENT)) as server:
        refusal(order_of(server, **changes), rules_of(server))
        assert server.connections == 0


def test_time_grows_with_the_size_up_to_an_hour() -> None:
    assert Limits().total(32 * 1024 * 100) == 160
    assert Limits().total(1 << 30) == 3600
    assert Limits(total_s=5).total(1 << 30) == 5


def test_pace_counts_only_the_time_spent_waiting_for_the_server() -> None:
    pace = Pace(rate=1000, window_s=10)
    now = 0.0
    for _ in range(100):  # a slow disk: each read comes at once, the next is asked for 60 s later
        pace.begin(now)
        pace.end(now + 0.01, 100)
        now += 60
    assert not pace.too_slow(now)
    pace = Pace(rate=1000, window_s=10)
    pace.begin(0)
    assert not pace.too_slow(9.9)
    assert pace.too_slow(10.1), "silence counts while it lasts"
    pace.end(10.1, 20_000)
    assert not pace.too_slow(10.1)
    for second in range(11, 22):
        pace.begin(second - 1)
        pace.end(second, 1)  # one byte a second
    assert pace.too_slow(22)


def test_a_download_is_a_binary_stream_as_libraries_know_it() -> None:
    with serving(Files(CONTENT)) as server:
        raw = transfer.Download(order_of(server), rules_of(server))
        assert raw.readable()
        assert not raw.seekable()
        assert not raw.writable()
        assert raw.readinto(bytearray()) == 0
        assert server.connections == 0
        assert io.BufferedReader(raw).read() == CONTENT
