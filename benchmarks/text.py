"""A prompt of three phrases on a picture by Grounding DINO, beside PyTorch on the same random weights, in one process.

    python -m benchmarks.text [--model grounding-dino-tiny] [--rounds 5] [--threads 2]

Four ways take turns, round by round: everything by PyTorch (the published processor, transformers' model, its post-processing);
everything by us, with nothing kept; a new prompt on a picture whose features are kept; and the same prompt once more, whose own
features are kept too. JSON goes to stdout, a table to stderr; exit status 1 when the bar is missed.
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

from fixtures.scenes import make_scene
from locara_label.engine.loading import load_text_model
from locara_label.settings import Settings
from locara_label.types import TextPrompt
from tests.models import bert_files
from tests.parity import grounding_dino_reference
from tests.parity.grounding_dino_reference import TextReference
from tools.architectures import ARCHITECTURES

SIZE = (600, 800)
"""Of the picture; the published processor makes it 800 x 1066 pixels."""
EDGES = (800, 1333)
PHRASES = ("red car", "person", "traffic light")
BAR = 1.6
PAUSE_S = 0.05

Way = Callable[[], int]
"""Gives the number of boxes."""


def ours(model: Any, image: Any, prompt: TextPrompt) -> dict[str, Way]:
    """Our three ways. What a model keeps of prompts is forgotten where a prompt is to be new."""
    kept = model.encode(image)

    def anew() -> int:
        vars(model)["_features"].cache_clear()
        return len(model.decode_many(model.encode(image), [prompt])[0])

    def new_prompt() -> int:
        vars(model)["_features"].cache_clear()
        return again()

    def again() -> int:
        return len(model.decode_many(kept, [prompt])[0])

    return {"ours": anew, "new_prompt": new_prompt, "again": again}


def theirs(expected: TextReference, image: Any, thresholds: tuple[float, float]) -> Way:
    text = ". ".join(PHRASES) + "."
    return lambda: len(expected.found(expected.see(image, text), *thresholds))


def in_turns(ways: dict[str, Way], rounds: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Milliseconds and boxes of every way; a first round is thrown away."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    boxes: dict[str, int] = {}
    for number in range(-1, rounds):
        for name, way in ways.items():
            time.sleep(PAUSE_S)
            began = time.perf_counter()
            boxes[name] = way()
            if number >= 0:
                took[name].append(1000 * (time.perf_counter() - began))
    return took, boxes


def measure(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import torch

    build = ARCHITECTURES[f"{chosen.model}-image"]().build
    weights = folder / "weights"
    expected = grounding_dino_reference.make(weights, lambda: build(0), vocabulary=bert_files.pieces(), edges=EDGES, seed=0)
    torch.set_num_threads(chosen.threads)
    model = load_text_model(chosen.model, weights, "cpu", settings=Settings(cache_dir=folder / "cache", threads=chosen.threads))
    image = make_scene(0, SIZE).image
    seen = expected.see(image, ". ".join(PHRASES) + ".")
    thresholds = grounding_dino_reference.thresholds(seen.chances)
    ways = {"torch": theirs(expected, image, thresholds), **ours(model, image, TextPrompt(PHRASES, *thresholds))}
    took, boxes = in_turns(ways, chosen.rounds)
    input_px = [int(side) for side in seen.inputs["pixel_values"].shape[2:]]
    about = {"model": chosen.model, "input_px": input_px, "tokens": seen.tokens, "threads": chosen.threads, "boxes": boxes}
    return {**about, "rounds": chosen.rounds, **summary(took), "bar": BAR}


def summary(took: dict[str, list[float]]) -> dict[str, Any]:
    """Medians and minima, and PyTorch's as a multiple of each of ours."""
    found: dict[str, Any] = {}
    for name, rule in (("median", np.median), ("min", np.min)):
        ms = {way: round(float(rule(values)), 1) for way, values in took.items()}
        found[f"{name}_ms"] = ms
        found[f"ratio_of_{name}"] = {way: round(ms["torch"] / value, 2) for way, value in ms.items() if way != "torch"}
    return found


def table(row: dict[str, Any]) -> str:
    """Markdown; the ratio is that of medians, then that of minima."""
    lines = ["| way | median ms | min ms | ratio |", "|---|---|---|---|"]
    for way, ms in row["median_ms"].items():
        ratio = f"{row['ratio_of_median'][way]} / {row['ratio_of_min'][way]}" if way != "torch" else ""
        lines.append(f"| {way} | {ms} | {row['min_ms'][way]} | {ratio} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["grounding-dino-tiny", "grounding-dino-base"], default="grounding-dino-tiny")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="text-") as folder:
        row = measure(chosen, Path(folder))
    print(json.dumps(row, indent=2))
    print(table(row), file=sys.stderr)
    return int(row["ratio_of_median"]["ours"] < BAR)


if __name__ == "__main__":
    sys.exit(main())
