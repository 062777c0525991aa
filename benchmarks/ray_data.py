"""The same work as the Ray runner's as a Ray Data pipeline, for comparison: list -> decode (tasks) -> label (actors) -> rows.

    python -m benchmarks.ray_data PICTURES [--num-actors 1]

Needs `ray[data]`. It has no checkpoints, no plan and no data set: rows are counted and thrown away. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from locara_label.batch import inputs, ray_cluster
from locara_label.batch.inputs import Inputs, Item
from locara_label.batch.pictures import fetch
from locara_label.batch.ray_cluster import Cluster, joined
from locara_label.batch.rows import Failure, labelled, to_line
from locara_label.engine.loading import load
from locara_label.models.base import Limit
from locara_label.settings import Settings


class Labels:
    def __init__(self) -> None:
        self._model = load("mini", None, "cpu", task="semantic", settings=Settings(threads=1), at_a_time=2)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"line": [self._line(*one) for one in zip(batch["name"], batch["image"], strict=True)]}

    def _line(self, name: str, image: Any) -> bytes:
        found = self._model.segment(image, None, Limit())
        return to_line(labelled(str(name), (image.shape[0], image.shape[1]), found))


def decoded(root: Path) -> Any:
    def decode(row: dict[str, Any]) -> dict[str, Any]:
        picture = fetch(root, Item(row["name"], row["size"], row["mtime_ns"]))
        if isinstance(picture, Failure):
            raise SystemExit(picture.message)
        return {"name": row["name"], "image": picture}

    return decode


def count_rows(found: Inputs, actors: int) -> tuple[int, float]:
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    rows = [{"name": item.file_name, "size": item.size, "mtime_ns": item.mtime_ns} for item in found.items]
    pipeline = ray.data.from_items(rows, override_num_blocks=max(1, len(rows) // 16)).map(
        decoded(Path(str(found.root))), num_cpus=0.25
    )
    pipeline = pipeline.map_batches(Labels, batch_size=8, compute=ray.data.ActorPoolStrategy(size=actors), num_cpus=0.5)
    times = [(time.monotonic(), len(batch["line"])) for batch in pipeline.iter_batches(batch_size=None)]
    between = times[-1][0] - times[0][0]
    return sum(count for _, count in times), sum(count for _, count in times[1:]) / between


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures")
    parser.add_argument("--num-actors", type=int, default=1)
    options = parser.parse_args()
    os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
    ray_cluster.prepare()
    with joined(Cluster()):
        count, rate = count_rows(inputs.find(options.pictures), options.num_actors)
    print(json.dumps({"pictures": count, "pictures_per_s": round(rate, 2)}))


if __name__ == "__main__":
    main()
