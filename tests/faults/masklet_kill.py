"""Kills a process that writes to a masklet store, a file or a PostgreSQL, at random moments, and looks at what it left.

python -m tests.faults.masklet_kill --kills 20
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from locara_label.hosts.label_studio.masklets import MaskletStore, Place, Record, StoredFrame
from locara_label.types import Mask
from tests.hostile.judging import Summary

BATCH = 5
"""Frames of one call; all of them carry the number of the call as their time."""
FRAMES = 60


def place(number: int) -> Place:
    return Place(1, number % 7, f"r{number % 3}")


def record(at: Place, call: int) -> Record:
    return Record(at, "/data/v.mp4", "video", "box", (48, 64), FRAMES, "Car", "classic", "v1", {call % FRAMES: {"call": call}})


def batch(call: int, seed: int) -> list[StoredFrame]:
    rng = np.random.default_rng([seed, call])
    first = int(rng.integers(0, FRAMES - BATCH))
    masks = rng.random((BATCH, 48, 64)) < 0.5
    return [
        StoredFrame(first + at, float(call), Mask.from_array(mask), 0.5, present=True, prompted=at == 0)
        for at, mask in enumerate(masks)
    ]


def apply(store: MaskletStore, call: int, seed: int) -> None:
    """Call number `call`: by turns a new record with frames, more frames, a changed record, and now and then a removal."""
    at = place(call // 4)
    if call % 4 == 0:
        store.replace(record(at, call), batch(call, seed))
    elif call % 4 == 3:
        store.remove(at) if call % 5 == 0 else store.put(record(at, call))
    else:
        store.add(at, batch(call, seed))


Where = Path | str
"""A file, or the address of a database."""


def write_forever(where: Where, begin: int, seed: int) -> None:
    """Says the number of each call once it has returned."""
    with MaskletStore(where) as store:
        for call in range(begin, begin + 1_000_000):
            apply(store, call, seed)
            sys.stdout.write(f"{call}\n")
            sys.stdout.flush()


def contents(store: MaskletStore) -> dict[Place, tuple[Record, tuple[StoredFrame, ...]]]:
    return {found.place: (found, store.frames(found.place)) for found in store.of_project(1)}


def killed(where: Where, begin: int, seed: int, after_s: float) -> int:
    """The number of the last call that was acknowledged before the kill; `begin - 1` when none was."""
    options = {"--write": where, "--begin": begin, "--seed": seed}
    words = [str(word) for option in options.items() for word in option]
    command = [sys.executable, "-m", "tests.faults.masklet_kill", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    first = process.stdout.readline()
    time.sleep(after_s)
    process.kill()
    said = [first, *process.communicate()[0].splitlines(keepends=True)]
    return max((int(line) for line in said if line.endswith(b"\n")), default=begin - 1)


def whole_file(path: Path) -> None:
    """Raises AssertionError: the file is damaged."""
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    database.close()


def kill_often(folder: Path, kills: int, seed: int, where: Where | None = None, settle: Callable[[], None] | None = None) -> int:
    """Kills a writer again and again on one store and gives how many calls were acknowledged.

    After each kill the store holds what the acknowledged calls leave, or these and the one that was under way.

    Args:
        folder: of what the store should hold, and of the store if it is a file.
        kills: how many.
        seed: of calls and moments.
        where: the store; None takes a file.
        settle: called after each kill, until what the writer sent has been done or dropped; None checks the file.
    """
    rng = random.Random(seed)
    path = folder / "masklets.sqlite3"
    where, settle, next_call = where or path, settle or (lambda: whole_file(path)), 0
    with MaskletStore(folder / "model.sqlite3") as model:
        for _ in range(kills):
            last = killed(where, next_call, seed, rng.uniform(0, 0.4))
            for call in range(next_call, last + 1):
                apply(model, call, seed)
            settle()
            with MaskletStore(where) as store:
                found = contents(store)
            next_call = last + 1
            if found != contents(model):
                apply(model, next_call, seed)
                next_call += 1
                assert found == contents(model), f"after call {last} the store holds what no call left"
    return next_call


def part(numbers: range) -> Summary:
    """Kills of some numbers."""
    summary = Summary(count=len(numbers))
    with tempfile.TemporaryDirectory() as folder:
        try:
            summary.measured("acknowledged_calls", kill_often(Path(folder), len(numbers), numbers.start))
        except AssertionError as error:
            summary.violations.append(str(error))
    return summary


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", type=lambda word: word if "://" in word else Path(word))
    parser.add_argument("--begin", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20)
    given = parser.parse_args()
    if given.write:
        write_forever(given.write, given.begin, given.seed)
    with tempfile.TemporaryDirectory() as folder:
        calls = kill_often(Path(folder), given.kills, given.seed)
    print(f"{given.kills} kills, {calls} calls, nothing lost and nothing half")


if __name__ == "__main__":
    main()
