"""How long /health and /setup take while many click at once and new pictures are encoded.

    python -m benchmarks.liveness [--seconds 60] [--threads 0]

The server is a process of its own; so is each group of clients, or they would wait for each other and not for the server. Beside
it a process that does nothing else answers in the same way: what it takes under the same load is the machine's part. JSON goes
to stdout, a table to stderr; exit status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import multiprocessing
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clicks import SIZE, point_of
from benchmarks.served import (
    OUTPUTS,
    Asking,
    label_config,
    make_picture,
    make_weights,
    metric,
    predict_body,
    serving,
    written,
)

CLICKERS = 32
MOST_MS = {"health": 50.0, "setup": 500.0}
BARRED = {"health": "p99_ms", "setup": "max_ms"}
LEAST_SAMPLES = 500
HEALTH_EVERY_S, SETUP_EVERY_S = 0.02, 0.25


def clicking(port: int, picture: Path, clients: int, until: float) -> Counter[str]:
    """Many clients, each of whom clicks again as soon as there is an answer. Statuses by how many there were."""
    statuses: Counter[str] = Counter()

    def click(client: int) -> None:
        number = client
        while time.monotonic() < until:
            kind = list(OUTPUTS.values())[number % len(OUTPUTS)]
            statuses[posted(port, "/predict", predict_body(picture, kind, point_of(number), SIZE, task=client))] += 1
            number += clients

    together([lambda client=client: click(client) for client in range(clients)])  # type: ignore[misc]
    return statuses


def encoding(port: int, folder: Path, until: float) -> Counter[str]:
    """One client who only ever clicks on new pictures."""
    statuses: Counter[str] = Counter()
    image, number = make_picture(SIZE), 1
    while time.monotonic() < until:
        picture = written(image, folder / f"new-{number % 2}.jpg", number)
        statuses[posted(port, "/predict", predict_body(picture, OUTPUTS["bitmask"], point_of(number), SIZE, task=9999))] += 1
        number += 1
    return statuses


def answering_only(told: Queue[int]) -> None:
    """A server of one answer; puts its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    async def serve() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        told.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


@contextmanager
def beside() -> Iterator[int]:
    """The port of a server that has nothing to do."""
    context = multiprocessing.get_context("spawn")
    told: Queue[int] = context.Queue()
    process = context.Process(target=answering_only, args=(told,), daemon=True)
    process.start()
    try:
        yield told.get(timeout=60)
    finally:
        process.terminate()
        process.join()


def posted(port: int, path: str, body: bytes) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", path, body, {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return str(answer.status)


def together(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def sampled(ask: Callable[[], float], every_s: float, until: float) -> list[float]:
    """Milliseconds of a request, again and again."""
    took = []
    while time.monotonic() < until:
        took.append(1000 * ask())
        time.sleep(every_s)
    return took


def asked(port: int, idle: int, until: float) -> dict[str, list[float]]:
    body = json.dumps({"project": "1.1", "schema": label_config(OUTPUTS["brush"])}).encode()
    took: dict[str, list[float]] = {}
    health, setup, nothing = Asking(port), Asking(port), Asking(idle)
    together([
        lambda: took.update(machine=sampled(lambda: nothing.get("/")[0], HEALTH_EVERY_S, until)),
        lambda: took.update(health=sampled(lambda: health.get("/health")[0], HEALTH_EVERY_S, until)),
        lambda: took.update(setup=sampled(lambda: setup.post("/setup", body)[0], SETUP_EVERY_S, until)),
    ])  # fmt: skip
    return took


def measure(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    weights = make_weights(chosen.weights or folder / "weights")
    picture = written(make_picture(SIZE), folder / "picture.jpg")
    with serving(folder, weights, chosen.threads, click_s=300, waiting=2 * CLICKERS) as port, beside() as idle:
        quiet = asked(port, idle, time.monotonic() + 3)
        posted(port, "/predict", predict_body(picture, OUTPUTS["bitmask"], (9, 9), SIZE))
        until = time.monotonic() + chosen.seconds
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            clicks = pool.apply_async(clicking, (port, picture, CLICKERS, until))
            encodes = pool.apply_async(encoding, (port, folder, until))
            took = asked(port, idle, until)
            statuses = {"clicks": dict(clicks.get()), "encodes": dict(encodes.get())}
        counted = {name: metric(port, f"locara_{name}") for name in ("encodes", "decodes")}
    busy = {name: quantiles(values) for name, values in took.items()}
    return {
        "seconds": chosen.seconds,
        "clickers": CLICKERS,
        "threads": chosen.threads,
        "server": counted,
        "statuses": statuses,
        "quiet": {name: quantiles(values) for name, values in quiet.items()},
        "busy": busy,
        "bars_ms": {name: {BARRED[name]: most} for name, most in MOST_MS.items()},
    }


def quantiles(took_ms: list[float]) -> dict[str, float]:
    found = {"p50_ms": float(np.median(took_ms)), "p99_ms": float(np.quantile(took_ms, 0.99)), "max_ms": max(took_ms)}
    return {"samples": len(took_ms), **{name: round(value, 2) for name, value in found.items()}}


def missed(found: dict[str, Any]) -> list[str]:
    late = [name for name, most in MOST_MS.items() if found["busy"][name][BARRED[name]] > most]
    few = found["busy"]["health"]["samples"] < LEAST_SAMPLES
    failed = {status for statuses in found["statuses"].values() for status in statuses} - {"200"}
    return [
        *(f"/{name}: {BARRED[name]} {found['busy'][name][BARRED[name]]}, at most {MOST_MS[name]}" for name in late),
        *([f"fewer than {LEAST_SAMPLES} samples"] if few else []),
        *([f"clicks were answered with {sorted(failed)}"] if failed else []),
    ]


def table(found: dict[str, Any]) -> str:
    lines = ["| route | load | samples | p50 ms | p99 ms | max ms |", "|---|---|---|---|---|---|"]
    for load in ("quiet", "busy"):
        for name, values in found[load].items():
            lines.append(f"| {name} | {load} | {' | '.join(str(value) for value in values.values())} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=0, help="of a run of the model; 0: one for each core")
    parser.add_argument("--weights", type=Path, help="where the random weights are kept; made where there are none")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="liveness-") as folder:
        found = measure(chosen, Path(folder))
    print(json.dumps(found, indent=2))
    print(table(found), *missed(found), sep="\n", file=sys.stderr)
    return int(bool(missed(found)))


if __name__ == "__main__":
    sys.exit(main())
