"""What a command and all processes below it cost in processor time, by what they are; for machines whose clock says little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")
_POLL_S = 0.5
DRIVER = "driver"


@dataclass(frozen=True)
class Cost:
    """Of one run.

    Attributes:
        seconds: by the clock, start and end of everything included.
        cpu_s: processor time, by what the process is: the driver, an actor, a decoder, a part of Ray.
        peak_mib: the largest resident set of the driver.
        said: what it printed as JSON.
    """

    seconds: float
    cpu_s: dict[str, float]
    peak_mib: float
    said: dict[str, Any]

    @property
    def total_cpu_s(self) -> float:
        return sum(self.cpu_s.values())


def run(words: list[str], **variables: str) -> Cost:
    """Runs a command that prints JSON and ends well; Linux only."""
    started = time.monotonic()
    used: dict[int, tuple[str, float]] = {}
    peak = 0.0
    environment = {**os.environ, **variables}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment) as process:
        while process.poll() is None:
            used.update(_below(process.pid))
            peak = max(peak, _peak_mib(process.pid))
            time.sleep(_POLL_S)
        said = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
    costs: dict[str, float] = defaultdict(float)
    for role, cpu_s in used.values():
        costs[role] += cpu_s
    return Cost(time.monotonic() - started, {role: round(cpu_s, 2) for role, cpu_s in costs.items()}, peak, json.loads(said))


def prelabel(*words: object, **variables: str) -> Cost:
    """Runs `locara-label prelabel`."""
    return run([sys.executable, "-m", "locara_label", "prelabel", *map(str, words), "--json"], **variables)


def _below(root: int) -> dict[int, tuple[str, float]]:
    """Role and processor time of a process and those below it."""
    parents: dict[int, int] = {}
    known: dict[int, tuple[str, float]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (path / "stat").read_text().rpartition(")")
            fields = rest.split()
            title = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        pid = int(path.name)
        parents[pid] = int(fields[1])
        known[pid] = (_role(title, name.rpartition("(")[2]), (int(fields[11]) + int(fields[12])) / _TICKS)
    return {pid: (DRIVER if pid == root else role, cpu) for pid, (role, cpu) in known.items() if _is_below(pid, root, parents)}


def _is_below(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid > 1 and pid != root:
        pid = parents.get(pid, 0)
    return pid == root


def _role(title: str, name: str) -> str:
    """Ray renames its processes after what they do, and idle ones too."""
    if name.startswith("ray::"):
        return "actors" if "Labeller" in name else "decoders"
    return "ray" if "ray" in title else name


def _peak_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)
