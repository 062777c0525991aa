"""A server in a process of its own, SAM 2.1 tiny with random weights in it, and pictures and clicks to ask it with."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fixtures.scenes import EVALUATION_SEED, make_scene

ROOT = Path(__file__).resolve().parents[1]
ROW = "sam2.1-hiera-tiny"
OUTPUTS = {"brush": "BrushLabels", "bitmask": "BitmaskLabels"}
START_S = 120


def make_weights(folder: Path) -> Path:
    """Random weights in the hub's layout, made once."""
    if not (folder / "model.safetensors").is_file():
        from tests.parity import sam2_reference

        sam2_reference.make(folder, ROW, seed=1)
    return folder


@contextmanager
def serving(folder: Path, weights: Path, threads: int, **server: object) -> Iterator[int]:
    """The port of `locara-label serve`, which may read what lies in the folder."""
    granted = {"LOCARA_CAPABILITIES__FOLDERS": json.dumps([str(folder)]), "LOCARA_THREADS": str(threads)}
    more = {f"LOCARA_SERVER__{name.upper()}": str(value) for name, value in server.items()}
    environment = {**os.environ, **granted, **more, "LOCARA_CACHE_DIR": str(folder / "cache")}
    line = [sys.executable, "-m", "locara_label", "serve", "--model", ROW, "--weights", str(weights), "--port", "0"]
    log = folder / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(line, stderr=stream, stdout=stream, cwd=folder, env={**environment, "PYTHONPATH": str(ROOT)})
    try:
        yield _port(process, log)
    finally:
        process.terminate()
        process.wait(60)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        told = re.search(r"running on http://[^:]+:(\d+)", log.read_text())
        if told:
            return int(told[1])
        time.sleep(0.05)
    raise SystemExit(f"the server did not start: {log.read_text()[-2000:]}")


class Asking:
    """One connection that stays open; every call gives seconds from the request to the whole answer, and the answer."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)

    def get(self, path: str) -> tuple[float, bytes]:
        return self._timed("GET", path, None)

    def post(self, path: str, body: bytes) -> tuple[float, bytes]:
        return self._timed("POST", path, body)

    def _timed(self, method: str, path: str, body: bytes | None) -> tuple[float, bytes]:
        began = time.perf_counter()
        self._connection.request(method, path, body, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        content = answer.read()
        took = time.perf_counter() - began
        if answer.status != 200:
            raise SystemExit(f"{method} {path}: {answer.status} {content[:500]!r}")
        return took, content


def make_picture(size: tuple[int, int]) -> NDArray[np.uint8]:
    """A scene, uint8 [H, W, 3]."""
    return make_scene(EVALUATION_SEED + 3, size).image


def written(image: NDArray[np.uint8], path: Path, number: int = 0) -> Path:
    """A JPEG; every number gives another file."""
    marked = image.copy()
    marked[:8, :8] = number % 256, number // 256, 0
    Image.fromarray(marked).save(path, quality=90)
    return path


def label_config(output: str) -> str:
    kinds = f'<{output} name="drawn" toName="image"><Label value="Object"/></{output}>'
    click = '<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Object"/></KeyPointLabels>'
    return f'<View><Image name="image" value="$image"/>{kinds}{click}</View>'


def predict_body(picture: Path, output: str, point: tuple[float, float], size: tuple[int, int], *, task: int = 1) -> bytes:
    """What Label Studio sends for a click; the point is x and y in pixels."""
    value = {"x": 100 * point[0] / size[1], "y": 100 * point[1] / size[0], "width": 0.3, "keypointlabels": ["Object"]}
    region = {"original_width": size[1], "original_height": size[0], "image_rotation": 0, "value": value, "is_positive": True}
    asked = {**region, "id": f"r{task}", "from_name": "kp", "to_name": "image", "type": "keypointlabels", "origin": "manual"}
    content: dict[str, Any] = {
        "tasks": [{"id": task, "data": {"image": str(picture)}, "annotations": [], "predictions": []}],
        "project": "1.1",
        "label_config": label_config(output),
        "params": {"login": None, "password": None, "context": {"result": [asked]}},
    }
    return json.dumps(content).encode()


def metric(port: int, name: str) -> float:
    """A figure of /metrics."""
    found = re.search(rf"^{name} (\S+)$", Asking(port).get("/metrics")[1].decode(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"/metrics has no {name}")
    return float(found[1])
