"""Ten times as many clicks as a server can answer: the rest is refused at once and told when to come again.

python -m tests.faults.overload --minutes 10
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.load import Answered, Holding, ask, statuses
from tests.faults.stopping import click, granted, port_of
from tests.hostile.judging import Summary, command

TIMES = 10
CLIENTS, MEASURED_S = 4, 8.0
MOST_AT_ONCE = 400
"""Requests under way; a client that has no more connections would measure itself."""
MOST_GROWTH_BYTES = 50 << 20
DESIGNED = {200, 429, 503}
PICTURES = 4


@dataclass
class Seen:
    """What came of the requests: every refusal's seconds, those of /health, and what the process held."""

    answers: list[Answered] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    health_s: list[float] = field(default_factory=list)
    held: list[Holding] = field(default_factory=list)
    left_out: int = 0


async def capacity(port: int, folder: Path) -> float:
    """Clicks a second that the server answers when only a few ask."""
    until, counted = time.monotonic() + MEASURED_S, 0

    async def client(number: int) -> None:
        nonlocal counted
        while time.monotonic() < until:
            answer = await ask(port, "POST", "/v1/mask_from_prompt", click(folder, number + counted))
            assert answer.status == 200, answer
            counted += 1

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return counted / MEASURED_S


async def one(port: int, folder: Path, number: int, seen: Seen) -> None:
    began = time.monotonic()
    answer = await ask(port, "POST", "/v1/mask_from_prompt", click(folder, number))
    seen.answers.append(Answered(answer.status, answer.headers, b"" if answer.status in DESIGNED else answer.body))
    if answer.status == 429:
        seen.refused_s.append(time.monotonic() - began)


async def watch(port: int, pid: int, until: float, seen: Seen) -> None:
    while time.monotonic() < until:
        began = time.monotonic()
        answer = await ask(port, "GET", "/health")
        assert answer.status == 200, answer
        seen.health_s.append(time.monotonic() - began)
        seen.held.append(Holding.of(pid))
        await asyncio.sleep(0.5)


async def overload(port: int, folder: Path, pid: int, rate: float, seconds: float) -> Seen:
    """`rate` clicks a second, whatever comes of them."""
    seen, waiting, number = Seen(), set[asyncio.Task[None]](), 0
    began = time.monotonic()
    watching = asyncio.create_task(watch(port, pid, began + seconds, seen))
    while (now := time.monotonic() - began) < seconds:
        while number < now * rate:
            number += 1
            if len(waiting) >= MOST_AT_ONCE:
                seen.left_out += 1
                continue
            task = asyncio.create_task(one(port, folder, number, seen))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        await asyncio.sleep(0.01)
    await asyncio.gather(watching, *waiting)
    return seen


def judged(seen: Seen, able: float, summary: Summary) -> Summary:
    found = statuses(seen.answers)
    summary.outcomes += found
    wrong = [answer for answer in seen.answers if answer.status not in DESIGNED]
    summary.violations += [f"{answer.status} {answer.body[:200]!r}" for answer in wrong[:10]]
    untold = sum("retry-after" not in answer.headers for answer in seen.answers if answer.status == 429)
    if untold or not found["200"] or not found["429"]:
        summary.violations.append(f"{untold} refusals without Retry-After; {dict(found)}")
    warm, last = (seen.held[int(len(seen.held) * start) :][: len(seen.held) // 5 + 1] for start in (0.2, 0.8))
    growth = (statistics.median(one.rss for one in last) - statistics.median(one.rss for one in warm)) / 1e6
    if growth * 1e6 > MOST_GROWTH_BYTES:
        summary.violations.append(f"memory grew by {growth:.1f} MB")
    summary.figures |= {
        "capacity_per_s": able,
        "requests": len(seen.answers),
        "not_sent": seen.left_out,
        "rss_growth_mb": growth,
        "refused_median_ms": 1000 * statistics.median(seen.refused_s or [0]),
        "refused_p99_ms": 1000 * _p99(seen.refused_s or [0]),
        "health_p99_ms": 1000 * _p99(seen.health_s),
    }
    return summary


def _p99(values: list[float]) -> float:
    return sorted(values)[int(0.99 * (len(values) - 1))]


def run(minutes: float) -> Summary:
    summary = Summary()
    with tempfile.TemporaryDirectory(prefix="overload-") as made:
        folder = Path(made)
        with granted(folder, PICTURES, "--text-model", "none") as server:
            port, pid = port_of(server), server.process.pid
            able = asyncio.run(capacity(port, folder))
            seen = asyncio.run(overload(port, folder, pid, TIMES * able, 60 * minutes))
            after = asyncio.run(ask(port, "POST", "/v1/mask_from_prompt", click(folder, 1)))
            if after.status != 200:
                summary.violations.append(f"a click afterwards: {after.status}")
        if "Traceback" in server.said():
            summary.violations.append(server.said()[-2000:])
    return judged(seen, able, summary)


def part(numbers: range) -> Summary:
    """Minutes."""
    found = run(len(numbers))
    found.count = len(numbers)
    return found


if __name__ == "__main__":
    sys.exit(command(__doc__, "minutes", 10.0, run))
