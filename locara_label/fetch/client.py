"""GET, guarded: only granted hosts, only addresses that they may have, checked again at each redirect; the token stays home."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from locara_label.errors import BadOption, FetchFailed, NotAllowed
from locara_label.fetch.addresses import Address, Resolver, resolve
from locara_label.fetch.budget import Budget
from locara_label.fetch.credentials import Credential, credential
from locara_label.fetch.label_studio import TOKEN_PATH, is_served
from locara_label.fetch.rules import Rules
from locara_label.fetch.urls import Url, join, parse

if TYPE_CHECKING:
    import httpcore2

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = {"accept": "*/*", "accept-encoding": "identity", "connection": "close", "user-agent": "locara-label"}
_MAX_ACCESS_BYTES = 1 << 16
_ACCESS = re.compile(r"[\x21-\x7e]{1,16384}")


class _Rejected(FetchFailed):
    code = "fetch.unauthorised"


class Client:
    """Reads addresses; safe to share between threads. Each request has a connection of its own."""

    def __init__(self, rules: Rules, resolver: Resolver) -> None:
        self._rules, self._resolver = rules, resolver
        self._credential: Credential | None = credential(rules.token) if rules.token else None

    def check(self, url: Url) -> None:
        """Raises NotAllowed (fetch.not_allowed) unless the host is granted; asks nobody."""
        if not self._rules.grants(url):
            raise NotAllowed(f"{url} is on a host that is not granted")

    def get(self, url: Url, max_bytes: int, budget: Budget) -> bytes:
        """What the address gives, redirects followed; see `save` for what it raises."""
        file = BytesIO()
        self.save(url, max_bytes, budget, file)
        return file.getvalue()

    def save(self, url: Url, max_bytes: int, budget: Budget, file: BinaryIO) -> None:
        """Writes what the address gives to a file, piece by piece, redirects followed.

        Raises:
            NotAllowed: the host is not granted (fetch.not_allowed) or has an address that is not (fetch.private_address),
                here or where a redirect leads; or a redirect leads from https to http.
            FetchFailed: with code fetch.not_found, fetch.unauthorised, fetch.too_large, fetch.timeout, fetch.unreachable,
                fetch.redirects, fetch.bad_url, fetch.bad_status, or fetch.bad_answer (not HTTP, cut off, or compressed).
            Cancelled: see `Budget`.
        """
        self.check(url)
        sink = _Sink(file, max_bytes)
        answer = self._authorised(url, sink, budget)
        by_label_studio = self._is_task_data(url)
        for _ in range(self._rules.max_redirects):
            if answer is None:
                return
            # The operator's own Label Studio may name any public host, where its storage keeps the file; what it sends
            # there is a signed address and no token. It may not name private ones: a task's author chooses what it resolves.
            if not by_label_studio:
                self.check(answer)
            by_label_studio = False
            answer = self._once(answer, sink, budget)
        if answer is not None:
            raise FetchFailed(f"{url} redirects more than {self._rules.max_redirects} times", code="fetch.redirects")

    def _is_task_data(self, url: Url) -> bool:
        home = self._rules.label_studio
        return home is not None and self._rules.is_label_studio(url) and is_served(url.path, home)

    def _authorised(self, url: Url, sink: _Sink, budget: Budget) -> Url | None:
        if self._credential is None or not self._is_task_data(url):
            return self._once(url, sink, budget)
        header = self._credential.header(lambda token: self._access(token, budget), budget)
        try:
            return self._once(url, sink, budget, header)
        except _Rejected:
            renewed = self._credential.header(lambda token: self._access(token, budget), budget, rejected=header)
            if renewed == header:
                raise
        return self._once(url, sink, budget, renewed)

    def _once(self, url: Url, sink: _Sink, budget: Budget, authorization: str | None = None) -> Url | None:
        """Where the answer redirects to, or None once the body is written."""
        headers = {"authorization": authorization} if authorization else {}
        with self._exchange("GET", url, headers, budget) as response:
            if response.status in _REDIRECTS:
                return _following(response, url)
            _check_status(response.status, url)
            sink.write(response, url)
        return None

    def _access(self, token: str, budget: Budget) -> str:
        """The access token that Label Studio gives for a personal one."""
        home = self._rules.label_studio
        assert home is not None  # noqa: S101 - there is no credential to use otherwise
        url = parse(home.whole + TOKEN_PATH)
        content = json.dumps({"refresh": token}).encode()
        with self._exchange("POST", url, {"content-type": "application/json"}, budget, content) as response:
            _check_status(response.status, url)
            body = BytesIO()
            _Sink(body, _MAX_ACCESS_BYTES).write(response, url)
        access = _parsed(body.getvalue())
        if access is None:
            raise FetchFailed(f"{url} gave no access token", code="fetch.bad_answer")
        return access

    @contextmanager
    def _exchange(
        self, method: str, url: Url, headers: dict[str, str], budget: Budget, content: bytes | None = None
    ) -> Iterator[httpcore2.Response]:
        import httpcore2

        from locara_label.fetch.connection import connect

        addresses = self._addresses(url, budget)
        trust = self._trust if url.scheme == "https" else None
        address = httpcore2.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
        named = {"host": url.authority, **_HEADERS, **headers}
        with (
            _mapped(url),
            connect(url, addresses, trust, self._rules, budget) as link,
            link.stream(method, address, headers=list(named.items()), content=content) as response,
        ):
            yield response

    def _addresses(self, url: Url, budget: Budget) -> list[Address]:
        """All of the host's, each one granted: a connection may then go to any."""
        found = resolve(self._resolver, url.host, url.port, budget)
        if not all(self._rules.grants_address(url, address) for address in found):
            raise NotAllowed(f"{url} leads to an address that is not public", code="fetch.private_address")
        return found

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        """Root certificates; reading them takes longer than a request."""
        import httpcore2

        trust = httpcore2.default_ssl_context()
        if self._rules.ca_file is not None:
            try:
                trust.load_verify_locations(self._rules.ca_file)
            except OSError as error:
                raise BadOption(f"{self._rules.ca_file} holds no certificates: {error}", code="option.setting") from error
        return trust


def _following(response: httpcore2.Response, url: Url) -> Url:
    location = _header(response, b"location")
    if location is None:
        raise FetchFailed(f"{url} redirects to nowhere", code="fetch.redirects")
    following = join(url, location)
    if url.scheme == "https" and following.scheme == "http":
        raise NotAllowed(f"{url} redirects to {following}, from https to http")
    return following


def _check_status(status: int, url: Url) -> None:
    if status == 200:
        return
    if status in {404, 410}:
        raise FetchFailed(f"{url} does not exist, or cannot be seen with this token", code="fetch.not_found")
    if status == 401:
        raise _Rejected(f"{url} asks for a token, or refuses the one that is set")
    if status == 403:
        raise FetchFailed(f"{url} may not be read with this token", code="fetch.unauthorised")
    raise FetchFailed(f"{url} was answered with status {status}", code="fetch.bad_status")


@dataclass(frozen=True)
class _Sink:
    """Where a body goes, and how large it may be."""

    file: BinaryIO
    max_bytes: int

    def write(self, response: httpcore2.Response, url: Url) -> None:
        # it was asked not to compress; a body that unpacks to more than it weighs is not worth its risk
        if (_header(response, b"content-encoding") or "identity").lower() != "identity":
            raise FetchFailed(f"{url} is sent compressed, which was not asked for", code="fetch.bad_answer")
        length = 0
        for chunk in response.iter_stream():
            length += len(chunk)
            if length > self.max_bytes:
                raise FetchFailed(f"{url} has more than {self.max_bytes} bytes, the limit", code="fetch.too_large")
            self.file.write(chunk)


def _header(response: httpcore2.Response, name: bytes) -> str | None:
    values = [value for key, value in response.headers if key.lower() == name]
    return values[-1].decode("utf-8", "replace") if values else None


def _parsed(body: bytes) -> str | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    access = answer.get("access") if isinstance(answer, dict) else None
    return access if isinstance(access, str) and _ACCESS.fullmatch(access) else None


@contextmanager
def _mapped(url: Url) -> Iterator[None]:
    """Causes are dropped: they can quote headers, and with them a token."""
    import httpcore2

    try:
        yield
    except httpcore2.TimeoutException as error:
        raise FetchFailed(f"{url} is too slow: {error}", code="fetch.timeout") from None
    except httpcore2.NetworkError as error:
        raise FetchFailed(f"{url} cannot be reached: {error}", code="fetch.unreachable") from None
    except httpcore2.ProtocolError:
        raise FetchFailed(f"{url} was answered with something cut off or not HTTP", code="fetch.bad_answer") from None
