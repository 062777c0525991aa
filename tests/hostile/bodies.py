"""Wrong bodies for every route of the server, made from recorded ones: `python -m tests.hostile.bodies --count 5000`.

Each has to be refused with one coded error or answered; none may be a failure of the server.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fixtures.clips import write_clip
from fixtures.scenes import EVALUATION_SEED
from locara_label import images
from locara_label.engine.loading import load, load_text_model
from locara_label.models.classic import Classic
from locara_label.server.models import Models
from locara_label.server.service import Service
from locara_label.settings import load as load_settings
from tests.hostile.judging import Summary
from tests.peak_memory import peak_rss_bytes
from tests.server.running import Client, Reply, serving
from tests.server.task_files import serving_files

CLIP = "/data/upload/1/clip.mp4"
SMALLEST_LIMIT = 16 << 20
"""Bytes of a body that every route reads to its end."""
WIRE = Path(__file__).parent.parent / "hosts" / "label_studio" / "wire"
SESSION = "/v1/video/sessions/@session@"
OWN = (
    ("/v1/segment", {"image": "/data/upload/1/x.png", "threshold": 0.5}),
    ("/v1/mask_from_prompt", {"image": "/data/upload/1/x.png", "points": [[5, 5], [9, 9]], "labels": [1, 0], "candidates": 3}),
    ("/v1/mask_from_prompt", {"image": "/data/upload/1/x.png", "prompts": [{"box": [1, 1, 20, 20]}], "despeckle": 5}),
    ("/v1/mask_from_prompt", {"image": "/data/upload/1/x.png", "text": "red car. person", "box_threshold": 0.01}),
    (
        "/v1/mask_from_prompt",
        {"image": "/data/upload/1/x.png", "text": ["blue ring", "x"], "text_threshold": 0.5, "despeckle": 5},
    ),
    ("/v1/video/sessions", {"video": "/data/upload/1/x.png", "model": "classic", "name": "x"}),
    ("/v1/video/sessions", {"video": "/data/upload/1/clip.mp4", "model": "classic", "name": "y"}),
    ("/v1/video/sessions/x/prompt", {"frame": 0, "object": 1, "points": [[5, 5]], "labels": [1], "box": [1, 1, 20, 20]}),
    (f"{SESSION}/prompt", {"frame": 0, "object": 1, "points": [[5, 5]], "labels": [1], "label": "x", "pointers": True}),
    (f"{SESSION}/prompt", {"time_s": 0.1, "object": 2, "box": [1, 1, 20, 20]}),
    (f"{SESSION}/prompt", {"frame": 1, "text": "blue ring", "box_threshold": 0.1, "text_threshold": 0.1}),
    (f"{SESSION}/propagate", {"direction": "both", "start": 0, "frames": 5, "stride": 1, "redetect": 5}),
    (f"{SESSION}/lock", {"object": 1, "frame": 0, "locked": False}),
    (f"{SESSION}/cancel", {}),
)
TEXTS: tuple[Any, ...] = (
    *(
        "",
        " ",
        ".",
        "?!",
        ". . .",
        "word " * 10_000,
        "word. " * 10_000,
        "word" * 3000,
        "a. " * 500,
        "\x00\x01\x1b[31m",
        "\u202ered",
    ),
    *(
        "фиолетовое сердце",
        "紫色のハート",
        "قلب",
        "🫀🟣",
        "e\u0301" * 300,
        "\ud800",
        "[CLS] [SEP] [MASK]",
        "##ing",
        "<script>",
        "x" * 900_000,
    ),
    *(
        ["blue", "ring"],
        ["x"] * 2000,
        [""],
        [[]],
        [None],
        [1],
        {},
        {"a": "b"},
        0,
        True,
        1e308,
        ["word " * 5000, "y"],
        [["a"] * 10],
    ),
)
"""What stands where a text is expected."""
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**200, -0.5, 1e-320, 1e308, float("nan"), float("inf"), float("-inf")),
    *("", " ", "x", "x" * 10_000, "\x00", "\ud800", "9" * 5000, "../../../etc/passwd", "http://127.0.0.1/", "$image", "<View>"),
    *("☃", "data:image/png;base64,AAAA", "data:image/png;base64," + "A" * 100_000),
    *([], {}, [[]], [None], {"": {}}, [0] * 10_000, [[1, 2] for _ in range(2000)]),  # each its own, or spoiling one spoils all
)
LONG = {f"@deep {depth}@": "[" * depth + "1" + "]" * depth for depth in (50, 900, 2000, 100_000)}
"""What a body is given as text only, since Python cannot write it or takes long to."""
HUGE = {"@points@": f"[[1,2]{',[1,2]' * 999_999}]", "@ones@": f"[1{',1' * 999_999}]"}


def samples() -> list[tuple[str, Any]]:
    """Path and body of everything that is posted."""
    found = [json.loads(path.read_text("utf-8")) for path in sorted(WIRE.glob("[0-4]*.json"))]
    posts = [(one["request_line"].split(" ")[1], one["body"]) for one in found if one["request_line"].startswith("POST")]
    return [(path, _shortened(body)) for path, body in posts] + list(OWN)


def texts() -> list[tuple[str, Any]]:
    """Of the above those with a text prompt."""
    return [(path, body) for path, body in samples() if '"text"' in json.dumps(body.get("params", body))]


def _shortened(body: Any) -> Any:
    if "tasks" in body and isinstance(body["tasks"], list):
        body["tasks"] = body["tasks"][:2]
    return body


def hostile(seed: int, posts: list[tuple[str, Any]]) -> tuple[str, bytes]:
    """The body of a seed, and where it goes."""
    rng = random.Random(seed)
    path, body = rng.choice(posts)
    body = copy.deepcopy(body)
    for holder, key in [place for place in _places(body) if place[1] == "text" and rng.random() < 0.7]:
        holder[key] = copy.deepcopy(rng.choice(TEXTS))
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        places = list(_places(body))
        if places:
            _spoil(rng, *rng.choice(places))
    text = json.dumps(body)
    for mark, long in (LONG | HUGE).items():
        text = text.replace(f'"{mark}"', long)
    return path, _torn(rng, text.encode()) if rng.random() < 0.15 else text.encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys: Any = value if isinstance(value, dict) else range(min(len(value), 50)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _spoil(rng: random.Random, holder: Any, key: Any) -> None:
    way = rng.random()
    if way < 0.15:
        del holder[key]
    elif way < 0.19:
        holder[key] = rng.choice(list(LONG))
    elif way < 0.2:
        holder[key] = rng.choice(list(HUGE))
    elif way < 0.35 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
        holder[key] *= rng.choice([-1, 0, 1e3, 1e9, 1e300])
    elif way < 0.45 and isinstance(holder[key], str):
        holder[key] = holder[key][: rng.randrange(len(holder[key]) + 1)] + rng.choice(["", "<", "&", "$", "\x00", "é"])
    else:
        holder[key] = copy.deepcopy(rng.choice(VALUES))


def _torn(rng: random.Random, text: bytes) -> bytes:
    at = rng.randrange(len(text) + 1)
    return rng.choice([text[:at], text[:at] + bytes([rng.randrange(256)]) + text[at + 1 :], text * 2, b"[" * 100_000, b""])


def attack(client: Client, seeds: range, posts: list[tuple[str, Any]]) -> Summary:
    """Sends the bodies of some seeds, one after the other."""
    outcome = Summary()
    for seed in seeds:
        path, body = hostile(seed, posts)
        began = time.monotonic()
        try:
            reply = client.send("POST", path, body, {"content-type": "application/json"})
            problem = _problem(reply, outcome)
        except ConnectionError:  # refused while it was still sent, the answer lost with it
            problem = "the connection broke" if len(body) <= SMALLEST_LIMIT else None
        outcome.took(f"seed {seed} {path}", time.monotonic() - began)
        if problem:
            outcome.violations.append(f"seed {seed} {path}: {problem}")
    return outcome


def _problem(reply: Reply, outcome: Summary) -> str | None:
    outcome.outcomes[str(reply.status)] += 1
    if reply.status >= 500:
        return f"{reply.status} {reply.body[:300]!r}"
    if reply.headers["content-type"].startswith("text/event-stream"):
        return None
    content = json.loads(reply.body, parse_constant=lambda name: 1 / 0)
    if reply.status != 200:
        outcome.outcomes[content["error"]["code"]] += 1
    return None


@contextmanager
def attacked() -> Iterator[tuple[Client, Service]]:
    """A server with real models, a picture for every task, and a clip."""
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files = stack.enter_context(serving_files())
        files.everything = images.encode_png(picture)
        files.content[CLIP] = write_clip(folder, EVALUATION_SEED, (48, 64), 8, Fraction(25)).read_bytes()
        settings = load_settings(cache_dir=folder, data_dir=folder / "data", server={"label_studio_url": files.url})
        models = Models(Classic(), load("mini", task="semantic"), load_text_model("mini"))
        service = Service(settings, models)
        yield stack.enter_context(serving(service)), service


def run(count: int, first: int = 0, *, only_texts: bool = False) -> Summary:
    """Sends `count` bodies to a server of its own."""
    with attacked() as (client, _):
        session = client.post("/v1/video/sessions", {"video": CLIP, "model": "classic"}).json()["session"]
        posts = texts() if only_texts else samples()
        found = attack(client, range(first, first + count), [(path.replace("@session@", session), body) for path, body in posts])
        if client.get("/health").status != 200:
            found.violations.append("/health fails afterwards")
    found.measured("peak_rss_mb", peak_rss_bytes() / 1e6)
    return found


def part(numbers: range) -> Summary:
    """The bodies of some seeds, every tenth part of them with hostile texts only."""
    logging.getLogger("locara_label").setLevel(logging.CRITICAL)
    found = run(len(numbers), numbers.start, only_texts=numbers.start // len(numbers) % 10 == 9)
    found.outcomes = Counter({name: count for name, count in found.outcomes.items() if name.isdigit()})
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--texts", action="store_true", help="text prompts only")
    options = parser.parse_args()
    logging.getLogger("locara_label").setLevel(logging.CRITICAL)
    outcome = run(options.count, options.first, only_texts=options.texts)
    print(json.dumps(outcome.to_json(), indent=1))
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
