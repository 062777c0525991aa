"""Kills `locara-label prelabel` at random moments and compares what the next run makes of it with an uninterrupted run.

python -m tests.faults.batch_kill --kills 20 [--runner ray]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2

from fixtures.scenes import EVALUATION_SEED, make_scene
from locara_label.weights.store import MINI
from tests.hostile.judging import Summary

PICTURES = 48
"""Three shards."""
PRELABEL = [sys.executable, "-c", "from locara_label.cli import main; main()", "prelabel"]
OPTIONS = [
    "--model",
    "segformer-mini",
    "--format",
    "coco",
    "--format",
    "panoptic",
    "--format",
    "semantic",
    "--threads",
    "1",
    "--json",
]


def write_scenes(folder: Path, count: int, size=(96, 128)) -> Path:
    folder.mkdir(parents=True)
    shutil.copytree(MINI / "segformer", weights_beside(folder))  # whoever trains the shipped ones meanwhile changes no plan here
    for number in range(count):
        image = make_scene(EVALUATION_SEED + number, size).image
        cv2.imwrite(str(folder / f"{number:04d}.jpg"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    (folder / "0003.jpg").write_bytes(b"not a picture")
    return folder


def weights_beside(pictures: Path) -> Path:
    return pictures.with_name(f"{pictures.name}-weights")


def command(pictures: Path, out: Path) -> list[str]:
    return [*PRELABEL, str(pictures), "--out", str(out), "--weights", str(weights_beside(pictures)), *OPTIONS]


def run(pictures: Path, out: Path, *options: str) -> dict:
    """A whole run; one picture is bad, so the exit code is 3."""
    done = subprocess.run([*command(pictures, out), *options], capture_output=True, text=True, check=False)
    if done.returncode != 3:
        raise AssertionError(f"exit code {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def run_killed(pictures: Path, out: Path, after_s: float) -> bool:
    """Starts a run and kills it; whether it was still running."""
    process = subprocess.Popen(command(pictures, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def stage(out: Path) -> str:
    """How far a killed run had come."""
    shards = len(list((out / "shards").glob("0*.jsonl"))) if out.exists() else 0
    if (out / "failures.json").exists():
        return "all written"
    if any((out / name).exists() for name in ("coco.json", "panoptic", "semantic")):
        return "writing data sets"
    return f"{shards} shards" if (out / "plan.json").exists() else "before the plan"


def stamps(out: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (out / "shards").glob("0*.jsonl")}


def kill_and_compare(pictures: Path, out: Path, after_s: float, wanted: dict[str, bytes], kills: int = 1) -> str:
    """Kills a run (several times, if wanted), resumes it, and compares everything. Returns the stage of the last kill."""
    for _ in range(kills):
        run_killed(pictures, out, after_s)
    reached = stage(out)
    before = stamps(out)
    result = run(pictures, out)
    after = stamps(out)
    if not result["complete"] or any(after[name] != stamp for name, stamp in before.items()):
        raise AssertionError(f"a finished shard was redone after a kill at {after_s:.3f} s ({reached})")
    found = tree(out)
    if found != wanted:
        names = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        raise AssertionError(f"after a kill at {after_s:.3f} s ({reached}) these differ: {names}")
    return reached


def kill_often(folder: Path, kills: int, count: int, seed: int) -> dict:
    pictures = write_scenes(folder / "pictures", count)
    run(pictures, folder / "warm")  # the optimised model is cached once
    started = time.monotonic()
    run(pictures, folder / "whole")
    whole_s = time.monotonic() - started
    wanted, rng, reached = tree(folder / "whole"), random.Random(seed), Counter()
    for number in range(kills):
        out = folder / f"killed-{number}"
        reached[kill_and_compare(pictures, out, rng.uniform(0.15, 1) * whole_s, wanted)] += 1
        shutil.rmtree(out)
    return {"kills": kills, "pictures": count, "whole_run_s": round(whole_s, 2), "identical": kills, "killed_at": dict(reached)}


def part(numbers: range) -> Summary:
    """Kills of some numbers."""
    summary, began = Summary(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="batch-kill-") as folder:
        try:
            found = kill_often(Path(folder), len(numbers), PICTURES, numbers.start)
        except AssertionError as error:
            summary.violations.append(f"kills {numbers.start} to {numbers.stop - 1}: {error}")
        else:
            summary.outcomes += Counter({f"killed at: {stage}": count for stage, count in found["killed_at"].items()})
            summary.measured("whole_run_s", found["whole_run_s"])
    summary.count = len(numbers)
    summary.slowest = (time.monotonic() - began) / len(numbers), "mean of a part"
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=80)
    parser.add_argument("--runner", choices=["local", "ray"], default="local")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    OPTIONS.extend(["--runner", options.runner])
    with tempfile.TemporaryDirectory(prefix="batch-kill-") as folder:
        print(json.dumps(kill_often(Path(folder), options.kills, options.pictures, options.seed)))


if __name__ == "__main__":
    main()
