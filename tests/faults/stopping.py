"""A server that is told to stop while many ask it: what was accepted is answered, and it ends in time.

python -m tests.faults.stopping --stops 10
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fixtures.scenes import EVALUATION_SEED, make_scene
from locara_label import images
from tests.cli.served import Served, serve
from tests.faults.load import REFUSED, Answered, ask
from tests.hostile.judging import Summary, command

SIZE = (240, 320)
CLIENTS = 12
MOST_S = 25.0
ON_ITS_WAY_S = 0.2
"""A request that was begun so short a time before the signal may still lie in the kernel, where the server never saw it."""


@contextmanager
def granted(folder: Path, pictures: int = 4, *words: str, **variables: str) -> Iterator[Served]:
    """A server that may read the pictures `0.png`, `1.png` ... of a folder."""
    for number in range(pictures):
        image = make_scene(EVALUATION_SEED + number, SIZE).image
        (folder / f"{number}.png").write_bytes(images.encode_png(image))
    own = {"LOCARA_CAPABILITIES__FOLDERS": json.dumps([str(folder)]), "LOCARA_DATA_DIR": str(folder / "data")}
    with serve(folder, *words, **{**own, **variables}) as server:
        yield server


def port_of(server: Served) -> int:
    return int(server.url.rpartition(":")[2])


def click(folder: Path, number: int) -> dict[str, object]:
    return {"image": str(folder / f"{number % 4}.png"), "points": [[20 + number * 7 % 280, 20 + number * 3 % 200]]}


@dataclass(frozen=True)
class Asked:
    began: float
    answer: Answered


async def asking(port: int, folder: Path, client: int, stopped: asyncio.Event) -> list[Asked]:
    """One client who asks again and again until the server has been told to stop."""
    found = []
    while not stopped.is_set():
        began = time.monotonic()
        found.append(Asked(began, await ask(port, "POST", "/v1/mask_from_prompt", click(folder, client + len(found)))))
    return found


async def stop_under_load(server: Served, folder: Path, after_s: float) -> tuple[float, list[Asked]]:
    """When the signal was sent, and all that was asked."""
    stopped = asyncio.Event()
    clients = [asyncio.create_task(asking(port_of(server), folder, number, stopped)) for number in range(CLIENTS)]
    await asyncio.sleep(after_s)
    told = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    stopped.set()
    return told, [one for many in await asyncio.gather(*clients) for one in many]


def stop_once(folder: Path, chance: random.Random, summary: Summary) -> str:
    """How the requests under way ended; raises AssertionError."""
    with granted(folder, 4, "--text-model", "none") as server:
        told, asked = asyncio.run(stop_under_load(server, folder, chance.uniform(0.3, 1.5)))
        code = server.process.wait(60)
        took = time.monotonic() - told
    summary.measured("longest_stop_s", took)
    lost = [one for one in asked if one.answer.status == REFUSED and one.began < told - ON_ITS_WAY_S]
    assert not lost, f"{len(lost)} of {len(asked)} accepted requests have no answer"
    assert {one.answer.status for one in asked} <= {200, 429, 503, REFUSED}, {one.answer.status for one in asked}
    assert (code, took <= MOST_S) == (0, True), f"ended with {code} after {took:.1f} s"
    assert "Traceback" not in server.said(), server.said()[-2000:]
    late = [one for one in asked if one.answer.status == 200 and one.began >= told - 2]
    summary.measured("answered_while_stopping", len(late))
    return "answered what it had accepted"


def part(numbers: range) -> Summary:
    """Stops of some numbers."""
    summary = Summary()
    for number in numbers:
        with tempfile.TemporaryDirectory(prefix="stopping-") as made:
            chance = random.Random(number)
            summary.judge(
                f"stop {number}", lambda made=made, chance=chance: stop_once(Path(made), chance, summary), 100, time.monotonic
            )
    return summary


if __name__ == "__main__":
    sys.exit(command(__doc__, "stops", 10, lambda stops: part(range(stops))))
