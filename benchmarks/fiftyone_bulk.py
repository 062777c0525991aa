"""Loading results of a job into FiftyOne, beside what FiftyOne reaches when it writes labels that lie ready in memory.

    python -m benchmarks.fiftyone_bulk [--pictures 4096] [--masks 10] [--size 480x640]

Needs an environment with FiftyOne. Both sides write the same masks to samples that are there, in turns of one slice, which is
a job of its own, so that none of ours is read ahead in the other's turn: `raw` is `set_values` with Detections made beforehand,
ours reads shards, decodes RLE and writes. Prints JSON with the ratio of the sums (bar: 0.80 of the raw speed), by the clock and
by processor time of this process; ends with 1 when the bar is missed.
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

from benchmarks.planning import LABELS
from locara_label.batch.folder import Folder
from locara_label.batch.inputs import Item
from locara_label.batch.plan import Plan
from locara_label.batch.rows import Labelled, Row, to_line
from locara_label.types import Instance, Mask

BAR = 0.80


def rows(count: int, masks: int, size: tuple[int, int]) -> list[Row]:
    """Ellipses of many sizes and places."""
    rng = np.random.default_rng(0)
    down, right = np.mgrid[: size[0], : size[1]]

    def instance() -> Instance:
        y, x, high, wide = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9), rng.uniform(0.03, 0.3), rng.uniform(0.03, 0.3)
        inside = ((down / size[0] - y) / high) ** 2 + ((right / size[1] - x) / wide) ** 2 <= 1
        return Instance(
            LABELS[index := int(rng.integers(150))].name, index, round(float(rng.random()), 6), Mask.from_array(inside)
        )

    pool = [instance() for _ in range(200)]
    return [Labelled(f"{n:06}.jpg", size, tuple(pool[(n * 7 + k * 13) % 200] for k in range(masks))) for n in range(count)]


def write_results(folder: Path, made: list[Row]) -> None:
    found = Folder(folder)
    found.shards.mkdir(parents=True)
    items = tuple(Item(row.file_name, 1, 1) for row in made)
    plan = Plan("made-up", "w" * 64, "instance", None, items).bound("CPUExecutionProvider", LABELS)
    found.write_plan(plan, first=True)
    for shard in plan.shards():
        first = shard.number * plan.shard_size
        found.write_shard(shard, [to_line(row) for row in made[first : first + len(shard.items)]])


def dataset_of(folder: Path, made: list[Row]) -> Any:
    import fiftyone as fo

    fo.config.show_progress_bars = False
    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(filepath=str(folder / row.file_name)) for row in made])
    dataset.add_sample_field("labels", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    return dataset


def timed(work: Callable[[], object]) -> tuple[float, float]:
    began = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began[0], time.process_time() - began[1]


def compare(folder: Path, made: list[Row]) -> dict[str, Any]:
    from locara_label.hosts.fiftyone import bulk
    from locara_label.hosts.fiftyone.labels import Region, to_detections

    raw, ours = dataset_of(folder, made), dataset_of(folder, made)
    raw_s, ours_s = [0.0, 0.0], [0.0, 0.0]
    for start in range(0, len(made), bulk.PICTURES):
        part = [row for row in made[start : start + bulk.PICTURES] if isinstance(row, Labelled)]
        write_results(folder / f"out-{start}", list(part))
        ready = [to_detections(Region.of_instance(instance) for instance in row.instances) for row in part]
        view = raw[start : start + bulk.PICTURES]
        for sums, took in (
            (raw_s, timed(lambda view=view, ready=ready: view.set_values("labels", ready))),  # type: ignore[misc]
            (ours_s, timed(lambda out=folder / f"out-{start}": list(bulk.load(ours, out, "labels", root=folder)))),  # type: ignore[misc]
        ):
            sums[:] = [one + other for one, other in zip(sums, took, strict=True)]
    same = raw.count("labels.detections") == ours.count("labels.detections")
    for dataset in (raw, ours):
        dataset.delete()
    kinds = ("clock", "processor")
    figures = {
        f"{kind}_{side}_per_s": round(len(made) / s[n], 1)
        for n, kind in enumerate(kinds)
        for side, s in (("raw", raw_s), ("ours", ours_s))
    }
    ratios = {f"{kind}_ratio": round(raw_s[n] / ours_s[n], 3) for n, kind in enumerate(kinds)}
    return {"pictures": len(made), **figures, **ratios, "same_count": same, "bar": BAR}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=4096)
    parser.add_argument("--masks", type=int, default=10)
    parser.add_argument("--size", default="480x640")
    options = parser.parse_args()
    height, width = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory(prefix="fiftyone-bulk-") as name:
        folder = Path(name)
        made = rows(options.pictures, options.masks, (height, width))
        found = compare(folder, made)
    print(json.dumps(found))
    sys.exit(found["clock_ratio"] < BAR)


if __name__ == "__main__":
    main()
