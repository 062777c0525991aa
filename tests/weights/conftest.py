from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from locara_label.weights.catalogue import Row
from locara_label.weights.hub import Hub
from locara_label.weights.store import Store
from tests.weights.hub_server import HubServer
from tests.weights.sample_models import OpenStore, content, make_row, repository


@pytest.fixture(scope="session")
def weights() -> bytes:
    return content(3 << 20)


@pytest.fixture
def hub(weights: bytes) -> Iterator[HubServer]:
    with HubServer(repository({"model.safetensors": weights})) as server:
        yield server


@pytest.fixture
def mirror(weights: bytes) -> Iterator[HubServer]:
    with HubServer(repository({"model.safetensors": weights})) as server:
        yield server


@pytest.fixture
def row() -> Row:
    return make_row()


@pytest.fixture
def open_store(tmp_path: Path, hub: HubServer) -> OpenStore:
    def opened(endpoint: str | None = None, **values: object) -> Store:
        return Store(tmp_path / "cache", Hub(endpoint or hub.url, **{"pause_s": 0.001, "read_s": 5.0, **values}))

    return opened


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    return open_store()
