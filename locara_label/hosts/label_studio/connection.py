"""HTTP to one Label Studio: its two kinds of token, repeated attempts, bounded answers, errors of our tree."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar
from urllib.parse import urlencode, urlsplit

from locara_label.errors import BadOption, FetchFailed
from locara_label.fetch.budget import Budget
from locara_label.fetch.credentials import PersonalToken, credential

if TYPE_CHECKING:
    import httpx2

Answer = TypeVar("Answer")
TokenKind = Literal["legacy", "personal"]

MAX_ANSWER = 256 << 20
LONGEST_PAUSE_S = 30.0

_REFRESH = "/api/token/refresh/"
_TOKEN = re.compile(r"[\w.~+/=-]{8,4096}", re.ASCII)
_PASSING = frozenset({429, 500, 502, 503, 504})
_CODES = {400: "label_studio.refused", 401: "fetch.unauthorised", 403: "label_studio.forbidden", 404: "fetch.not_found"}


class Unanswered(FetchFailed):
    """Label Studio gave no usable answer; another attempt may get one, after `wait_s` if it asked for that."""

    code = "fetch.unreachable"

    def __init__(self, message: str, *, code: str | None = None, wait_s: float | None = None) -> None:
        super().__init__(message, code=code)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often Label Studio is asked.

    Attributes:
        attempts: of one request.
        pause_s: before the second attempt; doubles each time.
        read_s: that an answer may stay away.
    """

    attempts: int = 4
    pause_s: float = 0.5
    connect_s: float = 5.0
    read_s: float = 120.0


class Connection:
    """Requests to one Label Studio. Threads may share it. The token goes to its own origin only and is in no message.

    Attributes:
        url: the address, without a slash at the end.
        kind: of the token; what is no personal token is taken for a legacy one.
    """

    def __init__(self, url: str, api_key: str, patience: Patience | None = None, *, trust_env: bool = False) -> None:
        """Opens nothing yet.

        Raises:
            BadOption: the address or the token cannot be one; codes option.url and option.api_key.
        """
        import httpx2

        self.url = checked_url(url)
        self._credential = credential(checked_key(api_key))
        self.kind: TokenKind = "personal" if isinstance(self._credential, PersonalToken) else "legacy"
        self._patience = patience or Patience()
        timeout = httpx2.Timeout(self._patience.read_s, connect=self._patience.connect_s)
        self._client = httpx2.Client(timeout=timeout, trust_env=trust_env, follow_redirects=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, query: Mapping[str, object] | None = None, *, signed: bool = True) -> Any:
        """The JSON that a GET answers, asked again where that can help; see `ask`."""
        target = f"{path}?{urlencode(query)}" if query else path
        return self.retry(lambda: self.ask("GET", target, signed=signed))

    def ask(self, method: str, path: str, body: Any = None, *, signed: bool = True) -> Any:
        """One attempt; gives the answer's JSON, None where it is empty.

        Raises:
            Unanswered: nobody answers, or Label Studio says that it cannot answer now.
            FetchFailed: it refuses; codes fetch.unauthorised (401), label_studio.forbidden (403), fetch.not_found (404),
                label_studio.refused (400) or fetch.status. Or its answer is too large or not JSON: label_studio.answer.
        """
        headers = {"content-type": "application/json"}
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        return self._parse(path, self._signed(method, path, content, headers, MAX_ANSWER, signed=signed))

    def post(self, path: str, content: bytes, content_type: str) -> Any:
        """The JSON that a POST of something other than JSON answers; one attempt, see `ask`."""
        return self._parse(path, self._signed("POST", path, content, {"content-type": content_type}, MAX_ANSWER, signed=True))

    def retry(self, attempt: Callable[[], Answer]) -> Answer:
        """Repeats an attempt that gets no answer, with growing pauses."""
        for number in range(1, self._patience.attempts):
            try:
                return attempt()
            except Unanswered as error:
                self.pause(number, error)
        return attempt()

    def pause(self, number: int, error: Unanswered) -> None:
        """Waits after the attempt of this number, as long as Label Studio asked for if that is more."""
        grown = self._patience.pause_s * 2.0 ** (number - 1) * random.uniform(0.75, 1.25)  # noqa: S311 - spreads clients, no secret
        time.sleep(min(max(grown, error.wait_s or 0.0), LONGEST_PAUSE_S))

    @property
    def attempts(self) -> int:
        return self._patience.attempts

    def _signed(
        self, method: str, path: str, content: bytes | None, headers: dict[str, str], most: int, *, signed: bool
    ) -> bytes:
        if not signed:
            return self._send(method, path, content, headers, most)
        authorization = self._authorization()
        try:
            return self._send(method, path, content, headers | {"authorization": authorization}, most)
        except FetchFailed as error:
            # an access token may be revoked before its time
            if error.code != "fetch.unauthorised" or self.kind == "legacy":
                raise
        return self._send(method, path, content, headers | {"authorization": self._authorization(authorization)}, most)

    def _authorization(self, rejected: str | None = None) -> str:
        return self._credential.header(self._exchange, Budget.of(self.url, self._patience.read_s), rejected)

    def _exchange(self, token: str) -> str:
        content = json.dumps({"refresh": token}).encode()
        answer = self._send("POST", _REFRESH, content, {"content-type": "application/json"}, 1 << 16)
        found = self._parse(_REFRESH, answer)
        access = found.get("access") if isinstance(found, dict) else None
        if not isinstance(access, str) or not _TOKEN.fullmatch(access):
            raise FetchFailed(f"{self.url} gives no access token for the personal token", code="label_studio.answer")
        return access

    def _send(self, method: str, path: str, content: bytes | None, headers: dict[str, str], most: int) -> bytes:
        address = f"{self.url}{path}"
        sent = {"user-agent": "locara-label", "accept-encoding": "identity", **headers}
        with self._mapped(path), self._client.stream(method, address, content=content, headers=sent) as response:
            received = b"".join(_bounded(response, path, most))
        self._check(response, path, received)
        return received

    @contextmanager
    def _mapped(self, path: str) -> Iterator[None]:
        import httpx2

        try:
            yield
        except httpx2.TimeoutException as error:
            raise Unanswered(f"{self.url}{path[:200]} did not answer in time", code="fetch.timeout") from error
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise Unanswered(f"{self.url} cannot be reached: {str(error)[:200]}") from error

    def _check(self, response: httpx2.Response, path: str, received: bytes) -> None:
        status = response.status_code
        if 200 <= status < 300:
            return
        said = f"{self.url}{path[:200]} answers {status}: {_detail(response, received)}"
        if status in _PASSING:
            raise Unanswered(said, code="fetch.status", wait_s=_seconds(response.headers.get("retry-after")))
        raise FetchFailed(said, code=_CODES.get(status, "fetch.status"))

    def _parse(self, path: str, content: bytes) -> Any:
        if not content.strip():
            return None
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            said = f"{self.url}{path[:200]} does not answer with JSON; is it a Label Studio? {str(error)[:100]}"
            raise FetchFailed(said, code="label_studio.answer") from error


def checked_url(url: str) -> str:
    """The address of a Label Studio, without a slash at the end.

    Raises:
        BadOption: it is none; code option.url.
    """
    with suppress(ValueError):
        parts = urlsplit(url.strip())
        proper = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or True)
        if proper and not (parts.username or parts.password or parts.query or parts.fragment):
            return url.strip().rstrip("/")
    shown = url if "@" not in url else "one with a password"
    raise BadOption(f"the address of a Label Studio is like http://localhost:8080, got {shown!r}", code="option.url")


def checked_key(api_key: str) -> str:
    """An access token of Label Studio.

    Raises:
        BadOption: it cannot be one; code option.api_key. The message does not show it.
    """
    key = api_key.strip()
    if not _TOKEN.fullmatch(key):
        said = "it is empty" if not key else f"its {len(key)} characters are not those of a token"
        raise BadOption(f"the API key is an access token of Label Studio's account page; {said}", code="option.api_key")
    return key


def _bounded(response: httpx2.Response, path: str, most: int) -> Iterator[bytes]:
    length = 0
    for chunk in response.iter_raw(1 << 16):
        length += len(chunk)
        if length > most:
            raise FetchFailed(f"{path[:200]} is larger than {most} bytes", code="fetch.too_large")
        yield chunk


def _detail(response: httpx2.Response, received: bytes) -> str:
    """What Label Studio says about a refusal, in a line."""
    if "location" in response.headers:
        return f"redirected to {response.headers['location'][:200]!r}; give that address instead"
    with suppress(ValueError, RecursionError):
        found = json.loads(received)
        if isinstance(found, dict):
            parts = [str(found[key]) for key in ("detail", "validation_errors") if found.get(key)]
            return " ".join(parts)[:500] or "no reason"
    return " ".join(received[:300].decode("utf-8", "replace").split()) or "no reason"


def _seconds(text: str | None) -> float | None:
    """Retry-After, where it is a number of seconds."""
    return float(text) if text and re.fullmatch(r"\d{1,5}", text) else None
