"""What suites have reached so far, in one JSON file; runs go on where the last one ended."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from locara_label.atomic import atomic_file
from tests.hostile.judging import Summary
from tests.reliability.suites import Suite

ROOT = Path(__file__).parents[2]
BOOK = Path(__file__).with_name("results.json")
_TOLD = 20


@dataclass
class Entry:
    """One suite: cases done, seconds they took in all, the day of the last ones, the machine, and what came of them."""

    done: int = 0
    seconds: float = 0.0
    day: str = ""
    machine: str = ""
    found: Summary = field(default_factory=Summary)

    def to_json(self) -> dict[str, Any]:
        kept = {"done": self.done, "seconds": round(self.seconds, 1), "day": self.day, "machine": self.machine}
        return kept | {"found": self.found.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(data["done"], data["seconds"], data["day"], data["machine"], Summary.from_json(data["found"]))


def read(path: Path = BOOK) -> dict[str, Entry]:
    """Every suite's entry; none where there is no file."""
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return {name: Entry.from_json(data) for name, data in kept.items()}


def keep(name: str, entry: Entry, path: Path = BOOK) -> None:
    """Changes one suite's entry; others may have been changed meanwhile by another run."""
    with FileLock(Path(tempfile.gettempdir()) / "locara-reliability.lock"):
        entries = read(path) | {name: entry}
        text = json.dumps({name: entries[name].to_json() for name in sorted(entries)}, indent=1)
        with atomic_file(path) as file:
            file.write((text + "\n").encode())


def go_on(suite: Suite, count: int, path: Path = BOOK, at_once: int = 1) -> Entry:
    """Runs what is left of `count` cases in parts, each in a process of its own, some of them at once; keeps every part.

    A process that ends by itself is a violation, as is a part that gives no summary.
    """
    entry = read(path).get(suite.name) or Entry()
    parts = [range(first, min(first + suite.part, count)) for first in range(entry.done, count, suite.part)]
    began = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        for part, found in zip(parts, pool.map(lambda part: run_part(suite.name, part), parts), strict=True):
            entry.found.add(found)
            entry.found.measured("load_of_the_machine", os.getloadavg()[1])
            del entry.found.violations[_TOLD:]
            entry.done, entry.seconds, began = part.stop, entry.seconds + time.monotonic() - began, time.monotonic()
            entry.day, entry.machine = datetime.now(UTC).date().isoformat(), machine()
            keep(suite.name, entry, path)
            print(f"{suite.name}: {entry.done} of {count}, {len(entry.found.violations)} failures", file=sys.stderr, flush=True)
    return entry


def run_part(name: str, numbers: range) -> Summary:
    line = [sys.executable, "-W", "ignore", "-m", "tests.reliability", "part", name, str(numbers.start), str(numbers.stop)]
    done = subprocess.run(line, stdout=subprocess.PIPE, cwd=ROOT, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    last = done.stdout.decode().strip().rpartition("\n")[2]
    if done.returncode == 0 and last.startswith("{"):
        return Summary.from_json(json.loads(last))
    why = signal.Signals(-done.returncode).name if done.returncode < 0 else f"status {done.returncode}"
    return Summary(count=len(numbers), violations=[f"cases {numbers.start} to {numbers.stop - 1}: the process ended with {why}"])


def machine() -> str:
    """Processor, cores and memory of this one."""
    processor = next((line.partition(":")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    name = processor.strip() or platform.machine()
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {memory >> 20} GiB, Python {platform.python_version()}"


def _lines(path: str) -> list[str]:
    place = Path(path)
    return place.read_text().splitlines() if place.exists() else []
