"""The process that runs models dies while many ask: one of them at most gets less than an answer.

python -m tests.faults.workers --deaths 50
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.decoders import DEATHS
from tests.faults.load import Answered, ask, model_processes
from tests.faults.stopping import click, granted, port_of
from tests.hostile.judging import Summary, command

CLIENTS = 3
CLICKS = 40
"""Different ones; pictures are four."""
MOST_S = 5.0
"""From a death to the next answer, beside the time that it takes to load the models."""
TOLD = "run.worker_died"


@dataclass
class Server:
    """One that serves the pictures of a folder: how long it took to start, and its masks for every click."""

    folder: Path
    port: int
    pid: int
    start_s: float
    masks: list[Any] = field(default_factory=list)

    async def ask(self, number: int) -> Answered:
        return await ask(self.port, "POST", "/v1/mask_from_prompt", click(self.folder, number))

    async def clicks(self, client: int, until: asyncio.Event) -> list[tuple[int, Answered]]:
        found: list[tuple[int, Answered]] = []
        while not until.is_set():
            number = (client + CLIENTS * len(found)) % CLICKS
            found.append((number, await self.ask(number)))
        return found


async def die_once(server: Server, number: int, summary: Summary) -> str:
    """What became of the process; raises AssertionError."""
    over = asyncio.Event()
    clients = [asyncio.create_task(server.clicks(client, over)) for client in range(CLIENTS)]
    await asyncio.sleep(random.Random(number).uniform(0.05, 0.5))
    (victim,) = model_processes(server.pid)
    DEATHS[number % len(DEATHS)](victim)
    died = time.monotonic()
    again = await server.ask(number % CLICKS)
    took = time.monotonic() - died
    summary.measured("next_answer_s", took)
    assert again.status == 200, again.body[:300]
    assert took <= MOST_S + server.start_s, f"the next answer came after {took:.1f} s, a start takes {server.start_s:.1f} s"
    await asyncio.sleep(0.1)
    over.set()
    answers = [one for many in await asyncio.gather(*clients) for one in many]
    summary.measured("failed_at_one_death", _failed(server, answers))
    return "survived" if victim in model_processes(server.pid) else "replaced"


def _failed(server: Server, answers: list[tuple[int, Answered]]) -> int:
    """How many were told of the death, one at most; the others got their own masks."""
    failed = [answer for _, answer in answers if answer.status != 200]
    assert all(answer.status == 503 and answer.json()["error"]["code"] == TOLD for answer in failed), failed
    assert all(answer.json()["masks"] == server.masks[at] for at, answer in answers if answer.status == 200), "another mask"
    assert len(failed) <= 1, f"{len(failed)} requests failed"
    return len(failed)


def part(numbers: range) -> Summary:
    """Deaths of some numbers, in one server."""
    summary = Summary()
    with tempfile.TemporaryDirectory(prefix="workers-") as made:
        folder, began = Path(made), time.monotonic()
        with granted(folder, 4, "--model", "mini") as served:
            server = Server(folder, port_of(served), served.process.pid, time.monotonic() - began)
            server.masks = [asyncio.run(server.ask(number)).json()["masks"] for number in range(CLICKS)]
            for number in numbers:
                name = f"death {number} ({DEATHS[number % len(DEATHS)].__name__})"
                summary.judge(name, lambda number=number: asyncio.run(die_once(server, number, summary)), 120, time.monotonic)
            last = model_processes(server.pid)
        if "Traceback" in served.said():
            summary.violations.append(served.said()[-2000:])
    if len(last) != 1 or Path(f"/proc/{last[0]}").exists():
        summary.violations.append("a process that runs models is left over")
    return summary


if __name__ == "__main__":
    sys.exit(command(__doc__, "deaths", 6, lambda deaths: part(range(deaths))))
