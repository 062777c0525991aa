"""SAM 2.1 through video, beside PyTorch on the same random weights, frame by frame in one process.

    python -m benchmarks.masklets [--model sam2.1-hiera-tiny] [--objects 1 3] [--frames 10] [--threads 2]

Both sides take turns on every frame: the picture's features, the memory attention, the decoder and the memory encoder of each
object. The first frame shows the objects by boxes; frames count once the memory is full. `object_share` is what another object
costs as a share of what a frame with one object costs. JSON goes to stdout; exit status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fixtures.scenes import make_clip
from locara_label.engine.loading import load_video_model
from locara_label.models.base import VideoModel
from locara_label.models.sam2_video import Sam2Video
from locara_label.models.video_memory import FORWARD, REFERENCE, Asked, Course
from locara_label.settings import Settings
from locara_label.types import Box, Prompt
from tests.parity.sam2_video_reference import Sam2VideoReference, randomised
from tools.architectures import ARCHITECTURES

FILLED = 7
"""Frames until a memory is full."""
LEAST_RATIO, MOST_SHARE = 1.3, 0.4
PAUSE_S = 0.05

Step = Callable[[int], object]
"""All of one frame."""


def boxes(count: int, side: int) -> dict[int, Prompt]:
    """A box for each object, by its number."""
    starts = (side * (1 + at) / (count + 2) for at in range(count))
    return {number: Prompt(box=Box(start, start, start + side / 5, start + side / 4)) for number, start in enumerate(starts, 1)}


def ours(model: VideoModel, frames: list[Any], prompts: dict[int, Prompt]) -> Step:
    banks = [model.bank() for _ in prompts]

    def step(frame: int) -> None:
        given = prompts.values() if not frame else [None] * len(banks)
        asked = [Asked(bank, prompt) for bank, prompt in zip(banks, given, strict=True)]
        model.step(model.encode(frames[frame]), frame, asked, Course(FORWARD, len(frames)))

    return step


def theirs(reference: Sam2VideoReference, prompts: dict[int, Prompt]) -> Step:
    return lambda frame: reference.step(frame, {} if frame else prompts)


def in_turns(ways: dict[str, Step], frames: int) -> dict[str, list[float]]:
    """Milliseconds of every way on each frame with a full memory."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for frame in range(frames):
        for name, step in ways.items():
            time.sleep(PAUSE_S)
            began = time.perf_counter()
            step(frame)
            if frame >= FILLED:
                took[name].append(1000 * (time.perf_counter() - began))
    return took


def measure(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import torch

    torch.set_num_threads(chosen.threads)
    config = ARCHITECTURES[f"{chosen.model}-encoder"]().build(0).config
    reference = randomised(config, folder / "weights", 1, 0.3)
    frames = [frame.image for frame in make_clip(0, chosen.frames, (reference.image_size,) * 2).frames]
    settings = Settings(cache_dir=folder / "cache", threads=chosen.threads)
    model = load_video_model(chosen.model, folder / "weights", "cpu", settings=settings, rules=REFERENCE)
    assert isinstance(model, Sam2Video)
    rows: dict[int, dict[str, list[float]]] = {}
    for objects in chosen.objects:
        prompts = boxes(objects, model.side)
        session = Sam2VideoReference(folder / "weights", reference, frames)
        rows[objects] = in_turns({"torch": theirs(session, prompts), "ours": ours(model, frames, prompts)}, chosen.frames)
    about = {"model": chosen.model, "threads": chosen.threads, "frames": chosen.frames - FILLED}
    return about | summary(rows) | {"bars": {"ratio": LEAST_RATIO, "object_share": MOST_SHARE}}


def summary(rows: dict[int, dict[str, list[float]]]) -> dict[str, Any]:
    """Medians and minima by number of objects, PyTorch's as a multiple of ours, and the share of a further object."""
    found: dict[str, Any] = {}
    for name, rule in (("median", np.median), ("min", np.min)):
        ms = {objects: {way: round(float(rule(times))) for way, times in row.items()} for objects, row in rows.items()}
        found[f"{name}_ms"] = ms
        found[f"ratio_of_{name}"] = {objects: round(row["torch"] / row["ours"], 2) for objects, row in ms.items()}
        if 1 in ms and len(ms) > 1:
            most, one = max(ms), ms[1]
            shares = {way: (ms[most][way] - one[way]) / (most - 1) / one[way] for way in one}
            found[f"object_share_of_{name}"] = {way: round(share, 2) for way, share in shares.items()}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = [f"sam2.1-hiera-{size}" for size in ("tiny", "small", "base-plus", "large")]
    parser.add_argument("--model", choices=sizes, default=sizes[0])
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--frames", type=int, default=10, help=f"the first {FILLED} fill the memory")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="masklets-") as folder:
        row = measure(chosen, Path(folder))
    print(json.dumps(row, indent=2))
    share = row.get("object_share_of_median", {}).get("ours", 0)
    return int(min(row["ratio_of_median"].values()) < LEAST_RATIO or share > MOST_SHARE)


if __name__ == "__main__":
    sys.exit(main())
