"""Kills a driver, an actor or a machine of a Ray cluster at a random moment of a batch: the result is that of one local process.

python -m tests.faults.ray_kill --kills 10
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.batch.ray_nodes import Nodes, nodes, start
from tests.faults.batch_kill import OPTIONS, PICTURES, run, stage, tree, weights_beside, write_scenes
from tests.faults.load import children, line_of
from tests.hostile.judging import Summary, command

SHARDS = ("--shard-size", "4")
PATIENCE_S = 300.0
VICTIMS = ("driver", "actor", "machine")


class Batch:
    """One batch of pictures, what a local process makes of it, and how long the cluster takes."""

    def __init__(self, folder: Path, cluster: Nodes) -> None:
        self.folder, self.cluster = folder, cluster
        self.pictures = write_scenes(folder / "pictures", PICTURES)
        run(self.pictures, folder / "local", *SHARDS)
        self.wanted = tree(folder / "local")
        began = time.monotonic()
        assert self.finish(self.begin(folder / "whole")) == 3
        self.whole_s = time.monotonic() - began
        assert tree(folder / "whole") == self.wanted, "without a kill already something differs"

    def begin(self, out: Path) -> subprocess.Popen[str]:
        options = ["--weights", weights_beside(self.pictures), *OPTIONS[:-1], *SHARDS, "--runner", "ray", "--num-actors", "2"]
        return start(self.pictures, "--out", out, *options, "--address", self.cluster.address)

    def finish(self, driver: subprocess.Popen[str]) -> int:
        driver.communicate(timeout=PATIENCE_S)
        return driver.returncode

    def kill(self, victim: str, driver: subprocess.Popen[str], chance: random.Random) -> None:
        if victim == "machine":
            self.cluster.kill_one()
        elif victim == "driver":
            driver.kill()
        elif found := list(_actors()):
            with suppress(ProcessLookupError):  # it may just have ended
                os.kill(chance.choice(found), signal.SIGKILL)

    def kill_and_compare(self, number: int) -> str:
        """What was killed, and how far the batch had come; raises AssertionError."""
        out, chance, victim = self.folder / f"killed-{number}", random.Random(number), VICTIMS[number % len(VICTIMS)]
        driver = self.begin(out)
        time.sleep(chance.uniform(0.1, 1) * self.whole_s)
        reached = stage(out)
        self.kill(victim, driver, chance)
        status = self.finish(driver)
        self.cluster.complete()
        if victim == "driver" and status != 3:
            status = self.finish(self.begin(out))
        assert status == 3, f"exit status {status} after the {victim} was killed ({reached})"
        found = tree(out)
        names = sorted(name for name in found.keys() | self.wanted.keys() if found.get(name) != self.wanted.get(name))
        assert not names, f"these differ after the {victim} was killed ({reached}): {names}"
        shutil.rmtree(out)
        return f"{victim} killed at: {reached}"


def _actors(root: int | None = None) -> Iterator[int]:
    """Processes of this process's cluster that work on something; its agents are none, each of which takes its machine along."""
    for child in children(root or os.getpid()):
        if line_of(child).startswith((b"ray::Labeller", b"ray::_decoded")):
            yield child
        with suppress(OSError):
            yield from _actors(child)


@contextmanager
def _batch() -> Iterator[Batch]:
    with tempfile.TemporaryDirectory(prefix="ray-kill-") as folder, nodes() as cluster:
        yield Batch(Path(folder), cluster)


def part(numbers: range) -> Summary:
    """Kills of some numbers, in one cluster."""
    summary = Summary(outcomes=Counter())
    with _batch() as batch:
        summary.measured("whole_run_s", batch.whole_s)
        for number in numbers:
            summary.judge(f"kill {number}", lambda number=number: batch.kill_and_compare(number), 2 * PATIENCE_S, time.monotonic)
    return summary


if __name__ == "__main__":
    sys.exit(command(__doc__, "kills", 3, lambda kills: part(range(kills))))
