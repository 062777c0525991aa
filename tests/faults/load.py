"""Requests to a server, many at once, and what its process holds meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REFUSED = 0
"""Instead of a status, where the connection was refused or broke before an answer."""


@dataclass(frozen=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(port: int, method: str, path: str, content: Any = None, **headers: str) -> Answered:
    """One request on a connection of its own; status `REFUSED` where there is no whole answer."""
    body = b"" if content is None else json.dumps(content).encode()
    told = {"host": "localhost", "content-length": str(len(body)), "connection": "close", **headers}
    if content is not None:
        told["content-type"] = "application/json"
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in told.items()) + "\r\n"
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return Answered(REFUSED, {}, b"")
    try:
        writer.write(head.encode() + body)
        await writer.drain()
        return parsed(await reader.read())
    except OSError:
        return Answered(REFUSED, {}, b"")
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def parsed(answer: bytes) -> Answered:
    """An answer that ended with its connection. One that is not whole has status `REFUSED`."""
    head, ended, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if not ended or len(words) < 2 or not words[1].isdigit():
        return Answered(REFUSED, {}, answer)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if int(headers.get("content-length", len(body))) != len(body):
        return Answered(REFUSED, headers, body)
    return Answered(int(words[1]), headers, body)


@dataclass(frozen=True)
class Holding:
    """What a server holds: bytes in memory, those of its models with it, open files, threads, children."""

    rss: int
    files: int
    threads: int
    children: int

    @classmethod
    def of(cls, pid: int) -> Holding:
        rss = sum(int(_status(one)["VmRSS"].split()[0]) * 1024 for one in (pid, *model_processes(pid)))
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return cls(rss, files, int(_status(pid)["Threads"]), len(children(pid)))


def _status(pid: int) -> dict[str, str]:
    return dict(line.partition(":")[::2] for line in Path(f"/proc/{pid}/status").read_text().splitlines())


def children(pid: int) -> list[int]:
    """Processes that a process started, also those that ended and were not waited for."""
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


def model_processes(pid: int) -> list[int]:
    """Those of a server's children in which models run: one, or none yet."""
    return [child for child in children(pid) if b"locara_label.inference.child" in line_of(child)]


def line_of(pid: int) -> bytes:
    """The command of a process; empty when it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def statuses(answers: list[Answered]) -> Counter[str]:
    return Counter(str(answer.status) for answer in answers)
