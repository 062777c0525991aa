"""What stands before every route: names of this server, credentials, size and kind of a body.

A local server is attacked through browsers: a page of any origin can make them send requests to 127.0.0.1, and a name that
changes its address makes them read the answers. So the Host has to be ours, a POST has to be JSON, or the file of a video
where one is taken (a page of another origin may send neither unasked), and no header allows another origin to read anything but
those public weights.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from locara_label.engine import browser_sam2
from locara_label.errors import BadRequest, LocaraError, NotAllowed
from locara_label.server.answers import failure

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
OPEN_PATHS = ("/health", "/webhook", *browser_sam2.PATHS)
"""Routes without credentials: Label Studio sends its webhooks without any, /health says nothing, and a page of FiftyOne's App
cannot send any when it fetches SAM 2.1, whose weights are no secret.

Wrong ones are refused even there: by the answer of /health Label Studio tells its owner that the password is wrong.
"""
_FILE = re.compile(r"application/octet-stream|video/[a-z0-9][a-z0-9.+-]*")


class TooLarge(BadRequest):
    code = "request.too_large"


class Unauthorised(NotAllowed):
    code = "request.unauthorised"


class Guards:
    """Refuses what should not reach a route; bounds what a route may read."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        names: tuple[str, ...],
        credentials: str | None,
        prefix: str,
        max_bytes: Callable[[str], int],
        max_file_bytes: Mapping[str, int],
    ) -> None:
        """Args:
        app: what is guarded.
        names: host names that a request may carry, without port; "*" for any.
        credentials: "user:password", or None where none are needed.
        prefix: of every path.
        max_bytes: size of a body by path, prefix included.
        max_file_bytes: size of a file by path, likewise, where a body may be one.
        """
        self.app, self.names, self.credentials = app, names, credentials
        self.max_bytes, self.max_file_bytes = max_bytes, max_file_bytes
        self.open_paths = {prefix + path for path in OPEN_PATHS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        file = scope["method"] == "POST" and scope["path"] in self.max_file_bytes and is_file(Headers(scope=scope))
        most = self.max_file_bytes[scope["path"]] if file else self.max_bytes(scope["path"])
        try:
            self._check(scope, most, file=file)
        except LocaraError as error:
            await failure(error)(scope, receive, send)
            return
        await self.app(scope, _bounded(receive, most), send)

    def _check(self, scope: Scope, most: int, *, file: bool) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if "*" not in self.names and _name(host) not in self.names:
            raise NotAllowed(f"this server is not called {host!r}; name it with --name", code="request.host")
        needed = scope["path"] not in self.open_paths or "authorization" in headers
        if self.credentials is not None and needed and not _proves(headers, self.credentials):
            raise Unauthorised("user and password are missing or wrong")
        if scope["method"] == "POST":
            _check_body(headers, most, file=file)


def _name(host: str) -> str:
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).lower()


def _proves(headers: Headers, credentials: str) -> bool:
    kind, _, encoded = headers.get("authorization", "").partition(" ")
    try:
        given = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    return kind.lower() == "basic" and hmac.compare_digest(given, credentials.encode())


def user_of(headers: Headers) -> str | None:
    """The user that a request names by its credentials, which were checked before; None where it names none."""
    kind, _, encoded = headers.get("authorization", "").partition(" ")
    try:
        name = base64.b64decode(encoded, validate=True).decode("utf-8", "replace").partition(":")[0]
    except (binascii.Error, ValueError):
        return None
    return name if kind.lower() == "basic" else None


def is_file(headers: Headers) -> bool:
    """Whether a body is said to be a file, a video's or any; then it is no JSON."""
    return _FILE.fullmatch(_kind(headers)) is not None


def _kind(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _check_body(headers: Headers, most: int, *, file: bool) -> None:
    if not file and _kind(headers) != "application/json":
        raise BadRequest(f"a body is application/json, got {_kind(headers) or 'nothing'!r}", code="request.content_type")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise BadRequest("a body is sent as it is, without encoding", code="request.content_encoding")
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > most:
        raise TooLarge(f"a body has at most {most} bytes, this one {length}")


def _bounded(receive: Receive, most: int) -> Callable[[], Awaitable[Message]]:
    """Counts what really comes: a length may lie, or be missing."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise TooLarge(f"a body has at most {most} bytes")
        return message

    return counted
