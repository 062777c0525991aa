"""What a Ray cluster costs beside the local runner, and what a second worker brings.

    python -m benchmarks.ray_runner [--pictures 2000] [--rounds 1] [--model mini|segformer-b0]

Runs in turn on the same pictures: the local runner on one thread, Ray with one worker, Ray with two. Prints JSON with, for each,
seconds by the clock, processor time by kind of process, and pictures a second between the first shard and the last; and

- `overhead_cpu`: processor time of one Ray worker's whole run, cluster and start included, over that of the local run (bar: 1.15
  on 2,000 pictures)
- `overhead_clock`: the same by the clock; the local run works on two pictures at a time where there are two cores
- `efficiency_cpu`: processor time of the actors for a picture, with one over with two (bar: 0.85)
- `efficiency_clock`: pictures a second with two workers over twice those with one (bar: 0.85 on two idle cores)

`segformer-b0` has the size of the published model and random weights; it needs the development dependencies.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.batch_memory import write_pictures
from locara_label.batch.plan import SHARD_SIZE

SIZE = (480, 640)
SHARD = SHARD_SIZE
"""With much smaller ones Ray ends idle decoders between two of them, and starts others."""
B0 = "segformer-b0-finetuned-ade-512-512"
RUNS = {
    "local": ["--threads", "1"],
    "ray_1": ["--runner", "ray", "--num-actors", "1"],
    "ray_2": ["--runner", "ray", "--num-actors", "2"],
}


def model_words(name: str, folder: Path) -> list[str]:
    if name == "mini":
        return ["--task", "semantic"]
    from tests.parity import reference

    reference.make(folder / "weights", "segformer-b0", labels=150, size_px=512, seed=0)
    return ["--model", B0, "--weights", str(folder / "weights")]


def rate(out: Path, pictures_in_shard: int) -> float:
    """Pictures a second from the first finished shard to the last: without start, loading and data sets."""
    times = sorted(path.stat().st_mtime for path in (out / "shards").glob("*.jsonl"))
    return (len(times) - 1) * pictures_in_shard / (times[-1] - times[0])


def measure(folder: Path, kind: str, words: list[str]) -> dict[str, Any]:
    out = folder / "out"
    cost = processes.prelabel(
        folder / "pictures",
        "--out",
        out,
        "--new",
        "--shard-size",
        SHARD,
        *words,
        *RUNS[kind],
        LOCARA_CACHE_DIR=str(folder / "cache"),
    )
    return {
        "seconds": round(cost.seconds, 1),
        "cpu_s": cost.cpu_s,
        "total_cpu_s": round(cost.total_cpu_s, 1),
        "pictures_per_s": round(rate(out, SHARD), 2),
        "coco": hash((out / "coco.json").read_bytes()),
    }


def compared(rounds: list[dict[str, dict[str, Any]]], pictures: int) -> dict[str, Any]:
    def middle(kind: str, key: str) -> float:
        return float(statistics.median(one[kind][key] for one in rounds))

    def actors(kind: str) -> float:
        return float(statistics.median(one[kind]["cpu_s"]["actors"] for one in rounds))

    return {
        "overhead_cpu": round(middle("ray_1", "total_cpu_s") / middle("local", "total_cpu_s"), 3),
        "overhead_clock": round(middle("ray_1", "seconds") / middle("local", "seconds"), 3),
        "efficiency_cpu": round(actors("ray_1") / actors("ray_2"), 3),
        "efficiency_clock": round(middle("ray_2", "pictures_per_s") / 2 / middle("ray_1", "pictures_per_s"), 3),
        "actor_cpu_ms": {kind: round(actors(kind) / pictures * 1e3, 2) for kind in ("ray_1", "ray_2")},
        "identical": len({one[kind]["coco"] for one in rounds for kind in RUNS}) == 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--model", choices=["mini", "segformer-b0"], default="mini")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ray-runner-") as name:
        folder = Path(name)
        words = model_words(options.model, folder)
        write_pictures(folder / "pictures", options.pictures, SIZE)
        load = os.getloadavg()[0]
        rounds = [{kind: measure(folder, kind, words) for kind in RUNS} for _ in range(options.rounds)]
    found = {
        "model": options.model,
        "pictures": options.pictures,
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
    }
    print(json.dumps({**found, **compared(rounds, options.pictures), "rounds": rounds}))


if __name__ == "__main__":
    main()
