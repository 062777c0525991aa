"""Peak memory of following an object through a short and through a long clip; it must not grow with the length.

    python -m benchmarks.video_memory [--model classic] [--weights DIR] --few 500 --many 10000

Every run is a process of its own, which opens an H.264 file and follows one object through all of it. Its decoder is another
process; both peaks are told. JSON goes to stdout; exit status 1 when the long clip takes more than the bar allows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

from fixtures.scenes import TEST_SEED, make_clip
from locara_label.types import Mask
from locara_label.video.writing import write_video

MOST_GROWTH_MIB = 50
DRAWN = 120
"""Different frames; longer clips go through them forth and back."""

PROGRAM = """
import json, resource, sys
from locara_label import Box, Prompt, open_video
from locara_label.engine.loading import load_video_model

path, name, weights, box = sys.argv[1], sys.argv[2], sys.argv[3] or None, json.loads(sys.argv[4])
frames = present = 0
with open_video(path, model=load_video_model(name, weights)) as session:
    session.prompt(0, 1, Prompt(box=Box(*box)))
    for step in session.propagate(max_frames=1_000_000):
        frames += 1
        present += step.objects[1].present
peaks = {"peak_mib": resource.RUSAGE_SELF, "decoder_mib": resource.RUSAGE_CHILDREN}
said = {name: round(resource.getrusage(who).ru_maxrss / 1024, 1) for name, who in peaks.items()}
print(json.dumps({"frames": frames, "present": present, **said}))
"""


def write_clip(path: Path, count: int, side: int) -> list[float]:
    """An H.264 file of so many frames; gives the box of an object on the first."""
    drawn = make_clip(TEST_SEED, min(count, DRAWN), (side, side)).frames
    there_and_back = chain(drawn, drawn[-2:0:-1])
    write_video(path, (frame.image for frame in islice(cycle(list(there_and_back)), count)), 30)
    box = Mask.from_array(drawn[0].objects[0].mask).box
    return [box.x0, box.y0, box.x1, box.y1]


def follow(clip: Path, box: list[float], options: argparse.Namespace) -> dict[str, Any]:
    line = [sys.executable, "-c", PROGRAM, str(clip), options.model, str(options.weights or ""), json.dumps(box)]
    run = subprocess.run(line, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(run.stderr)
    return dict(json.loads(run.stdout))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="classic")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--few", type=int, default=500)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=128, help="height and width of the frames in pixels")
    options = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory(prefix="video-memory-") as folder:
        for count in (options.few, options.many):
            clip = Path(folder) / f"{count}.mp4"
            runs.append(follow(clip, write_clip(clip, count, options.side), options))
    growth = {name: round(runs[1][name] - runs[0][name], 1) for name in ("peak_mib", "decoder_mib")}
    print(json.dumps({"model": options.model, "side_px": options.side, "runs": runs, "growth_mib": growth}, indent=2))
    return int(max(growth.values()) > MOST_GROWTH_MIB)


if __name__ == "__main__":
    sys.exit(main())
