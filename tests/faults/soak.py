"""A server that is used for a long time, calmly: what it holds in the end and what it held after it had warmed up.

python -m tests.faults.soak --minutes 60
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fixtures.clips import write_clip
from fixtures.scenes import EVALUATION_SEED, make_scene
from locara_label import images
from locara_label.hosts.label_studio.ready import labeling_config
from tests.cli.served import serve
from tests.faults.load import Answered, Holding, ask
from tests.hostile.judging import Summary, command

SIZE = (240, 320)
PAUSE_S = 0.15
EVERY_S = 10.0
MOST_GROWTH_BYTES = 50 << 20
WARM = 0.25
"""Part of the time after which the server counts as warm."""
SETTINGS = {
    "LOCARA_SERVER__PRELABEL_MODEL": "mini",
    "LOCARA_SERVER__EMBEDDING_BYTES": str(8 << 20),
    "LOCARA_SERVER__VIDEO_SESSIONS": "2",
    "LOCARA_SERVER__VIDEO_DISK_BYTES": str(1 << 20),
    "LOCARA_CAPABILITIES__MODELS": '["*"]',
}
CONFIG = labeling_config("brush", ("circle", "star", "ring", "square"))
LETTERS = str.maketrans("0123456789", "ghijklmnop")


@dataclass
class Users:
    """What people do to a server whose port and folder of pictures this knows; every call is one thing that they do."""

    port: int
    folder: Path
    clip: Path
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    made: int = 0
    wrong: list[str] = field(default_factory=list)

    def deeds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "old picture": self.click_old, "new picture": self.click_new, "batch": self.batch, "text": self.text,
            "segment": self.segment, "video": self.video, "setup": self.setup, "small routes": self.small,
            "refused": self.refused, "leaves": self.leaves,
        }  # fmt: skip

    async def click_old(self) -> None:
        await self._click(self.folder / f"old-{self.chance.randrange(4)}.png")

    async def click_new(self) -> None:
        """A picture that nobody saw before, over one of a few files."""
        self.made += 1
        image = make_scene(EVALUATION_SEED + self.made % 8, SIZE).image
        image[:8, :8] = np.frombuffer(self.made.to_bytes(192, "little"), np.uint8).reshape(8, 8, 3)
        path = self.folder / f"new-{self.made % 4}.png"
        path.write_bytes(images.encode_png(image))
        await self._click(path)

    async def batch(self) -> None:
        tasks = [{"id": n, "data": {"image": str(self.folder / f"old-{n}.png")}} for n in range(3)]
        await self._good("POST", "/predict", {"tasks": tasks, "project": "1.1", "label_config": CONFIG, "params": {}})

    async def text(self) -> None:
        await self._good("POST", "/v1/mask_from_prompt", {"image": str(self.folder / "old-0.png"), "text": "blue ring . star"})

    async def segment(self) -> None:
        await self._good("POST", "/v1/segment", {"image": str(self.folder / "old-1.png")})

    async def setup(self) -> None:
        await self._good("POST", "/setup", {"project": "1.1", "schema": CONFIG})

    async def small(self) -> None:
        for path in ("/health", "/ready", "/versions", "/metrics", "/v1/models"):
            await self._good("GET", path)
        await self._good("POST", "/webhook", {"action": f"MADE_UP_{self.chance.randbytes(4).hex().translate(LETTERS)}"})

    async def refused(self) -> None:
        """What is wrong costs nothing later, either."""
        for image in ("/etc/passwd", str(self.folder / "none.png"), str(self.folder / "broken.png"), "http://192.0.2.1/a.png"):
            answer = await ask(self.port, "POST", "/v1/segment", {"image": image})
            self._check(answer, {403, 422}, f"segment {image}")
        self._check(await ask(self.port, "POST", "/predict", {"tasks": 5}), {422}, "wrong tasks")
        self._check(await ask(self.port, "GET", "/nothing"), {404}, "nothing")

    async def leaves(self) -> None:
        """Who closes the connection before there is an answer."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        body = json.dumps({"image": str(self.folder / "old-3.png"), "points": [[20, 20]]}).encode()
        head = "POST /v1/mask_from_prompt HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        writer.write(head.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body[: self.chance.choice((5, len(body)))])
        await writer.drain()
        writer.close()

    async def video(self) -> None:
        made = (await self._good("POST", "/v1/video/sessions", {"video": str(self.clip)})).json()
        place = f"/v1/video/sessions/{made['session']}"
        await self._good("POST", f"{place}/prompt", {"frame": 0, "object": 1, "box": [100, 60, 200, 160]})
        await self._good("POST", f"{place}/propagate", {"frames": 10})
        await self._good("GET", f"{place}/result")
        await self._good("DELETE", place)

    async def _click(self, path: Path) -> None:
        points = [[self.chance.uniform(20, SIZE[1] - 20), self.chance.uniform(20, SIZE[0] - 20)]]
        await self._good("POST", "/v1/mask_from_prompt", {"image": str(path), "points": points})

    async def _good(self, method: str, path: str, content: Any = None) -> Answered:
        return self._check(await ask(self.port, method, path, content), {200}, f"{method} {path}")

    def _check(self, answer: Answered, statuses: set[int], what: str) -> Answered:
        if answer.status not in statuses:
            self.wrong.append(f"{what}: {answer.status} {answer.body[:200]!r}")
        return answer


@contextmanager
def used(folder: Path) -> Iterator[tuple[Users, int]]:
    """A server with pictures and a clip, the people who use it, and its process."""
    for number in range(4):
        image = make_scene(EVALUATION_SEED + 100 + number, SIZE).image
        (folder / f"old-{number}.png").write_bytes(images.encode_png(image))
    (folder / "broken.png").write_bytes((folder / "old-0.png").read_bytes()[:1000])
    clip = write_clip(folder, EVALUATION_SEED, (120, 160), 30, Fraction(25))
    granted = {"LOCARA_CAPABILITIES__FOLDERS": json.dumps([str(folder)]), "LOCARA_DATA_DIR": str(folder / "data")}
    with serve(folder, **SETTINGS, **granted) as server:
        yield Users(int(server.url.rpartition(":")[2]), folder, clip), server.process.pid
    assert "Traceback" not in server.said(), server.said()[-3000:]


async def use(users: Users, pid: int, seconds: float, summary: Summary) -> list[tuple[float, Holding]]:
    """One thing after the other, and what the process holds between two of them every few seconds."""
    began, next_look, seen = time.monotonic(), 0.0, list[tuple[float, Holding]]()
    deeds = users.deeds()
    while (now := time.monotonic() - began) < seconds:
        name = users.chance.choice(list(deeds))
        started = time.monotonic()
        await deeds[name]()
        summary.took(name, time.monotonic() - started)
        summary.outcomes[name] += 1
        await asyncio.sleep(PAUSE_S)
        if now >= next_look:
            seen.append((now, Holding.of(pid)))
            next_look = now + min(EVERY_S, seconds / 40)
    return seen


def judged(summary: Summary, seen: list[tuple[float, Holding]], seconds: float) -> Summary:
    """The last part of the time beside a part after which the server was warm; of what is counted, what it holds when idle."""
    warm = [found for at, found in seen if WARM * seconds <= at < (WARM + 0.15) * seconds]
    last = [found for at, found in seen if at >= 0.85 * seconds]
    summary.figures["rss_warm_mb"] = statistics.median(found.rss for found in warm) / 1e6
    summary.figures["rss_end_mb"] = statistics.median(found.rss for found in last) / 1e6
    summary.figures["rss_growth_mb"] = growth = summary.figures["rss_end_mb"] - summary.figures["rss_warm_mb"]
    if growth * 1e6 > MOST_GROWTH_BYTES:
        summary.violations.append(f"memory grew by {growth:.1f} MB")
    for what in ("files", "threads", "children"):
        before, after = (min(asdict(found)[what] for found in part) for part in (warm, last))
        summary.figures[f"{what}_warm"], summary.figures[f"{what}_end"] = before, after
        if after > before:
            summary.violations.append(f"{what}: {before} when it was warm, {after} in the end")
    return summary


def soak(minutes: float) -> Summary:
    """Uses a server for so long."""
    summary = Summary()
    with tempfile.TemporaryDirectory(prefix="soak-") as made, used(Path(made)) as (users, pid):
        seen = asyncio.run(use(users, pid, 60 * minutes, summary))
        summary.violations += users.wrong[:50]
    return judged(summary, seen, 60 * minutes)


def part(numbers: range) -> Summary:
    """Minutes. What comes of them is counted in minutes too."""
    found = soak(len(numbers))
    found.figures["requests"], found.count = found.count, len(numbers)
    return found


if __name__ == "__main__":
    sys.exit(command(__doc__, "minutes", 60.0, soak))
