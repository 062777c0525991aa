"""Models of which one place of one file was changed: `python -m tests.hostile.weights --count 200`.

Taken from the store, each is refused by its digest. Given as a folder of one's own, which has none, it is refused with a code,
or loaded and run: then it gives masks or a coded error, and takes no more time and memory than a sound one may.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import helper, numpy_helper

from fixtures.scenes import EVALUATION_SEED, make_scene
from locara_label.engine.loading import load
from locara_label.errors import BadWeights, LocaraError, ModelError, RunError
from locara_label.runtime.session import Options, finite, open_session
from locara_label.settings import load as load_settings
from locara_label.weights.hub import Hub
from locara_label.weights.store import MINI, Store
from locara_label.weights.tensors import open_tensors
from tests.hostile.judging import Summary
from tests.peak_memory import peak_rss_bytes
from tests.runtime import small_graphs
from tests.weights import torch_files
from tests.weights.hub_server import HubServer
from tests.weights.sample_models import make_row, repository

IMAGE = make_scene(EVALUATION_SEED, (64, 64)).image
MAX_SECONDS, MAX_RSS_BYTES = 20.0, 2_000_000_000
EXTREMES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)


@dataclass(frozen=True)
class Sound:
    """One file of a model, and its regions by name: first byte and end."""

    path: str
    content: bytes
    regions: Mapping[str, tuple[int, int]]


def changed(chance: random.Random, content: bytes, region: tuple[int, int]) -> bytes:
    """A bit, a byte or a number of a region is another one."""
    data, at = bytearray(content), chance.randrange(*region)
    way = chance.random()
    if way < 0.5:
        data[at] ^= 1 << chance.randrange(8)
    elif way < 0.75:
        data[at] = data[at] ^ 0xFF if data[at] in EXTREMES else chance.choice(EXTREMES)
    else:
        size = min(chance.choice((2, 4, 8)), region[1] - at)
        data[at : at + size] = bytes(byte ^ 0xFF for byte in data[at : at + size])
    return bytes(data)


def safetensors() -> list[Sound]:
    files = {path.name: path.read_bytes() for path in (MINI / "segformer").iterdir()}
    weights = files["model.safetensors"]
    end = 8 + int.from_bytes(weights[:8], "little")
    names, offsets = weights.index(b'"', 8), weights.index(b"data_offsets")
    regions = {"length": (0, 8), "header": (8, end), "names": (names, names + 30), "offsets": (offsets, offsets + 40)}
    found = [Sound("model.safetensors", weights, {**regions, "data": (end, len(weights))})]
    return found + [Sound(name, text, {"text": (0, len(text))}) for name, text in files.items() if name.endswith(".json")]


def torch(folder: Path) -> list[Sound]:
    """The same model as a checkpoint of torch."""
    tensors = open_tensors(MINI / "segformer")
    state = {name: torch_files.tensor(str(number), np.asarray(tensors[name])) for number, name in enumerate(tensors)}
    path = torch_files.write(folder / "pytorch_model.bin", state)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        entries, directory = archive.infolist(), archive.start_dir
    described, first = entries[0], entries[1]
    regions = {
        "zip entry": (described.header_offset, described.header_offset + 46),
        "description": (described.header_offset + 46, first.header_offset),
        "data": (first.header_offset, directory),
        "directory": (directory, len(content) - 22),
        "end": (len(content) - 22, len(content)),
    }
    return [Sound(path.name, content, regions)]


def onnx() -> list[Sound]:
    """A small published model with weights inside."""
    kept = np.arange(24, dtype="f4").reshape(6, 4)
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["a"]), helper.make_node("Softmax", ["a"], ["y"], axis=-1)]
    kept_too = (numpy_helper.from_array(kept, "weight"),)
    linear = small_graphs.model(nodes, {"x": [2, 6]}, {"y": [2, 4]}, kept_too)
    at = linear.index(kept.tobytes())
    regions = {"header": (0, 16), "graph": (16, at), "data": (at, at + kept.nbytes), "after": (at + kept.nbytes, len(linear))}
    half = small_graphs.half_normalised()
    return [Sound("linear.onnx", linear, regions), Sound("half.onnx", half, {"all": (0, len(half))})]


class Models:
    """Sound models in a folder, and what is asked of a changed one."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store, self.row = folder, store, make_row()
        self.safetensors, self.torch, self.onnx = safetensors(), torch(folder), onnx()
        self.settings = load_settings(cache_dir=folder / "cache")
        self.pulled = store.pull(self.row)

    def kinds(self) -> dict[str, Callable[[random.Random], tuple[str, Callable[[], str]]]]:
        return {"safetensors": self._own, "torch": self._torch, "onnx": self._onnx, "store": self._stored}

    def _own(self, chance: random.Random) -> tuple[str, Callable[[], str]]:
        return self._folder(chance, self.safetensors, "safetensors")

    def _torch(self, chance: random.Random) -> tuple[str, Callable[[], str]]:
        return self._folder(chance, self.torch, "torch")

    def _folder(self, chance: random.Random, files: Sequence[Sound], kind: str) -> tuple[str, Callable[[], str]]:
        file, region = _place(chance, files)
        place = self.folder / "own"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(MINI / "segformer", place, ignore=shutil.ignore_patterns("*.safetensors" if kind == "torch" else ""))
        (place / file.path).write_bytes(changed(chance, file.content, file.regions[region]))
        return f"{kind}: {region} of {file.path}", lambda: self._used(place)

    def _used(self, place: Path) -> str:
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        try:
            model = load("segformer-mini", place, settings=self.settings)
            found = model.segment(IMAGE)
        except (ModelError, RunError, LocaraError) as error:
            return error.code
        assert all(one.mask.area and 0 <= one.score <= 1 for one in found)
        return "answers"

    def _onnx(self, chance: random.Random) -> tuple[str, Callable[[], str]]:
        file, region = _place(chance, self.onnx)
        path = self.folder / file.path
        path.write_bytes(changed(chance, file.content, file.regions[region]))
        return f"onnx: {region} of {file.path}", lambda: self._run(path)

    def _run(self, path: Path) -> str:
        try:
            session = open_session(path, Options(threads=1))
            shapes = {
                name: [side if isinstance(side, int) else 2 for side in shape] for name, shape in session.input_shapes.items()
            }
            if any(np.prod(shape, dtype=float) > 1 << 20 for shape in shapes.values()):
                return "asks for much"
            found = session.run({name: np.ones(shape, "f4") for name, shape in shapes.items()}, deadline_s=10)
            for value in found.values():
                finite(value)
        except LocaraError as error:
            return error.code
        return "answers"

    def _stored(self, chance: random.Random) -> tuple[str, Callable[[], str]]:
        path = self.pulled / chance.choice(("model.safetensors", "config.json", "preprocessor_config.json"))
        content = path.read_bytes()
        return f"store: {path.name}", lambda: self._refused(path, changed(chance, content, (0, len(content))), content)

    def _refused(self, path: Path, wrong: bytes, content: bytes) -> str:
        path.write_bytes(wrong)
        try:
            self.store.folder(self.row)
        except BadWeights as error:
            return error.code
        finally:
            path.write_bytes(content)
        raise AssertionError(f"{path.name} was changed and is taken")


def _place(chance: random.Random, files: Sequence[Sound]) -> tuple[Sound, str]:
    file = chance.choice(files[:1] * 3 + list(files))
    return file, chance.choice(list(file.regions))


def part(numbers: range) -> Summary:
    """The changes of some numbers, every kind in turn."""
    summary = Summary()
    hub = HubServer(repository({"model.safetensors": (MINI / "segformer" / "model.safetensors").read_bytes()}))
    with tempfile.TemporaryDirectory() as made, hub:
        models = Models(Path(made), Store(Path(made) / "store", Hub(hub.url)))
        kinds = models.kinds()
        for number in numbers:
            kind = list(kinds)[number % len(kinds)]
            name, ask = kinds[kind](random.Random(f"weights {number}"))
            summary.judge(f"{number}, {name}", lambda ask=ask, kind=kind: f"{kind}: {ask()}", MAX_SECONDS, time.process_time)
    summary.measured("peak_rss_mb", peak_rss_bytes() / 1e6)
    if peak_rss_bytes() > MAX_RSS_BYTES:
        summary.violations.append(f"peak memory of {peak_rss_bytes()} bytes")
    return summary


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    chosen = parser.parse_args()
    found = part(range(chosen.first, chosen.first + chosen.count))
    print(json.dumps(found.to_json(), indent=1))
    return 1 if found.violations else 0


if __name__ == "__main__":
    sys.exit(main())
