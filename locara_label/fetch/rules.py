"""What may be read, as the operator says: hosts, private networks, folders, limits."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path

from locara_label.errors import BadOption, FetchFailed
from locara_label.fetch.addresses import Address, Network, is_public, may_be_named
from locara_label.fetch.urls import DEFAULT_PORTS, Url, parse, parse_host

_PATTERN = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}|\*))?")
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")


@dataclass(frozen=True)
class Rules:
    """Grants and limits; making one opens nothing.

    A host is written `host`, `host:port`, `host:*` (any port), `*.suffix` (names below it, not itself) or `*`, which is
    every public host. Without a port the scheme's own is meant: a grant for a host's pictures is none for its other services.

    Attributes:
        label_studio_url: where Label Studio is; granted with the token, and it may be private, since the operator named it.
        token: legacy or personal access token of Label Studio, sent to that origin only.
        allowed_hosts: hosts that references may name.
        allow_private: hosts, addresses and networks (10.1.0.0/16) that may be private. They still have to be granted.
        roots: absolute folders that paths may lie in.
        local_files_root: Label Studio's document root as this machine sees it; its files that lie in `roots` are read from
            disk. None reads them through Label Studio.
        ca_file: certificates (PEM) that are trusted beside the system's.
        max_bytes: size of what a reference gives.
        connect_s: seconds for a connection to open, and again for its TLS handshake.
        idle_s: seconds without a byte.
        total_s: seconds for all of it, redirects and token included.
        max_redirects: how many are followed.

    Raises:
        BadOption: an attribute is not what it should be; code option.setting. The token is never shown.
    """

    label_studio_url: str | None = None
    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    allow_private: tuple[str, ...] = ()
    roots: tuple[Path, ...] = ()
    local_files_root: Path | None = None
    ca_file: Path | None = None
    max_bytes: int = 64 << 20
    connect_s: float = 5.0
    idle_s: float = 15.0
    total_s: float = 60.0
    max_redirects: int = 3

    def __post_init__(self) -> None:
        _ = self.label_studio, self._granted, self._private
        for root in (*self.roots, *([self.local_files_root] if self.local_files_root else [])):
            if not root.is_absolute() or root == root.parent or ".." in root.parts:
                raise _wrong(f"{str(root)!r} is not an absolute folder below the root of a disk")
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise _wrong("the token of Label Studio has characters that no token has")
        if min(self.connect_s, self.idle_s, self.total_s, self.max_bytes) <= 0 or self.max_redirects < 0:
            raise _wrong("limits of reading are above 0")

    @cached_property
    def label_studio(self) -> Url | None:
        """The configured origin; its path, without a slash at the end, is where Label Studio lives there."""
        if self.label_studio_url is None:
            return None
        try:
            url = parse(self.label_studio_url)
        except FetchFailed as error:
            raise _wrong(f"the address of Label Studio: {error}") from None
        if url.query is not None or "#" in self.label_studio_url:
            raise _wrong(f"the address of Label Studio, {url}, has a query or fragment")
        return Url(url.scheme, url.host, url.port, url.path.rstrip("/"))

    @cached_property
    def _granted(self) -> tuple[_Pattern, ...]:
        return tuple(_pattern(text) for text in self.allowed_hosts)

    @cached_property
    def _private(self) -> tuple[_Pattern | Network, ...]:
        if any(text.partition(":")[0] == "*" for text in self.allow_private):
            raise _wrong("'*' names no private host; name hosts or networks")
        return tuple(_network(text) or _pattern(text) for text in self.allow_private)

    def is_label_studio(self, url: Url) -> bool:
        return self.label_studio is not None and url.origin == self.label_studio.origin

    def grants(self, url: Url) -> bool:
        """The host may be named, by a task or by a redirect. What its addresses may be, `grants_address` says."""
        return self.is_label_studio(url) or any(pattern.matches(url) for pattern in self._granted)

    def grants_address(self, url: Url, address: Address) -> bool:
        if is_public(address):
            return True
        networks = (entry for entry in self._private if not isinstance(entry, _Pattern))
        if any(address in network for network in networks):
            return True
        patterns = (entry for entry in self._private if isinstance(entry, _Pattern))
        named = self.is_label_studio(url) or any(pattern.matches(url) for pattern in patterns)
        return named and may_be_named(address)


@dataclass(frozen=True, slots=True)
class _Pattern:
    host: str
    port: str | None

    def matches(self, url: Url) -> bool:
        below = self.host.startswith("*.") and url.host.endswith(self.host[1:])
        port = str(DEFAULT_PORTS[url.scheme]) if self.port is None else self.port
        return (self.host in {"*", url.host} or below) and port in {"*", str(url.port)}


def _pattern(text: str) -> _Pattern:
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise _wrong(f"{text!r} is not a host, host:port or *.suffix")
    wild = "*." if match["host"].startswith("*.") else ""
    host = "*" if match["host"] == "*" else parse_host(match["host"].removeprefix("*."))
    if host is None:
        raise _wrong(f"{text!r} is not a host, host:port or *.suffix")
    return _Pattern(wild + host, match["port"])


def _network(text: str) -> Network | None:
    try:
        return ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None


def _wrong(message: str) -> BadOption:
    return BadOption(message, code="option.setting")
