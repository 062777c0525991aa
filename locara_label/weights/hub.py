"""The hub's endpoints, `{endpoint}/{repo}/resolve/{revision}/{path}`. This is the only home of the HTTP library for weights."""

from __future__ import annotations

import ipaddress
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from locara_label.errors import DownloadFailed
from locara_label.weights.digest import Digest

if TYPE_CHECKING:
    import ssl

    import httpx2

Answer = TypeVar("Answer")

MAX_REDIRECTS = 3
CHUNK_BYTES = 1 << 16
LONGEST_PAUSE_S = 30.0

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_FOUND = frozenset({"EntryNotFound", "RevisionNotFound", "RepoNotFound"})
_ANSWERS = ("x-repo-commit", "x-linked-etag", "x-linked-size")


class Unanswered(DownloadFailed):
    """A source did not give a usable answer; another attempt may get one, after `wait_s` if the source asked for that."""

    code = "download.unreachable"

    def __init__(self, message: str, *, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Location:
    """A file on the hub."""

    repo: str
    revision: str
    path: str


@dataclass(frozen=True, slots=True)
class Remote:
    """What a source says about a file: its digest and the commit that the revision stands for."""

    digest: Digest
    commit: str | None


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of a file from `start` on; `size` is that of the whole file, None where the source does not tell."""

    start: int
    size: int | None
    chunks: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Hub:
    """Where weights come from. Making one opens nothing.

    Attributes:
        endpoint: the hub.
        mirrors: tried in order where the endpoint does not answer, lacks a file or sends a wrong one.
        token: sent to the endpoint's own origin and nowhere else.
        offline: refuse to connect, before any socket is made.
        trust_env: obey proxy variables of the environment.
        attempts: how often one source is asked before the next one.
        pause_s: wait before the second attempt; doubles each time.
    """

    endpoint: str
    mirrors: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)
    offline: bool = False
    trust_env: bool = False
    attempts: int = 4
    pause_s: float = 0.5
    connect_s: float = 5.0
    read_s: float = 15.0

    @contextmanager
    def connect(self) -> Iterator[Link]:
        """A connection for one download.

        Raises:
            DownloadFailed: the offline switch is on (code download.offline).
        """
        if self.offline:
            raise DownloadFailed(
                "the offline switch is on (LOCARA_OFFLINE or HF_HUB_OFFLINE), so nothing is downloaded; "
                "copy the model's files into the cache or switch it off",
                code="download.offline",
            )
        import httpx2

        timeout = httpx2.Timeout(self.read_s, connect=self.connect_s)
        with httpx2.Client(
            timeout=timeout, trust_env=self.trust_env, verify=_trust(self.trust_env), follow_redirects=False
        ) as client:
            yield Link(self, client)


class Link:
    """An open connection to the hub and its mirrors; remembers which of them did not answer."""

    def __init__(self, hub: Hub, client: httpx2.Client) -> None:
        self.hub = hub
        self._client = client
        self._silent: set[str] = set()

    @property
    def sources(self) -> tuple[str, ...]:
        """Those that answer so far, in order; all of them when none does."""
        every = (self.hub.endpoint, *self.hub.mirrors)
        return tuple(source for source in every if source not in self._silent) or every

    def head(self, location: Location, known: Digest) -> Remote:
        """What the first source that has the file says about it.

        Raises:
            DownloadFailed: no source has the file, or only files that differ from what is `known` about it.
        """
        return self.first(lambda source: self._head(source, location, known))

    def first(self, ask: Callable[[str], Answer]) -> Answer:
        """The first answer that a source gives; each may fail."""
        failures = []
        for source in self.sources:
            try:
                return ask(source)
            except DownloadFailed as error:
                if error.code == "download.disk_full":
                    raise
                failures.append(error)
        raise _worst(failures)

    def retry(self, source: str, attempt: Callable[[], Answer], *, gained: Callable[[], bool] = lambda: False) -> Answer:
        """Repeats an attempt with growing pauses; `gained` says that the last one made progress and the count starts anew."""
        tries = 0
        while True:
            try:
                return attempt()
            except Unanswered as error:
                tries = 1 if gained() else tries + 1
                if tries >= self.hub.attempts:
                    self._silent.add(source)
                    raise
                time.sleep(self._pause(tries, error.wait_s))

    def _pause(self, tries: int, asked_s: float | None) -> float:
        grown = self.hub.pause_s * 2.0 ** (tries - 1) * random.uniform(0.75, 1.25)  # noqa: S311 - spreads clients, no secret
        return min(max(grown, asked_s or 0.0), LONGEST_PAUSE_S)

    def _head(self, source: str, location: Location, known: Digest) -> Remote:
        remote = self.retry(source, lambda: self._head_once(source, location))
        if conflict := known.conflict(remote.digest):
            raise DownloadFailed(
                f"{source} offers another {location.path} of {location.repo} than the one recorded: {conflict}",
                code="download.wrong_hash",
            )
        return remote

    def _head_once(self, source: str, location: Location) -> Remote:
        with self._respond("HEAD", source, location) as (response, answers):
            # a redirect that leaves the source is the last thing that the source itself says
            if response.status_code not in _REDIRECTS:
                _check_status(response, source, location)
            return _remote(response, answers)

    @contextmanager
    def read(self, source: str, location: Location, start: int) -> Iterator[Body]:
        """The file from byte `start` on, or from 0 where the source cannot do that; see `Body.start`."""
        with self._respond("GET", source, location, start) as (response, _):
            if response.status_code == 416 and start:
                raise DownloadFailed(f"{source} has no {start} bytes of {location.path}", code="download.wrong_hash")
            _check_status(response, source, location)
            whole = response.status_code != 206
            size = _number(response.headers.get("content-length")) if whole else _range_end(response, start)
            yield Body(0 if whole else start, size, response.iter_raw(CHUNK_BYTES))

    @contextmanager
    def _respond(
        self, method: str, source: str, location: Location, start: int = 0
    ) -> Iterator[tuple[httpx2.Response, dict[str, str]]]:
        import httpx2

        url, home, answers = _address(source, location), httpx2.URL(source), dict[str, str]()
        at_home = True
        with _mapped(source):
            for _ in range(MAX_REDIRECTS + 1):
                at_home = at_home and _origin(url) == _origin(home)
                headers = self._headers(start, with_token=at_home and source == self.hub.endpoint and _is_private(home))
                request = self._client.build_request(method, url, headers=headers)
                response = self._client.send(request, stream=True)
                try:
                    _collect(response, answers)
                    following = _following(response, home)
                    if following is None or (method == "HEAD" and _origin(following) != _origin(home)):
                        yield response, answers
                        return
                finally:
                    response.close()
                url = following
            raise DownloadFailed(f"{source} redirected more than {MAX_REDIRECTS} times for {location.path}")

    def _headers(self, start: int, *, with_token: bool) -> dict[str, str]:
        headers = {"accept-encoding": "identity", "user-agent": "locara-label"}
        if start:
            headers["range"] = f"bytes={start}-"
        if self.hub.token and with_token:
            headers["authorization"] = f"Bearer {self.hub.token}"
        return headers


@cache
def _trust(from_environment: bool) -> ssl.SSLContext:
    """Root certificates; reading them takes longer than a request."""
    import httpx2

    return httpx2.create_ssl_context(trust_env=from_environment)


def _address(source: str, location: Location) -> httpx2.URL:
    import httpx2

    return httpx2.URL(f"{source}/{location.repo}/resolve/{quote(location.revision, safe='')}/{quote(location.path)}")


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _is_private(url: httpx2.URL) -> bool:
    """Nobody on the way can read what is sent there."""
    if url.scheme == "https" or url.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return False


def _following(response: httpx2.Response, home: httpx2.URL) -> httpx2.URL | None:
    """Where a redirect leads, None for any other response."""
    if response.status_code not in _REDIRECTS:
        return None
    url = response.url.join(response.headers.get("location", ""))
    if url.scheme not in {"http", "https"} or (url.scheme == "http" and home.scheme == "https") or url.userinfo:
        raise DownloadFailed(f"{home.host} redirected to an address that is not allowed, at {url.scheme}://{url.host}")
    return url


def _collect(response: httpx2.Response, answers: dict[str, str]) -> None:
    for name in _ANSWERS:
        if name in response.headers:
            answers.setdefault(name, response.headers[name])


def _remote(response: httpx2.Response, answers: dict[str, str]) -> Remote:
    plain = response.status_code == 200
    # an ETag of a server that does not speak the hub's headers can be anything
    etag = answers.get("x-linked-etag") or (response.headers.get("etag") if plain and "x-repo-commit" in answers else None)
    length = answers.get("x-linked-size") or (response.headers.get("content-length") if plain else None)
    value = (etag or "").removeprefix("W/").strip('"').lower()
    sha256 = value if re.fullmatch("[0-9a-f]{64}", value) else None
    git_sha1 = value if re.fullmatch("[0-9a-f]{40}", value) else None
    commit = answers.get("x-repo-commit", "")
    return Remote(Digest(_number(length), sha256, git_sha1), commit if re.fullmatch("[0-9a-f]{40}", commit) else None)


def _check_status(response: httpx2.Response, source: str, location: Location) -> None:
    status, about = response.status_code, f"{source}/{location.repo}"
    own = _origin(response.url) == _origin(_address(source, location))
    if status in {200, 206}:
        return
    if status == 404 or response.headers.get("x-error-code") in _NOT_FOUND:
        raise DownloadFailed(
            f"{about} has no {location.path} at {location.revision}, or cannot be seen without a token", code="download.not_found"
        )
    # a refusal by a storage host means that its signed address expired: asking the hub again gives a new one
    if status in {401, 403} and own:
        raise DownloadFailed(
            f"{about} is gated: accept its licence on that page, then set LOCARA_TOKEN to an access token of your account",
            code="download.gated",
        )
    raise Unanswered(f"{response.url.host} answered {status} for {location.path}", wait_s=_wait(response))


def _wait(response: httpx2.Response) -> float | None:
    seconds = _number(response.headers.get("retry-after"))
    return None if seconds is None else float(seconds)


def _range_end(response: httpx2.Response, start: int) -> int | None:
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("content-range", ""))
    if match is None or int(match[1]) != start:
        raise Unanswered(f"{response.url.host} sent another range than the one asked for")
    return _number(match[2])


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d{1,15}", text) else None


@contextmanager
def _mapped(source: str) -> Iterator[None]:
    import httpx2

    try:
        yield
    except httpx2.TransportError as error:
        raise Unanswered(f"{source} cannot be reached ({type(error).__name__}: {error})") from error
    except (httpx2.InvalidURL, httpx2.HTTPError) as error:
        raise DownloadFailed(f"{source} gave an answer that cannot be used ({type(error).__name__})") from error


def _worst(failures: list[DownloadFailed]) -> DownloadFailed:
    """One error for all sources: the most telling one, with what the others said."""
    order = ("download.gated", "download.wrong_hash", "download.not_found", "download.failed", "download.unreachable")
    ranked = sorted(failures, key=lambda error: order.index(error.code) if error.code in order else 0)
    others = "".join(f"; {error.message}" for error in ranked[1:])
    return DownloadFailed(ranked[0].message + others, code=ranked[0].code)
