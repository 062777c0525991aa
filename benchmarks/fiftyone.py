"""What FiftyOne adds to a model: `apply_model` and `prelabel` beside the bare engine on the same pictures.

    python -m benchmarks.fiftyone [--model mini] [--pictures 500] [--size 256x256] [--at-a-time 10]

Needs an environment with FiftyOne, and its database (FIFTYONE_DATABASE_URI, or the mongod that comes with it). All sides work in
one process, in turns of `--at-a-time` pictures, the bare engine before and after each other side, so that what disturbs the
machine disturbs them alike. The bare engine reads a file and finds its regions; the others also write them to the database.
Prints JSON; ends with 1 when the bar is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from fixtures.scenes import EVALUATION_SEED, make_scene
from locara_label import images
from locara_label.hosts.fiftyone import model as fiftyone_model
from locara_label.hosts.fiftyone.finders import Segmenter

BAR = 1.10


def write_pictures(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """JPEG-like scenes as PNG files; every 50th is new, the others are copies, which the models do not know."""
    paths: list[Path] = []
    for number in range(count):
        path = folder / f"{number}.png"
        if number < 50:
            images.write_png(path, make_scene(EVALUATION_SEED + number, size).image)
        else:
            path.write_bytes(paths[number % 50].read_bytes())
        paths.append(path)
    return paths


@contextmanager
def dataset_of(paths: Sequence[Path]) -> Iterator[Any]:
    import fiftyone as fo

    fo.config.show_progress_bars = False
    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(filepath=str(path)) for path in paths])
    try:
        yield dataset
    finally:
        dataset.delete()


def sides(segmenter: Segmenter, dataset: Any) -> dict[str, Callable[[int, int], object]]:
    """What each side does with the pictures from one number to another; `prelabel` is one run over all of them."""
    from locara_label.hosts.fiftyone.factory import of_finder
    from locara_label.hosts.fiftyone.prelabel import prelabel

    paths, ours = dataset.values("filepath"), of_finder(segmenter)
    steps = prelabel(dataset, segmenter, "labeled")
    return {
        "bare": lambda start, stop: [segmenter.model.segment(images.read(path)) for path in paths[start:stop]],
        "apply_model": lambda start, stop: dataset[start:stop].apply_model(ours, "applied", skip_failures=False),
        "prelabel": lambda start, stop: list(islice(steps, stop - start)),
    }


Time = tuple[float, float]
"""Seconds by the clock, and of processor time of this process (without the database's)."""


def timed(work: Callable[[int, int], object], start: int, stop: int) -> Time:
    began = time.perf_counter(), time.process_time()
    work(start, stop)
    return time.perf_counter() - began[0], time.process_time() - began[1]


def measure(segmenter: Segmenter, dataset: Any, at_a_time: int) -> dict[str, list[tuple[Time, Time]]]:
    """By side, its time and the mean of the bare engine's just before and after, for each turn but the first."""
    all_sides = sides(segmenter, dataset)
    bare, found = all_sides.pop("bare"), dict[str, list[tuple[Time, Time]]]()
    for turn, start in enumerate(range(0, len(dataset), at_a_time)):
        stop = min(start + at_a_time, len(dataset))
        before = timed(bare, start, stop)
        for name, work in all_sides.items():
            own, after = timed(work, start, stop), timed(bare, start, stop)
            between = (before[0] + after[0]) / 2, (before[1] + after[1]) / 2
            if turn:
                found.setdefault(name, []).append((own, between))
            before = after
    return found


def summary(found: dict[str, list[tuple[Time, Time]]], pictures: int, at_a_time: int) -> dict[str, Any]:
    """Milliseconds a picture, and medians over turns of the ratio to the bare engine, by the clock and of processor time."""
    result: dict[str, Any] = {"pictures": pictures, "at_a_time": at_a_time, "bar": BAR}
    for name, turns in found.items():
        row = {}
        for kind, prefix in enumerate(("", "cpu_")):
            own, bare = ([side[kind] for side in sides] for sides in zip(*turns, strict=True))
            row[f"{prefix}ms"] = round(1000 * statistics.median(own) / at_a_time, 2)
            row[f"bare_{prefix}ms"] = round(1000 * statistics.median(bare) / at_a_time, 2)
            row[f"{prefix}ratio"] = round(statistics.median(a / b for a, b in zip(own, bare, strict=True)), 3)
        result[name] = row
    return result


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--size", default="256x256", help="WIDTHxHEIGHT")
    parser.add_argument("--at-a-time", type=int, default=10)
    options = parser.parse_args(argv)
    width, height = (int(part) for part in options.size.split("x"))
    segmenter = fiftyone_model(options.model).finder
    with tempfile.TemporaryDirectory() as folder:
        paths = write_pictures(Path(folder), options.pictures, (height, width))
        with dataset_of(paths) as dataset:
            result = summary(measure(segmenter, dataset, options.at_a_time), options.pictures, options.at_a_time)
    print(json.dumps({"model": segmenter.name, "size": [height, width], **result}, indent=1))
    return int(any(result[name]["ratio"] > BAR for name in ("apply_model", "prelabel")))


if __name__ == "__main__":
    sys.exit(main())
