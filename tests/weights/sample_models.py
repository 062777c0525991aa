"""Small models and the repositories that hold them."""

from __future__ import annotations

import random
from collections.abc import Callable

from locara_label.weights.catalogue import File, Licence, Row
from locara_label.weights.store import Store

OpenStore = Callable[..., Store]

REPO = "owner/model"
LICENCE = Licence("free", "Free Licence", "https://licence.example/free", must_accept=False)
STRICT = Licence("strict", "Strict Licence", "https://licence.example/strict", must_accept=True)
FILES = (File("config.json"), File("preprocessor_config.json"))
WEIGHTS = (File("model.safetensors"), File("model.safetensors.index.json"), File("pytorch_model.bin"))


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def make_row(name: str = "tiny", **values: object) -> Row:
    return Row(
        **{
            "name": name, "family": "segformer", "task": "semantic", "licence": LICENCE, "repo": REPO,
            "files": FILES, "weights": WEIGHTS, **values,
        }
    )  # fmt: skip


def repository(weights: dict[str, bytes], repo: str = REPO) -> dict[str, bytes]:
    small = {"config.json": b'{"model_type": "segformer"}', "preprocessor_config.json": b'{"size": 512}'}
    return {f"{repo}/{path}": data for path, data in {**small, **weights}.items()}
