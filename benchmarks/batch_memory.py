"""Peak memory of `locara-label prelabel` on few and on many pictures; it must not grow with their number.

python -m benchmarks.batch_memory --few 50 --many 500
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2

from fixtures.scenes import EVALUATION_SEED, make_scene

DIFFERENT_SCENES = 50


def write_pictures(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """JPEGs of scenes at (height, width); after the first `DIFFERENT_SCENES` they repeat."""
    folder.mkdir()
    for number in range(min(count, DIFFERENT_SCENES)):
        image = cv2.cvtColor(make_scene(EVALUATION_SEED + number, size).image, cv2.COLOR_RGB2BGR)
        content = cv2.imencode(".jpg", image)[1].tobytes()
        for copy in range(number, count, DIFFERENT_SCENES):
            (folder / f"{copy:05d}.jpg").write_bytes(content)
    return folder


def peak_rss(pictures: Path, out: Path, options: list[str]) -> tuple[int, dict[str, Any]]:
    """Bytes of the largest resident set of one run in a process of its own, and what the run says of itself."""
    line = [sys.executable, "-c", "from locara_label.cli import main; main()", "prelabel", str(pictures), "--out", str(out)]
    with subprocess.Popen([*line, *options, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        said = process.stdout.read() if process.stdout else b""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"prelabel ended with {process.returncode}: {said.decode()}")
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit, json.loads(said)


def compare(folder: Path, counts: tuple[int, int], size: tuple[int, int], options: list[str]) -> dict[str, Any]:
    """Runs both and puts them side by side. A first run makes what later ones find in the cache."""
    peak_rss(write_pictures(folder / "warm", 1, size), folder / "warm-out", options)
    peaks, rates = [], []
    for count in counts:
        peak, said = peak_rss(write_pictures(folder / f"{count}", count, size), folder / f"{count}-out", options)
        peaks.append(peak)
        rates.append(said["pictures_per_s"])
    return {
        "pictures": counts,
        "size_px": size,
        "options": options,
        "peak_rss_mib": [round(peak / 2**20, 1) for peak in peaks],
        "ratio": round(peaks[1] / peaks[0], 3),
        "pictures_per_s": rates,
    }


def main() -> None:
    """Print one JSON object; anything after `--` goes to prelabel."""
    parser = argparse.ArgumentParser(description="Compare the peak memory of prelabel runs.")
    parser.add_argument("--few", type=int, default=50)
    parser.add_argument("--many", type=int, default=500)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("options", nargs="*", default=["--task", "semantic", "--format", "coco", "--format", "panoptic"])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batch-memory-") as folder:
        sizes = (chosen.few, chosen.many), (chosen.height, chosen.width)
        print(json.dumps(compare(Path(folder), *sizes, chosen.options)))


if __name__ == "__main__":
    main()
