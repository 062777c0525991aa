"""Memory and time of the process that plans a job and merges its shards, at a million pictures.

    python -m benchmarks.planning [--pictures 1000000] [--shard-size 256]

Names, sizes and times are generated; no picture is read and no model runs: a `Map` makes up the rows, one small mask a picture.
Three processes after each other, each with its peak of memory: `plan` freezes a plan and finds nothing done, `resume` reads that
plan again and compares it, `finish` writes all shards, surveys them and merges a COCO file.
Prints JSON (bar: 1 GB for `plan` and `resume` at a million).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from locara_label.batch import job
from locara_label.batch.folder import Folder
from locara_label.batch.inputs import Item
from locara_label.batch.plan import Plan, Shard
from locara_label.batch.rows import Labelled, to_line
from locara_label.batch.runner import Facts
from locara_label.batch.worker import Control, ModelSource, Outcome, Task
from locara_label.models.base import SegmentationModel
from locara_label.types import Instance, Label, Mask

LABELS = tuple(Label(index, f"class {index}") for index in range(150))


def items(count: int) -> tuple[Item, ...]:
    return tuple(
        Item(f"camera-{n % 50:02}/2026-11-21/frame-{n:09}.jpg", 250_000 + n, 1_795_285_118_000_000_000 + n) for n in range(count)
    )


def no_model() -> SegmentationModel:
    raise AssertionError("no model is needed")


def made_up(task: Task, shards: Sequence[Shard], control: Control) -> Iterator[Outcome]:
    """A `Map` that writes rows of one mask."""
    del control
    inside = np.zeros((480, 640), bool)
    inside[100:200, 50:300] = True
    found = (Instance("class 7", 7, 0.5, Mask.from_array(inside), is_stuff=False),)
    folder = Folder(Path(str(task.folder)))
    for shard in shards:
        folder.write_shard(shard, [to_line(Labelled(item.file_name, (480, 640), found)) for item in shard.items])
        yield Outcome(shard.number, len(shard.items), ())


def nothing(task: Task, shards: Sequence[Shard], control: Control) -> Iterator[Outcome]:
    del task, shards, control
    return iter(())


def phase(name: str, out: Path, count: int, shard_size: int) -> None:
    started, cpu = time.monotonic(), time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    frozen = Plan("made-up", "w" * 64, "instance", None, items(count), shard_size)
    planned = job.Job(frozen, out.parent, out, ModelSource(no_model))
    job.run(planned, made_up if name == "finish" else nothing, lambda _: Facts("CPUExecutionProvider", LABELS))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "peak_mib": round(peak / 1024),
                "before_mib": round(before / 1024),
                "cpu_s": round(time.process_time() - cpu, 1),
                "seconds": round(time.monotonic() - started, 1),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--shard-size", type=int, default=256)
    parser.add_argument("--phase", choices=["plan", "resume", "finish"])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.phase:
        phase(options.phase, options.out, options.pictures, options.shard_size)
        return
    with tempfile.TemporaryDirectory(prefix="planning-") as folder:
        out = Path(folder, "out")
        words = [sys.executable, "-m", "benchmarks.planning", "--pictures", str(options.pictures), "--out", str(out)]
        words += ["--shard-size", str(options.shard_size)]
        found = {
            name: json.loads(subprocess.run([*words, "--phase", name], check=True, capture_output=True).stdout)
            for name in ("plan", "resume", "finish")
        }
        plan_mib = round((out / "plan.json").stat().st_size / 2**20)
    print(json.dumps({"pictures": options.pictures, "shard_size": options.shard_size, "plan_mib": plan_mib, **found}))


if __name__ == "__main__":
    main()
