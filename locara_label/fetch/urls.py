"""http and https addresses, read strictly: what two parsers could understand differently is refused."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urljoin

from locara_label.errors import FetchFailed

MAX_CHARACTERS = 16_384
DEFAULT_PORTS = {"http": 80, "https": 443}

_SHOWN_CHARACTERS = 200
_HOST_CHARACTERS = 253
_URL = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:@]+)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"<>`{}|^')


@dataclass(frozen=True, slots=True)
class Url:
    """An address that has been checked.

    Attributes:
        scheme: http or https.
        host: lower case, ASCII, without the dot at the end; an IPv6 address without brackets.
        port: the scheme's own if the address names none.
        path: percent-encoded, starts with a slash, no dot segments.
        query: percent-encoded, None if absent. It may hold a signature: never shown.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str | None = None

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @property
    def whole(self) -> str:
        """For requests and cache keys only: the query may be a secret."""
        return f"{self.scheme}://{self.authority}{self.target}"

    def __str__(self) -> str:
        return shown(f"{self.scheme}://{self.authority}{self.path}")

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"


def parse(text: str) -> Url:
    """The address that `text` writes; its fragment is dropped.

    Raises:
        FetchFailed: it is none, or one that different programs read differently; code fetch.bad_url.
    """
    match = _URL.fullmatch(text) if is_clean(text) else None
    authority = _AUTHORITY.fullmatch(match["authority"]) if match else None
    if match is None or authority is None:
        raise bad_url(text)
    scheme, path = match["scheme"].lower(), match["path"] or "/"
    port = int(authority["port"] or DEFAULT_PORTS[scheme])
    host = parse_host(authority["host"])
    if host is None or not 0 < port < 65536 or has_dot_segments(path):
        raise bad_url(text)
    query = match["query"]
    return Url(scheme, host, port, _encoded(path), None if query is None else _encoded(query))


def join(base: Url, location: str) -> Url:
    """Where a redirect at `base` leads; see `parse`."""
    if not is_clean(location):
        raise bad_url(location)
    return parse(urljoin(base.whole, location))


def parse_host(text: str) -> str | None:
    """A host as `Url.host` has it; None if it is neither a name nor an address in its usual form."""
    if len(text) > _HOST_CHARACTERS:
        return None
    try:
        if text.startswith("["):
            return str(ipaddress.IPv6Address(text.strip("[]")))
        host = text.encode("idna").decode("ascii").lower().removesuffix(".")
    except (ValueError, UnicodeError):
        return None
    labels = host.split(".")
    if len(host) > _HOST_CHARACTERS or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    # resolvers read 2130706433, 0x7f.1 and 0177.0.0.1 as addresses too
    return _usual_ipv4(host) if _NUMERIC_LABEL.fullmatch(labels[-1]) else host


def _usual_ipv4(host: str) -> str | None:
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        return None


def is_clean(text: str) -> bool:
    """No control characters, no backslashes (browsers read them as slashes), nothing around it, not too long."""
    return len(text) <= MAX_CHARACTERS and text == text.strip() and not has_controls(text) and "\\" not in text


def has_controls(text: str) -> bool:
    """Control characters, line breaks of any kind, or halves of characters."""
    return _CONTROLS.search(text) is not None


def has_dot_segments(path: str) -> bool:
    """Also where they are encoded, twice even: a proxy on the way may decode once more than the server."""
    twice = unquote(unquote(path))
    return any(segment in {".", ".."} for text in (path, unquote(path), twice) for segment in re.split(r"[/\\;]", text))


def _encoded(text: str) -> str:
    try:
        return quote(text, safe=_PRINTABLE)
    except UnicodeError:
        raise bad_url(text) from None


def bad_url(text: str) -> FetchFailed:
    return FetchFailed(f"{shown(text)} is not an address that can be read", code="fetch.bad_url")


def shown(reference: str) -> str:
    """A reference for people: no query, no user information (both may be secrets), no control characters, short."""
    if reference[:5].lower() == "data:":
        return f"a data URL of {len(reference)} characters"
    text = reference[: 8 * _SHOWN_CHARACTERS]
    if re.match(r"(?i)/data/|[a-z][a-z0-9+.-]*:|//", text.lstrip()):
        text = re.split(r"[?#]", text, maxsplit=1)[0]
        text = re.sub(r"^([^/\\]*[/\\]*)[^/\\]*@", r"\1", text)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
