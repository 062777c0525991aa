"""What a batch costs beyond bare sessions: seconds a picture of `prelabel`, JPEG to COCO rows, against `session.run` alone.

    python -m benchmarks.batch_overhead [--pictures 48] [--rounds 3]

Both run SegFormer-B0 with random weights, in turn: the batch as it comes, the bare session on two threads.
Prints JSON with the ratio of the medians (bar: 1.10).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from locara_label.engine.loading import load
from locara_label.settings import Settings
from tests.parity import reference

MODEL = "segformer-b0-finetuned-ade-512-512"
PICTURES = Path(__file__).parent.parent / "fixtures" / "pictures"


def copies(folder: Path, count: int) -> None:
    sources = sorted(PICTURES.glob("*.jpg"))
    folder.mkdir()
    for index in range(count):
        shutil.copy(sources[index % len(sources)], folder / f"{index:04}.jpg")


def batch_s(folder: Path, weights: Path, out: Path) -> float:
    """Seconds a picture, without start and loading."""
    words = [sys.executable, "-m", "locara_label", "prelabel", str(folder), "--model", MODEL, "--weights", str(weights)]
    environment = {**os.environ, "LOCARA_CACHE_DIR": str(out.parent / "cache")}
    done = subprocess.run([*words, "--out", str(out), "--json"], env=environment, capture_output=True, text=True, check=True)
    return 1 / float(json.loads(done.stdout)["pictures_per_s"])


def bare_s(weights: Path, cache: Path, count: int) -> float:
    session = vars(load(MODEL, weights, "cpu", settings=Settings(cache_dir=cache, threads=2)))["_session"]
    pixels = {"pixel_values": np.zeros((1, 3, 512, 512), np.float32)}
    session.run(pixels)
    started = time.perf_counter()
    for _ in range(count):
        session.run(pixels)
    return (time.perf_counter() - started) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference.make(folder / "weights", "segformer-b0", labels=150, size_px=512, seed=0)
        copies(folder / "pictures", options.pictures)
        pairs = [
            (
                batch_s(folder / "pictures", folder / "weights", folder / f"out{n}"),
                bare_s(folder / "weights", folder / "cache", 30),
            )
            for n in range(options.rounds)
        ]
    batch, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(
        json.dumps(
            {"batch_ms": round(batch * 1e3, 1), "bare_ms": round(bare * 1e3, 1), "ratio": round(batch / bare, 3), "bar": 1.1}
        )
    )


if __name__ == "__main__":
    main()
