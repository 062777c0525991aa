"""A click on a picture that is encoded already, through the server, beside the decoder alone and beside encoding anew.

    python -m benchmarks.clicks [--rounds 30] [--threads 0]

The sides take turns, click by click. JSON goes to stdout, a table to stderr; exit status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.served import OUTPUTS, ROW, Asking, make_picture, make_weights, metric, predict_body, serving, written
from locara_label import geometry, images
from locara_label.engine.loading import load_prompt_model
from locara_label.hosts.label_studio import bitmask, brush_rle
from locara_label.models.sam2 import clicks_of
from locara_label.server.answers import answer
from locara_label.settings import Settings
from locara_label.types import Embedding, Mask, Point, Prompt

SIZE = (1200, 1800)
AT_ONCE = 10
PAUSE_S = 0.05
MOST_OVER_BARE = 1.3
LEAST_OVER_CACHED = 15.0

Timed = Callable[[int], float]
"""Milliseconds of the click with a number."""


def point_of(number: int) -> tuple[float, float]:
    rng = np.random.default_rng(number)
    return float(rng.uniform(20, SIZE[1] - 20)), float(rng.uniform(20, SIZE[0] - 20))


class Bare:
    """The decoder's session and what makes a COCO RLE of its first mask, without any of the rest; in this process."""

    def __init__(self, weights: Path, picture: Path, settings: Settings) -> None:
        self.model: Any = load_prompt_model(ROW, weights, "cpu", settings=settings)
        self.session: Any = vars(self.model)["_decoder"]
        self.embedding: Embedding = self.model.encode(images.read(picture))
        self.run_ms: list[float] = []
        self.runs: list[int] = []

    def __call__(self, number: int) -> float:
        feed = self._feed(number)
        began = time.perf_counter()
        found = self.session.run(feed)
        ran = time.perf_counter()
        mask = Mask.from_array(geometry.threshold_upsampled(found["masks"][0, 0], SIZE))
        took = time.perf_counter() - began
        self.run_ms.append(1000 * (ran - began))
        self.runs.append(int(np.count_nonzero(np.diff(mask.to_array().astype(np.int8), axis=1))))
        return 1000 * took

    def _feed(self, number: int) -> dict[str, Any]:
        side = 4 * self.session.input_shapes["mask_input"][-1]
        points, labels = clicks_of(Prompt((Point(*point_of(number)),)), SIZE, side)
        nothing = {"mask_input": np.zeros((1, 1, side // 4, side // 4), np.float32), "has_mask_input": np.zeros(1, np.float32)}
        arrays = {f"image_embeddings.{level}": array for level, array in enumerate(self.embedding.arrays)}
        return {**arrays, "point_coords": points[None], "point_labels": labels[None], **nothing}

    def formats_ms(self, number: int) -> dict[str, float]:
        """What the outputs of Label Studio add to a COCO RLE."""
        mask = self.model.decode(self.embedding, Prompt((Point(*point_of(number)),)))[0].mask
        return {
            "brush": timed_ms(lambda: brush_rle.encode(mask)),
            "brush_and_json": timed_ms(lambda: answer({"rle": list(brush_rle.encode(mask))})),
            "bitmask": timed_ms(lambda: bitmask.encode(mask)),
        }


def timed_ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


class Served:
    """Clicks through the server; `sent` counts the bytes of answers."""

    def __init__(self, port: int, folder: Path, picture: Path) -> None:
        self.asking, self.folder, self.picture = Asking(port), folder, picture
        self.port, self.image = port, images.read(picture)
        self.sent: dict[str, list[int]] = {}

    def predict(self, kind: str, number: int) -> float:
        return self._ms(kind, "/predict", predict_body(self.picture, OUTPUTS[kind], point_of(number), SIZE))

    def own(self, number: int) -> float:
        body = {"image": str(self.picture), "points": [point_of(number)]}
        return self._ms("own", "/v1/mask_from_prompt", json.dumps(body).encode())

    def anew(self, number: int) -> float:
        """A click on a picture that nobody has clicked on."""
        picture = written(self.image, self.folder / "new.jpg", number + 1)
        body = {"image": str(picture), "points": [point_of(number)]}
        return self._ms("anew", "/v1/mask_from_prompt", json.dumps(body).encode())

    def at_once(self) -> dict[str, float]:
        """Encodes and seconds of many clicks on one new picture."""
        picture = written(self.image, self.folder / "shared.jpg", 50_000)
        before, began = metric(self.port, "locara_encodes"), time.perf_counter()
        bodies = [predict_body(picture, OUTPUTS["bitmask"], point_of(i), SIZE, task=i) for i in range(AT_ONCE)]
        with ThreadPoolExecutor(AT_ONCE) as users:
            list(users.map(lambda body: Asking(self.port).post("/predict", body), bodies))
        encodes = metric(self.port, "locara_encodes") - before
        return {"clicks": AT_ONCE, "encodes": encodes, "seconds": round(time.perf_counter() - began, 2)}

    def _ms(self, name: str, path: str, body: bytes) -> float:
        took, content = self.asking.post(path, body)
        self.sent.setdefault(name, []).append(len(content))
        return 1000 * took


def in_turns(sides: dict[str, Timed], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of every side; a first round is thrown away."""
    took: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(-1, rounds):
        for name, side in sides.items():
            time.sleep(PAUSE_S)
            ms = side(number + 1)
            if number >= 0:
                took[name].append(ms)
    return took


def measure(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    weights = make_weights(chosen.weights or folder / "weights")
    picture = written(make_picture(SIZE), folder / "picture.jpg")
    bare = Bare(weights, picture, Settings(cache_dir=folder / "own-cache", threads=chosen.threads))
    with serving(folder, weights, chosen.threads, click_s=300) as port:
        served = Served(port, folder, picture)
        sides: dict[str, Timed] = {"bare": bare, "own": served.own}
        sides |= {f"predict_{kind}": lambda number, kind=kind: served.predict(kind, number) for kind in OUTPUTS}  # type: ignore[misc]
        took = in_turns(sides, chosen.rounds)
        took |= in_turns({"cached": served.own, "anew": served.anew}, chosen.new_pictures)
        at_once = served.at_once()
    formats = [bare.formats_ms(number) for number in range(8)]
    return summary(took) | {
        "rounds": chosen.rounds,
        "threads": chosen.threads,
        "bare_session_ms": median(bare.run_ms),
        "mask_runs": median(bare.runs),
        "formats_ms": {name: median([one[name] for one in formats]) for name in formats[0]},
        "answer_bytes": {name: median(sizes) for name, sizes in served.sent.items()},
        "at_once": at_once,
    }


def median(values: list[Any]) -> float:
    return round(float(np.median(values)), 2)


def summary(took: dict[str, list[float]]) -> dict[str, Any]:
    """Medians over rounds, ratios of them, and of minima."""
    over = {name: median(took[name]) / median(took["bare"]) for name in took if name.startswith(("own", "predict"))}
    least = {name: min(took[name]) / min(took["bare"]) for name in over}
    return {
        "median_ms": {name: median(values) for name, values in took.items()},
        "min_ms": {name: round(min(values), 2) for name, values in took.items()},
        "over_bare": {name: round(value, 3) for name, value in over.items()},
        "over_bare_of_minima": {name: round(value, 3) for name, value in least.items()},
        "anew_over_cached": round(median(took["anew"]) / median(took["cached"]), 1),
    }


def missed(found: dict[str, Any]) -> list[str]:
    late = [name for name, ratio in found["over_bare"].items() if ratio > MOST_OVER_BARE]
    return [
        *(f"{name}: {found['over_bare'][name]} x the bare decoder, at most {MOST_OVER_BARE}" for name in late),
        *(["a cached click is not fast enough"] if found["anew_over_cached"] < LEAST_OVER_CACHED else []),
        *(["clicks at once encoded more than once"] if found["at_once"]["encodes"] != 1 else []),
    ]


def table(found: dict[str, Any]) -> str:
    lines = ["| side | median ms | min ms | over bare | answer bytes |", "|---|---|---|---|---|"]
    for name, ms in found["median_ms"].items():
        size = found["answer_bytes"].get(name.removeprefix("predict_"), "")
        lines.append(f"| {name} | {ms:.1f} | {found['min_ms'][name]:.1f} | {found['over_bare'].get(name, '')} | {size} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--new-pictures", type=int, default=3, help="clicks that need an encode")
    parser.add_argument("--threads", type=int, default=0, help="of a run, on both sides; 0: one for each core")
    parser.add_argument("--weights", type=Path, help="where the random weights are kept; made where there are none")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clicks-") as folder:
        found = measure(chosen, Path(folder))
    print(json.dumps(found, indent=2))
    print(table(found), *missed(found), sep="\n", file=sys.stderr)
    return int(bool(missed(found)))


if __name__ == "__main__":
    sys.exit(main())
