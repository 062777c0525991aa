"""How long a run through a video goes on once nobody listens: clients hang up at times that no frame knows.

    python -m benchmarks.leaving [--model classic] [--clients 30] [--size 1920x1080] [--objects 3] [--busy 0] [--keyframes 250]

The server is a process of its own. A run begins at the last frame and goes backward, so that its first frame costs the decoding
of all those since the keyframe. `ended_ms` is what passes from the hang-up until the server says that the run is over;
`decoder_ms` until the process that decodes does nothing more. `--busy` processes do nothing but take processor time beside it.
JSON goes to stdout; exit status 1 when the bar is missed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fixtures.scenes import EVALUATION_SEED, make_scene
from locara_label.types import Mask
from locara_label.video.writing import write_video
from tests.cli.served import Served, serve

MOST_MS = 500.0
FRAMES, SHIFT_PX = 250, 2
BASE = "/v1/video/sessions"
_TICK_S = 0.01
"""The kernel counts a process's time in these."""


def boxes(size: tuple[int, int], objects: int) -> list[list[float]]:
    """Around objects of the last frame, as x0, y0, x1, y1."""
    found = [Mask.from_array(item.mask).box for item in make_scene(EVALUATION_SEED + 2, size).objects]
    moved = SHIFT_PX * (FRAMES - 1)
    return [[box.x0 + moved, box.y0, min(box.x1 + moved, size[1]), box.y1] for box in found if box.x0 + moved < size[1]][:objects]


def write_clip(path: Path, size: tuple[int, int], keyframes: int) -> None:
    """A scene that slides to the right, out of its own left part."""
    image = make_scene(EVALUATION_SEED + 2, size).image
    frames = (np.ascontiguousarray(np.roll(image, SHIFT_PX * number, 1)) for number in range(FRAMES))
    write_video(path, frames, 25, keyframes=keyframes)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    working = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(processes)]
    for process in working:
        process.start()
    try:
        yield
    finally:
        for process in working:
            process.terminate()


def _spin() -> None:
    while True:
        cv2.GaussianBlur(np.zeros((256, 256), np.float32), (0, 0), 9)


def hang_up(server: Served, at: str, after_s: float) -> None:
    """Starts a run and leaves it."""
    connection = http.client.HTTPConnection("127.0.0.1", int(server.url.rsplit(":", 1)[1]), timeout=60)
    body = json.dumps({"direction": "backward", "frames": FRAMES})
    connection.request("POST", f"{at}/propagate", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    end = time.monotonic() + after_s
    while time.monotonic() < end and b"event: done" not in answer.readline():
        pass
    answer.close()
    connection.close()


def used_s(server: Served) -> dict[int, float]:
    """Processor time of the server's own processes so far."""
    found = {}
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            found[int(child)] = (int(fields[11]) + int(fields[12])) * _TICK_S
    return found


def over_s(server: Served, at: str) -> tuple[float, float]:
    """Seconds until the run is over, and until the decoder rests."""
    began = worked = time.monotonic()
    ended, used = 0.0, used_s(server)
    while not ended or time.monotonic() - worked < 0.3:
        if not ended and not server.get(at)[1]["running"]:
            ended = time.monotonic() - began
        now = used_s(server)
        if now != used:
            worked, used = time.monotonic(), now
        time.sleep(0.005)
    return ended, worked - began


def one(server: Served, video: Path, shown: Sequence[list[float]], after_s: float) -> tuple[float, float]:
    at = f"{BASE}/{server.post(BASE, {'video': str(video)})[1]['session']}"
    try:
        for number, box in enumerate(shown, 1):
            status, answer = server.post(f"{at}/prompt", {"frame": FRAMES - 1, "object": number, "box": box})
            if status != 200:
                raise SystemExit(f"{status} {answer}")
        hang_up(server, at, after_s)
        return over_s(server, at)
    finally:
        _closed(server, at)


def _closed(server: Served, at: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(server.url.rsplit(":", 1)[1]), timeout=60)
    connection.request("DELETE", at)
    connection.getresponse().read()
    connection.close()


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    video, chance = folder / "clip.mp4", random.Random(1)
    write_clip(video, options.size, options.keyframes)
    shown = boxes(options.size, options.objects)
    granted = {"LOCARA_CAPABILITIES__FOLDERS": json.dumps([str(folder)]), "LOCARA_SERVER__VIDEO_MODEL": options.model}
    with serve(folder, **granted) as server, busy(options.busy):
        times = [one(server, video, shown, chance.uniform(0.05, options.longest_s)) for _ in range(options.clients)]
    ended, decoder = (1000 * np.array(column) for column in zip(*times, strict=True))
    return {
        "model": options.model,
        "clients": len(times),
        "objects": len(shown),
        "ended_ms": {"median": round(float(np.median(ended))), "max": round(float(ended.max()))},
        "decoder_ms": {"median": round(float(np.median(decoder))), "max": round(float(decoder.max()))},
    }


def _size(text: str) -> tuple[int, int]:
    width, height = (int(part) for part in text.split("x"))
    return height, width


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="classic")
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--size", type=_size, default=(1080, 1920))
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--busy", type=int, default=0)
    parser.add_argument("--keyframes", type=int, default=250)
    parser.add_argument("--longest-s", type=float, default=6.0, help="a client leaves after 0.05 s to this")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, Path(folder))
    print(json.dumps(found, indent=2))
    return int(found["ended_ms"]["max"] > MOST_MS)


if __name__ == "__main__":
    sys.exit(main())
