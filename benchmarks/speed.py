"""From a JPEG on disk to COCO RLEs: this package beside transformers on PyTorch, in turns, in one process, on random weights.

    python -m benchmarks.speed --models segformer-b0 --pictures 4 --rounds 7

JSON goes to stdout, a table to stderr; exit status 1 when the ratio of a model's medians misses its bar.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from locara_label import images
from locara_label.engine.loading import load
from locara_label.settings import Settings
from tests.parity import reference

PICTURES = Path(__file__).resolve().parents[1] / "fixtures" / "pictures"
PAUSE_S = 0.05
"""Between the sides: the worker threads of either spin for a moment after a run."""

DEEP_SHARE = 2
"""Of the four parts of SegFormer's fused features, how many the smooth variant keeps: those at 1/32 and 1/16."""


@dataclass(frozen=True)
class Case:
    """A model to time.

    Attributes:
        row: its catalogue name.
        bar: least ratio, theirs to ours.
        pictures, rounds: how many, where the command line does not say.
        variants: "noise" for random decisions at every pixel, "smooth" for those of coarse features.
    """

    row: str
    graph: str
    labels: int
    size_px: int
    bar: float
    pictures: int
    rounds: int
    variants: tuple[str, ...]


BOTH = ("noise", "smooth")
CASES = {
    "segformer-b0": Case("segformer-b0-finetuned-ade-512-512", "segformer-b0", 150, 512, 2.2, 4, 7, BOTH),
    "segformer-b5": Case("segformer-b5-finetuned-ade-640-640", "segformer-b5", 150, 640, 2.0, 2, 3, BOTH),
    "mask2former-swin-tiny": Case(
        "mask2former-swin-tiny-coco-instance", "mask2former-swin-tiny-q100", 80, 384, 1.35, 4, 7, ("noise",)
    ),
}


@dataclass
class Stopwatch:
    """Stands in for an object and adds up the seconds spent in one of its methods."""

    behind: Any
    method: str
    spent_s: float = 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.behind, name)
        return self._timed(found) if name == self.method else found

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self.spent_s += time.perf_counter() - start

        return timed


@dataclass
class Ours:
    """Decode, prepare, run, and all that follows; `stages` holds the milliseconds of the last picture."""

    model: Any
    stages: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        inside = vars(self.model)
        inside["_processor"] = self.prepare = Stopwatch(inside["_processor"], "prepare")
        inside["_session"] = self.run = Stopwatch(inside["_session"], "run")

    def __call__(self, path: Path) -> list[bytes]:
        self.prepare.spent_s = self.run.spent_s = 0.0
        start = time.perf_counter()
        image = images.read(path)
        decoded = time.perf_counter()
        found = [instance.mask.counts for instance in self.model.segment(image)]
        parts = [decoded - start, self.prepare.spent_s, self.run.spent_s]
        parts.append(time.perf_counter() - start - sum(parts))
        self.stages = {name: 1000 * part for name, part in zip(("decode", "prepare", "run", "post"), parts, strict=True)}
        return found


@dataclass
class Theirs:
    """The published processor, the model on PyTorch, the published post-processing, pycocotools."""

    published: reference.Reference

    def __call__(self, path: Path) -> list[bytes]:
        from PIL import Image
        from pycocotools import mask as coco

        image = Image.open(path).convert("RGB")
        masks = self._masks(image, (image.height, image.width))
        return [coco.encode(np.asfortranarray(mask))["counts"] for mask in masks]

    def _masks(self, image: Any, size: tuple[int, int]) -> list[Any]:
        import torch

        processor = self.published.processor
        with torch.no_grad():
            outputs = self.published.model(**processor(images=image, return_tensors="pt"))
            if hasattr(outputs, "masks_queries_logits"):
                found = processor.post_process_instance_segmentation(outputs, target_sizes=[size], return_binary_maps=True)
                return [mask.numpy().astype(np.uint8) for mask in (found[0]["segmentation"] if found[0]["segments_info"] else ())]
            labels = processor.post_process_semantic_segmentation(outputs, target_sizes=[size])[0].numpy()
        return [(labels == index).astype(np.uint8) for index in np.unique(labels)]


def smoothen(published: reference.Reference) -> None:
    """Lets a random SegFormer decide by coarse features and mostly for some twenty classes; the model's work stays the same."""
    import torch

    model, config = published.model, published.folder / "config.json"
    kept, head = config.read_text(), model.decode_head
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        deep = head.linear_fuse.weight.shape[1] * DEEP_SHARE // 4
        head.linear_fuse.weight[:, deep:] = 0
        loud = torch.rand(len(head.classifier.weight), generator=generator) < 20 / len(head.classifier.weight)
        head.classifier.weight.mul_(torch.where(loud, 4.0, 1.0)[:, None, None, None])
    model.save_pretrained(published.folder)
    config.write_text(kept)


def both_sides(case: Case, variant: str, folder: Path, threads: int) -> tuple[Ours, Theirs]:
    import torch

    made = reference.make(folder / "weights", case.graph, labels=case.labels, size_px=case.size_px, seed=0)
    if variant == "smooth":
        smoothen(made)
    torch.set_num_threads(threads)
    settings = Settings(cache_dir=folder / "cache", threads=threads)
    return Ours(load(case.row, made.folder, "cpu", settings=settings)), Theirs(made)


def timed_ms(side: Callable[[Path], list[bytes]], path: Path) -> tuple[float, int]:
    """Milliseconds, and how many masks there are."""
    time.sleep(PAUSE_S)
    start = time.perf_counter()
    found = side(path)
    return 1000 * (time.perf_counter() - start), len(found)


def one_round(ours: Ours, theirs: Theirs, paths: Sequence[Path]) -> dict[str, Any]:
    """Milliseconds and masks of either side, and milliseconds of our stages, for each picture."""
    found: dict[str, Any] = {"ours": [], "theirs": [], "stages": [], "masks": []}
    for path in paths:
        first = timed_ms(ours, path)
        second = timed_ms(theirs, path)
        found["ours"].append(first[0])
        found["theirs"].append(second[0])
        found["stages"].append(list(ours.stages.values()))
        found["masks"].append((first[1], second[1]))
    return found


def in_turns(sides: tuple[Ours, Theirs], paths: Sequence[Path], rounds: int, at_most_s: float) -> dict[str, Any]:
    """Arrays [rounds, pictures, ...] of what `one_round` finds. A round before them is thrown away; one at least is kept."""
    end = time.monotonic() + at_most_s
    one_round(*sides, paths)
    kept = [one_round(*sides, paths)]
    while len(kept) < rounds and time.monotonic() < end:
        kept.append(one_round(*sides, paths))
    return {name: np.array([found[name] for found in kept]) for name in kept[0]}


def summary(case: Case, took: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Means over pictures of the medians and minima over rounds; of the stages, the minima."""
    median, least = (
        {side: float(rule(took[side], axis=0).mean()) for side in ("ours", "theirs")} for rule in (np.median, np.min)
    )
    stages = dict(zip(names, np.min(took["stages"], axis=0).mean(axis=0).tolist(), strict=True))
    ratios = {"medians": median["theirs"] / median["ours"], "minima": least["theirs"] / least["ours"]}
    return {
        "masks": dict(zip(("ours", "theirs"), took["masks"].mean(axis=(0, 1)).round(1).tolist(), strict=True)),
        "median_ms": rounded(median),
        "min_ms": rounded(least),
        "ratio_of": rounded(ratios),
        "bar": case.bar,
        "stages_min_ms": rounded(stages),
        "beyond_run_percent": round(100 * (sum(stages.values()) / stages["run"] - 1), 1),
        "beyond_run_and_decode_percent": round(100 * (stages["prepare"] + stages["post"]) / stages["run"], 1),
    }


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in values.items()}


def measure(name: str, variant: str, chosen: argparse.Namespace) -> dict[str, Any]:
    case = CASES[name]
    paths = sorted(chosen.pictures_from.glob("*.jpg"))[: chosen.pictures or case.pictures]
    if not paths:
        raise SystemExit(f"there are no *.jpg in {chosen.pictures_from}")
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        sides = both_sides(case, variant, Path(folder), chosen.threads)
        took = in_turns(sides, paths, chosen.rounds or case.rounds, chosen.at_most_s)
        rounds, pictures = took["ours"].shape
        about = {"model": name, "variant": variant, "pictures": pictures, "rounds": rounds, "threads": chosen.threads}
        return {**about, **summary(case, took, list(sides[0].stages))}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown; times are medians, those of stages minima; the ratio is that of medians, then that of minima."""
    titles = ("model", "masks", "ours ms", "torch ms", "ratio", "bar", "decode", "prepare", "run", "post")
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in rows:
        both = "{medians:.2f} / {minima:.2f}".format(**row["ratio_of"])
        stages = " | ".join(f"{value:.1f}" for value in row["stages_min_ms"].values())
        times = f"{row['median_ms']['ours']:.0f} | {row['median_ms']['theirs']:.0f}"
        title = f"{row['model']} {row['variant']} | {row['masks']['ours']:.0f}"
        lines.append(f"| {title} | {times} | {both} | {row['bar']} | {stages} |")
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--variants", nargs="+", choices=BOTH, default=list(BOTH), help="of SegFormer's random weights")
    parser.add_argument("--pictures", type=int, default=0, help="0: as many as suit the model")
    parser.add_argument("--rounds", type=int, default=0, help="0: as many as suit the model")
    parser.add_argument("--at-most-s", type=float, default=120.0, metavar="SECONDS", help="of a model; later rounds are left out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pictures-from", type=Path, default=PICTURES, metavar="DIR")
    return parser.parse_args()


def main() -> int:
    chosen = parsed()
    wanted = [(name, kind) for name in chosen.models for kind in CASES[name].variants if kind in chosen.variants]
    rows = [measure(name, kind, chosen) for name, kind in wanted]
    print(json.dumps(rows, indent=2))
    print(table(rows), file=sys.stderr)
    return int(any(row["ratio_of"]["medians"] < row["bar"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
