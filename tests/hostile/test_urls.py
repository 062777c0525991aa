"""Hostile addresses: nothing is sent to, or even looked up at, a place that no rule grants."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

import pytest

from locara_label.errors import LocaraError, NotAllowed
from locara_label.fetch import Fetcher, Rules
from locara_label.fetch.addresses import is_public
from tests.fetch.web import LEGACY, Answer, Web, code_of, redirect

PUBLIC = "93.184.215.14"
REFUSED = {"fetch.not_allowed", "fetch.private_address", "fetch.bad_url", "fetch.scheme"}

PRIVATE_HOSTS = [
    "127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "0", "0.0.0.0", "0.0.0.0.", "localhost", "LOCALHOST", "localhost.",
    "localhost.localdomain", "2130706433", "0x7f000001", "0x7f.1", "0X7F.0.0.1", "0177.0.0.1", "017700000001", "127.0.0.01",
    "127.0.0.1.", "127.0.0.1..", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1",
    "169.254.169.254", "169.254.169.254.", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "100.100.100.200", "192.0.0.192",
    "198.18.0.1", "192.0.2.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.88.99.1",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:a9fe:a9fe]", "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]",
    "[2001:0:7f00:1::]", "[2001:db8::1]", "[fe80::1]", "[fe80::1%25lo]", "[fec0::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]",
    "[::ffff:0:127.0.0.1]", "[2606:4700::5efe:127.0.0.1]", "[2606:4700::200:5efe:10.0.0.1]", "[3fff::1]", "[100::1]",
    "127\u30020\u30020\u30021", "\uff11\uff12\uff17.0.0.1", "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "\u24dbocalhost",
    "local\u00adhost", "127.0.0.1%00.example.org", "%6c%6f%63alhost", "[::1",
    "::1", "metadata.google.internal", "rebound.example", "mixed.example", "six.example", "mapped.example", "nat64.example",
]  # fmt: skip

TRICKS = [
    "http://good.example@127.0.0.1/", "http://good.example:80@127.0.0.1/", "http://127.0.0.1#@good.example/",
    "http://127.0.0.1?@good.example/", "http://127.0.0.1\\@good.example/", "http://good.example\\@127.0.0.1/",
    "http://good.example%40127.0.0.1/", "http:127.0.0.1", "http:/127.0.0.1/", "http:///127.0.0.1/", "http://///127.0.0.1/",
    "http://127.0.0.1:80:80/", "http://good.example:99999/", "http://good.example:0/", "http://good.example:-1/",
    "http://good.example:\uff18\uff10/", "http://good.example:/", "http://good.example: 80/", " http://127.0.0.1/", "http://127.0.0.1\r\n/",
    "http://good.example/\r\nHost: 127.0.0.1\r\n", "http://good.example/a b\nc", "ht\ttp://127.0.0.1/", "http://127.0.0.1\x00.good.example/",
    "http://good.example\u2028/", "http://[v1.127.0.0.1]/", "http://[127.0.0.1]/", "http://127.0.0.1;good.example/",
    "http://good.example,127.0.0.1/", "http:\\\\127.0.0.1\\", "http:\\/127.0.0.1/", "//127.0.0.1/", "\\\\127.0.0.1\\share",
    "http://*/", "http://../", "http://./", "http://", "http://.", "http://-/", "http://a..b/", "http://" + "a" * 300 + "/",
    "http://good.example/" + "a" * 20_000, "http://good.example/%2e%2e/", "http://good.example/a/../b", "http://good.example/..;/b",
    "http://good.example/%252e%252e/b", "http://good.example\ud800/", "http://good.example/\ud800",
    "gopher://127.0.0.1:6379/_INFO", "ftp://127.0.0.1/a", "dict://127.0.0.1/", "ldap://127.0.0.1/", "file://127.0.0.1/etc/passwd",
    "jar:http://127.0.0.1!/", "javascript:alert(1)", "unix:/run/docker.sock", "http+unix://run/docker.sock", "ws://127.0.0.1/",
    "smb://127.0.0.1/share", "blob:http://127.0.0.1/1", "url:http://127.0.0.1/", "view-source:http://127.0.0.1/", "about:blank",
    "data:text/html,<b>", "data:,x", "s3://127.0.0.1/a", "", ":", "?", "#", "://", "c:\\windows\\win.ini",
]  # fmt: skip

ANSWERS = {
    "good.example": [PUBLIC],
    "rebound.example": ["10.0.0.5"],
    "mixed.example": [PUBLIC, "127.0.0.1"],
    "six.example": ["2606:4700::1", "::1"],
    "mapped.example": ["::ffff:10.0.0.1"],
    "nat64.example": ["64:ff9b::a00:1"],
    "localhost": ["127.0.0.1", "::1"],
    "localhost.localdomain": ["127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
}


class Spy:
    """Keeps where sockets are to connect to, and lets only those to this machine's own test servers through."""

    def __init__(self, through: set[int]) -> None:
        self.seen: list[tuple[str, int]] = []
        self.through = through
        self._connect = socket.socket.connect

    def connect(self, opened: socket.socket, address: tuple[str, int]) -> None:
        self.seen.append(address[:2])
        if address[1] not in self.through:
            raise ConnectionRefusedError(111, "the test lets nothing out")
        self._connect(opened, address)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    made = Spy(set())
    monkeypatch.setattr(socket.socket, "connect", lambda *called: made.connect(*called))  # noqa: PLW0108 - it is bound
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, _refuse)
    return made


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("a name was looked up a second time")


def _resolver(host: str, port: int) -> list[str]:
    assert 0 < port < 65536
    try:
        # as the system's resolver, which takes 127.1, 2130706433 and 0x7f.1 too
        return ANSWERS.get(host) or [socket.inet_ntoa(socket.inet_aton(host))]
    except OSError:
        return []


def _everything_public(**values: object) -> Fetcher:
    return Fetcher(Rules(allowed_hosts=("*:*",), **values), resolver=_resolver)  # type: ignore[arg-type]


def test_the_spy_sees_a_public_connection(spy: Spy) -> None:
    assert code_of(lambda: _everything_public().read("http://good.example/a.jpg")) == "fetch.unreachable"
    assert code_of(lambda: _everything_public().read("https://good.example:8443/a.jpg")) == "fetch.unreachable"
    assert spy.seen == [(PUBLIC, 80), (PUBLIC, 8443)]


def test_there_are_many_cases() -> None:
    assert len(set(PRIVATE_HOSTS)) + len(set(TRICKS)) >= 120


@pytest.mark.parametrize("host", PRIVATE_HOSTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_private_host_is_not_connected_to(spy: Spy, scheme: str, host: str) -> None:
    assert code_of(lambda: _everything_public().read(f"{scheme}://{host}/a.jpg")) in {*REFUSED, "fetch.unreachable"}
    assert spy.seen == []


@pytest.mark.parametrize(
    "host", ["127.1", "0", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.0.0.01", "8.8", "0x8.8.8.8"]
)
def test_unusual_forms_of_an_address_are_none(spy: Spy, host: str) -> None:
    assert code_of(lambda: _everything_public().read(f"http://{host}/a.jpg")) == "fetch.bad_url"
    assert spy.seen == []


@pytest.mark.parametrize("reference", TRICKS)
def test_a_trick_is_not_connected_to(spy: Spy, reference: str) -> None:
    assert code_of(lambda: _everything_public().read(reference)) in REFUSED
    assert spy.seen == []


@pytest.mark.parametrize("host", [host for host in PRIVATE_HOSTS if host.isascii()])
def test_a_granted_label_studio_grants_no_other_private_host(spy: Spy, host: str) -> None:
    fetcher = Fetcher(Rules("http://label-studio:8080", LEGACY, allowed_hosts=("*:*",)), resolver=_resolver)
    code = code_of(lambda: fetcher.read(f"http://{host}/data/upload/1/a.jpg"))
    assert code in {*REFUSED, "fetch.unreachable"}
    assert spy.seen == []


@pytest.mark.parametrize("host", ["good.example", "127.0.0.1", "rebound.example"])
def test_what_is_not_granted_is_not_even_looked_up(spy: Spy, host: str) -> None:
    def resolver(*_: object) -> list[str]:
        raise AssertionError("looked up")

    for rules in (
        Rules(),
        Rules("http://label-studio:8080", LEGACY),
        Rules(allowed_hosts=("other.example",), allow_private=(host,)),
    ):
        assert code_of(lambda rules=rules: Fetcher(rules, resolver=resolver).read(f"http://{host}/")) == "fetch.not_allowed"  # type: ignore[misc]
    assert spy.seen == []


@pytest.mark.parametrize(
    ("pattern", "url", "granted"),
    [
        ("good.example", "http://good.example/", True),
        ("good.example", "https://GOOD.example./", True),
        ("good.example", "http://good.example:8080/", False),
        ("good.example", "https://good.example:80/", False),
        ("good.example:8080", "http://good.example:8080/", True),
        ("good.example:8080", "http://good.example/", False),
        ("good.example:*", "http://good.example:8080/", True),
        ("*.example", "http://good.example/", True),
        ("*.good.example", "http://good.example/", False),
        ("*.good.example", "http://evilgood.example/", False),
        ("good.example", "http://good.example.evil.example/", False),
        ("good.example", "http://evil.example/good.example", False),
        ("bücher.example", "http://xn--bcher-kva.example/", True),
        ("*", "http://good.example:8080/", False),
        ("[2606:4700:0:0::1]:80", "http://[2606:4700::1]/", True),
    ],
)
def test_host_patterns(pattern: str, url: str, granted: bool) -> None:
    fetcher = Fetcher(Rules(allowed_hosts=(pattern,)))
    assert (code_of(lambda: fetcher.identity(url)) == "read") is granted


def test_a_rebound_name_leads_to_the_address_that_was_checked(spy: Spy) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])
    fetcher = Fetcher(Rules(allowed_hosts=("*:*",)), resolver=lambda *_: next(answers))
    assert code_of(lambda: fetcher.read("http://rebound.example/a.jpg")) == "fetch.unreachable"
    assert code_of(lambda: fetcher.read("http://rebound.example/a.jpg")) == "fetch.private_address"
    assert spy.seen == [(PUBLIC, 80)]


def test_a_redirect_is_checked_anew(spy: Spy, monkeypatch: pytest.MonkeyPatch) -> None:
    with Web() as first, Web() as inner:
        spy.through = {first.port, inner.port}
        asked: list[str] = []

        def resolver(host: str, port: int) -> list[str]:
            asked.append(host)
            # the name was public when it was first asked for, as far as the rules know
            return ["127.0.0.1"]

        rules = Rules(allowed_hosts=("*:*",), allow_private=(f"start.example:{first.port}",))
        for number, host in enumerate(["inner.example", "127.0.0.1", "[::1]", "2130706433", "start.example"]):
            first.routes[f"/{number}"] = redirect(f"http://{host}:{inner.port}/secret")
            code = code_of(lambda n=number: Fetcher(rules, resolver=resolver).read(first.named("start.example") + f"/{n}"))  # type: ignore[misc]
            assert code in {"fetch.private_address", "fetch.bad_url"}, host
        assert inner.log == []
        assert {port for _, port in spy.seen} == {first.port}
        assert len(first.log) == 5
        assert asked.count("start.example") == 6


def test_label_studio_sends_to_public_hosts_only_and_without_the_token(spy: Spy) -> None:
    with Web() as studio:
        spy.through = {studio.port}
        fetcher = Fetcher(Rules(studio.url, LEGACY), resolver=_resolver)
        studio.routes["/tasks/1/presign/"] = redirect("https://good.example/a.jpg?sig=1")
        assert code_of(lambda: fetcher.read("s3://bucket/a.jpg", task_id=1)) == "fetch.unreachable"
        for host in ("169.254.169.254", "rebound.example", "mixed.example", "[::1]"):
            studio.routes["/tasks/1/presign/"] = redirect(f"http://{host}/a.jpg")
            assert code_of(lambda: fetcher.read("s3://bucket/a.jpg", task_id=1)) == "fetch.private_address"
        assert [address for address in spy.seen if address[1] != studio.port] == [(PUBLIC, 443)]


def test_a_private_name_may_not_be_a_metadata_service(spy: Spy) -> None:
    for answer in ("169.254.169.254", "fe80::1", "100.100.100.200", "fd00:ec2::254", "224.0.0.1", "::ffff:169.254.169.254"):
        rules = Rules(allowed_hosts=("store.lan",), allow_private=("store.lan",))
        fetcher = Fetcher(rules, resolver=lambda *_, answer=answer: [answer])  # type: ignore[misc]
        assert code_of(lambda fetcher=fetcher: fetcher.read("http://store.lan/")) == "fetch.private_address"  # type: ignore[misc]
    assert spy.seen == []
    named = Fetcher(Rules(allowed_hosts=("store.lan",), allow_private=("10.1.0.0/16",)), resolver=lambda *_: ["10.1.2.3"])
    assert code_of(lambda: named.read("http://store.lan/")) == "fetch.unreachable"
    assert spy.seen == [("10.1.2.3", 80)]


PRIVATE_ADDRESSES = [
    "0.0.0.0", "10.0.0.1", "127.0.0.1", "100.64.0.1", "169.254.169.254", "172.16.0.1", "192.0.0.8", "192.168.1.1", "198.19.0.1",
    "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.88.99.1", "::", "::1", "::ffff:10.0.0.1", "::10.0.0.1",
    "64:ff9b::10.0.0.1", "64:ff9b:1::1", "2002:0808:0808::1", "2001:0:808:808::1", "2001:db8::1", "fc00::1", "fe80::1", "fec0::1",
    "ff0e::1", "3fff::1", "5f00::1", "2606:4700::5efe:10.0.0.1", "4000::1",
]  # fmt: skip


@pytest.mark.parametrize("text", PRIVATE_ADDRESSES)
def test_addresses_that_are_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", PUBLIC, "2606:4700::1", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_addresses_that_are_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "reference",
    [
        "http://user:canary@good.example/a.jpg", "http://good.example/a.jpg?sig=canary", "http://good.example/a.jpg#canary",
        "https://canary:x@good.example", "s3://canary@bucket/a?canary", "HTTP://x:canary@[::1/", "http:\\\\x:canary@host\\a",
        "//x:canary@host/", "/data/upload/../?x=canary", "data:image/png;base64,canary!", "http://x@y:canary@host/",
        "gopher://x:canary@host/?canary", "http://good.example/\x00?canary", "file:///a?canary",
    ],
)  # fmt: skip
def test_messages_show_no_secret_of_an_address(reference: str) -> None:
    for rules in (Rules(), Rules("http://label-studio:8080", LEGACY)):
        with pytest.raises(LocaraError) as caught:
            Fetcher(rules, resolver=_resolver).read(reference)
        assert "canary" not in str(caught.value) + repr(caught.value)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("data:image/png;base64,aGVsbG8=", b"hello"), ("data:image/png;base64,aGVsbG8", b"hello"),
        ("DATA:IMAGE/PNG;BASE64,aGVsbG8=", b"hello"),
        ("data:image/png;base64,aGVs%0AbG8%3D", b"hello"), ("data:image/jpeg;name=a.jpg;base64,aGVs bG8=", b"hello"),
        ("data:image/bmp,hello%00", b"hello\x00"), ("data:image/png;base64,", b""),
        ("data:image/png;base64,aGVsbG8=#x", b"hello"),
        ("data:image/png;base64,aGVsbG8!", "fetch.bad_data_url"), ("data:image/png;base64,a", "fetch.bad_data_url"),
        ("data:image/png;base64", "fetch.bad_data_url"), ("data:", "fetch.bad_data_url"),
        ("data:image/png,é", "fetch.bad_data_url"),
        ("data:image/png;base64,a=Gs", "fetch.bad_data_url"), ("data:text/html;base64,aGVsbG8=", "fetch.scheme"),
        ("data:;base64,aGVsbG8=", "fetch.scheme"), ("data:image/png;base64," + "A" * 1000, "fetch.too_large"),
        ("data:image/png," + "A" * 101, "fetch.too_large"), ("data:image/png," + "%41" * 101, "fetch.too_large"),
        ("data:image/png," + "A" * 100, b"A" * 100), ("data:image/png," + "%41" * 100, b"A" * 100),
        ("data:image/png;" + "a=b;" * 500 + "base64,AAAA", "fetch.bad_data_url"),
    ],
)  # fmt: skip
def test_data_urls(reference: str, expected: bytes | str) -> None:
    fetcher = Fetcher(Rules(max_bytes=100))
    if isinstance(expected, bytes):
        assert fetcher.read(reference) == expected
    else:
        assert code_of(lambda: fetcher.read(reference)) == expected


def test_a_host_of_label_studio_is_its_origin_alone(spy: Spy) -> None:
    fetcher = Fetcher(Rules("http://label-studio:8080", LEGACY), resolver=_resolver)
    others: list[Callable[[], object]] = [
        lambda url=url: fetcher.read(url)  # type: ignore[misc]
        for url in (
            "http://label-studio/data/upload/1/a.jpg", "https://label-studio:8080/data/upload/1/a.jpg",
            "http://label-studio:8081/data/upload/1/a.jpg", "http://label-studio.evil.example:8080/data/upload/1/a.jpg",
            "http://x@label-studio:8080/data/upload/1/a.jpg",
        )
    ]  # fmt: skip
    assert {code_of(call) for call in others} == {"fetch.not_allowed", "fetch.bad_url"}
    with pytest.raises(NotAllowed):
        others[0]()
    assert spy.seen == []


def test_a_route_that_nobody_granted_is_never_answered(spy: Spy) -> None:
    with Web() as web:
        spy.through = {web.port}
        web.routes["/a.jpg"] = Answer(body=b"secret")
        for host in ("127.0.0.1", "localhost", "good.example"):
            assert code_of(lambda host=host: Fetcher(Rules()).read(web.named(host) + "/a.jpg")) == "fetch.not_allowed"  # type: ignore[misc]
        assert web.log == []
        assert spy.seen == []
