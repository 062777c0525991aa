"""Wrong requests byte by byte, on every route of the server: `python -m tests.hostile.wire --count 1000`.

Each is answered with a status below 500, or its connection is closed; the server goes on.
"""

from __future__ import annotations

import json
import logging
import random
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from starlette.routing import Route

from locara_label.server.app import create_app
from locara_label.server.service import Service
from tests.faults.load import REFUSED, parsed
from tests.hostile.bodies import attacked, samples
from tests.hostile.judging import Summary, command
from tests.hostile.test_urls import TRICKS

PATIENCE_S = 10.0
ENOUGH = 1 << 20
METHODS = (
    b"GET",
    b"POST",
    b"DELETE",
    b"PUT",
    b"HEAD",
    b"OPTIONS",
    b"PATCH",
    b"TRACE",
    b"CONNECT",
    b"get",
    b"",
    b"G\x00T",
    b"A" * 300,
)
VERSIONS = (b"HTTP/1.1",) * 12 + (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.1 ", b"http/1.1", b"", b"HTTP/1.", b"XYZ")
LENGTHS = (
    b"0",
    b"-1",
    b"+5",
    b"5",
    b"1e3",
    b"0x10",
    b"9" * 30,
    b"9" * 5000,
    b"",
    b" ",
    b"5, 5",
    b"5, 6",
    b"\xd9\xa3",
    b"99999999",
)
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"host", b"evil.example"), (b"host", b""), (b"host", b"127.0.0.1:99999"), (b"host", b"localhost\x00"), (b"host", b"[::1"),
    (b"origin", b"https://evil.example"), (b"origin", b"null"), (b"referer", b"x" * 20_000), (b"cookie", b"a=b; " * 3000),
    (b"authorization", b"Basic " + b"A" * 9000), (b"authorization", b"Basic \xff\xfe"), (b"authorization", b"Bearer x"),
    (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"gzip, chunked"), (b"transfer-encoding", b"identity"),
    (b"transfer-encoding", b"chunked, chunked"), (b"Transfer-Encoding ", b"chunked"), (b"content-encoding", b"gzip"),
    (b"expect", b"100-continue"), (b"expect", b"the unexpected"), (b"upgrade", b"websocket"), (b"upgrade", b"h2c"),
    (b"connection", b"upgrade"), (b"connection", b"keep-alive, close"), (b"sec-websocket-key", b"eA=="), (b"range", b"bytes=0-1"),
    (b"content-type", b"video/mp4"), (b"content-type", b"application/octet-stream"), (b"content-type", b"video/"),
    (b"content-type", b"text/plain"), (b"content-type", b"application/json; charset=\xff"), (b"content-type", b""),
    (b"x-forwarded-for", b"127.0.0.1"), (b"x-forwarded-host", b"localhost"), (b"forwarded", b"for=[::1]"), (b"", b"x"),
    (b"a b", b"c"), (b"x\x00y", b"z"), (b"x", b"y\rz"), (b"x", b"\ny"), (b"x", b"y\x00"), (b"accept-encoding", b"gzip;q=nan"),
    (b"content-disposition", b"../../x"), (b"if-none-match", b"*"), (b"te", b"trailers"), (b"trailer", b"x"),
    (b"x", b"z" * 40_000),
)  # fmt: skip
PIECES = (
    b"/..",
    b"/%2e%2e",
    b"//",
    b"/.",
    b";x",
    b"%00",
    b"%ff",
    b"\xff",
    b"?",
    b"?a=b&a=c",
    b"?" + b"x" * 9000,
    b"#x",
    b"%",
    b" x",
)


def routes(service: Service) -> list[tuple[str, str]]:
    """Method and path of everything that the server answers."""
    found = [route for route in create_app(service).routes if isinstance(route, Route)]
    return [(method, route.path) for route in found for method in sorted(route.methods or ())]


def request(chance: random.Random, known: Sequence[tuple[str, str]], posts: Sequence[tuple[str, object]]) -> bytes:
    """All bytes of one request, wrong in one place or in many."""
    method, path = chance.choice(known)
    body = json.dumps(chance.choice(posts)[1]).encode() if method == "POST" else b""
    target = _target(chance, path.encode())
    spoilt = chance.choice(METHODS) if chance.random() < 0.1 else method.encode()
    lines = [b" ".join((spoilt, target, chance.choice(VERSIONS))), *_headers(chance, body)]
    end = b"\n" if chance.random() < 0.03 else b"\r\n"
    if chance.random() < 0.15:
        body = _chunked(chance, body)
        lines.append(b"transfer-encoding: chunked")
    if chance.random() < 0.02:
        lines += [b"x%d: y" % number for number in range(chance.choice((50, 500, 5000)))]
    whole = end.join([*lines, b"", b""]) + body
    return whole[: chance.randrange(len(whole) + 1)] if chance.random() < 0.1 else whole * chance.choice((1,) * 20 + (2, 5))


def _target(chance: random.Random, path: bytes) -> bytes:
    for name in (b"{session}", b"{object}", b"{file}", b"{name}"):
        path = path.replace(name, chance.choice((b"x", b"1", b"-1", b"%2e%2e", b"x" * 5000, b"\xe2\x98\x83", b"1e5")))
    way = chance.random()
    if way < 0.25:
        at = chance.randrange(len(path) + 1)
        path = path[:at] + chance.choice(PIECES) + path[at:]
    elif way < 0.3:
        path = b"http://localhost" + path
    elif way < 0.35:
        path = chance.choice(TRICKS).encode("utf-8", "surrogatepass")
    return path


def _headers(chance: random.Random, body: bytes) -> list[bytes]:
    length = chance.choice(LENGTHS) if chance.random() < 0.15 else str(len(body)).encode()
    lines = [b"host: localhost", b"content-type: application/json", b"content-length: " + length]
    lines = [line for line in lines if chance.random() > 0.06]
    lines += [b": ".join(chance.choice(HEADERS)) for _ in range(chance.choice((0, 0, 0, 1, 1, 2, 4)))]
    chance.shuffle(lines)
    return lines


def _chunked(chance: random.Random, body: bytes) -> bytes:
    parts = [body[at : at + 50] for at in range(0, len(body), 50)] or [b""]
    wrong = (b"-1", b"FFFFFFFFFFFFFFFFF", b"zz", b"", b"0" * 500)
    sizes = [chance.choice(wrong) if chance.random() < 0.05 else b"%x" % len(part) for part in parts]
    whole = b"".join(size + b"\r\n" + part + b"\r\n" for size, part in zip(sizes, parts, strict=True))
    return whole + chance.choice((b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n", b"", b"0\r\n"))


def send(port: int, data: bytes) -> str:
    """Sends, says that there is no more, and reads to the end: the first answer's status, or "closed" where there was none."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        answer = b""
        with suppress(ConnectionError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while len(answer) < ENOUGH and (piece := connection.recv(1 << 16)):
                answer += piece
    if not answer:
        return "closed"
    assert answer.startswith(b"HTTP/1.1 "), answer[:100]
    status = parsed(answer).status or int(answer[9:12])
    assert status != REFUSED, answer[:100]
    assert status < 500, answer[:500]
    return str(status)


def run(numbers: range) -> Summary:
    logging.getLogger("locara_label").setLevel(logging.CRITICAL)
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    summary = Summary()
    with attacked() as (client, service):
        known, posts = routes(service), samples()
        for number in numbers:
            data = request(random.Random(f"wire {number}"), known, posts)
            summary.judge(f"request {number}", lambda data=data: send(client.port, data), PATIENCE_S, time.monotonic)
        if client.get("/health").status != 200:
            summary.violations.append("/health fails afterwards")
    return summary


if __name__ == "__main__":
    sys.exit(command(__doc__, "count", 1000, lambda count: run(range(count))))
