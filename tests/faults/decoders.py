"""The process that decodes a video dies in the middle of a run: only that run fails, and its session goes on.

python -m tests.faults.decoders --deaths 6
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

from fixtures.clips import write_clip
from fixtures.scenes import EVALUATION_SEED
from tests.faults.load import Answered, Holding, ask, children
from tests.faults.stopping import click, granted, port_of
from tests.hostile.judging import Summary, command

FRAMES, SIZE = 120, (120, 160)
MOST_S = 5.0
"""From a death to the next answer of the session, beside what it took to open it and to come so far."""
BEGUN_S = 120.0
TOLD = {"video.crashed", "video.no_memory", "video.corrupt", "video.frame"}
SESSIONS = "/v1/video/sessions"
SURVIVED = "the run came to its end"


def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def crashed(pid: int) -> None:
    os.kill(pid, signal.SIGSEGV)


def starved(pid: int) -> None:
    """Every further piece of memory is refused, and what it does without dies by itself or is told."""
    resource.prlimit(pid, resource.RLIMIT_AS, (1 << 20, 1 << 20))


DEATHS = (killed, crashed, starved)


async def events(port: int, place: str, begun: asyncio.Event) -> list[tuple[str, Any]]:
    """A run, as it is told; `begun` is set with its first frame."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"frames": FRAMES}).encode()
    head = f"POST {place}/propagate HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    writer.write(head.encode() + b"\r\nconnection: close\r\n\r\n" + body)
    told, name = [], ""
    while line := await reader.readline():
        if line.startswith(b"event: "):
            name = line[7:].strip().decode()
        if line.startswith(b"data: "):
            told.append((name, json.loads(line[6:])))
            if name == "frame":
                begun.set()
    begun.set()
    writer.close()
    return told


async def clicking(port: int, folder: Path, until: asyncio.Event) -> list[Answered]:
    found: list[Answered] = []
    while not until.is_set():
        found.append(await ask(port, "POST", "/v1/mask_from_prompt", click(folder, len(found))))
        await asyncio.sleep(0.05)
    return found


async def die_once(port: int, folder: Path, pid: int, number: int, summary: Summary) -> str:
    """How a run ended whose decoder died; raises AssertionError."""
    chance, began = random.Random(number), time.monotonic()
    made = (await _good(port, "POST", SESSIONS, {"video": str(folder / f"clip_{EVALUATION_SEED}.mp4")})).json()
    opening_s = time.monotonic() - began
    place = f"{SESSIONS}/{made['session']}"
    first = (await _good(port, "POST", f"{place}/prompt", {"frame": 0, "object": 1, "box": [50, 30, 100, 80]})).json()
    started = time.monotonic()
    begun, over = asyncio.Event(), asyncio.Event()
    run, others = asyncio.create_task(events(port, place, begun)), asyncio.create_task(clicking(port, folder, over))
    await asyncio.wait_for(begun.wait(), BEGUN_S)
    await asyncio.sleep(chance.uniform(0, 0.2))
    for child in children(pid):
        DEATHS[number % len(DEATHS)](child)
    died = time.monotonic()
    load_s = died - started  # the session is opened again, and gone through as far as it was
    told = await asyncio.wait_for(run, BEGUN_S)
    ended = _ended(told)
    if ended == SURVIVED:  # what was starved may need no more memory than it has
        died = time.monotonic()
    again = await _good(port, "POST", f"{place}/prompt", {"frame": 0, "object": 1, "box": [50, 30, 100, 80]})
    took = time.monotonic() - died
    began = time.monotonic()  # how quick the machine is now, which may be busy with others
    fresh = (await _good(port, "POST", SESSIONS, {"video": str(folder / f"clip_{EVALUATION_SEED}.mp4")})).json()
    load_s += max(opening_s, time.monotonic() - began)
    await _good(port, "DELETE", f"{SESSIONS}/{fresh['session']}")
    over.set()
    assert {answer.status for answer in await others} == {200}, "another request failed"
    assert again.json()["objects"] == first["objects"], "the mask is another one now"
    summary.measured("next_answer_s", took)
    summary.measured("next_answer_beyond_load_s", took - load_s)
    assert took <= MOST_S + load_s, f"the next answer came after {took:.1f} s, beside {load_s:.1f} s to build the session again"
    await _good(port, "DELETE", place)
    return ended


def _ended(told: list[tuple[str, Any]]) -> str:
    name, data = told[-1]
    if name == "done":
        return SURVIVED
    assert name == "error", told[-1]
    code = data["error"]["code"] if "error" in data else data["code"]
    assert code in TOLD, data
    return str(code)


async def _good(port: int, method: str, path: str, content: Any = None) -> Answered:
    answer = await ask(port, method, path, content)
    assert answer.status == 200, f"{method} {path}: {answer.status} {answer.body[:300]!r}"
    return answer


def part(numbers: range) -> Summary:
    """Deaths of some numbers, in one server."""
    summary = Summary()
    with tempfile.TemporaryDirectory(prefix="decoders-") as made:
        folder = Path(made)
        write_clip(folder, EVALUATION_SEED, SIZE, FRAMES, Fraction(25))
        with granted(folder, 4, "--text-model", "none") as server:
            port, pid = port_of(server), server.process.pid

            def die(number: int) -> str:
                return asyncio.run(die_once(port, folder, pid, number, summary))

            for number in numbers:
                name = f"death {number} ({DEATHS[number % len(DEATHS)].__name__})"
                summary.judge(name, lambda number=number: die(number), 300, time.monotonic)
            summary.measured("decoders_left", Holding.of(pid).children)
        if "Traceback" in server.said():
            summary.violations.append(server.said()[-2000:])
    if summary.figures["decoders_left"]:
        summary.violations.append("a decoding process is left over")
    return summary


if __name__ == "__main__":
    sys.exit(command(__doc__, "deaths", 6, lambda deaths: part(range(deaths))))
