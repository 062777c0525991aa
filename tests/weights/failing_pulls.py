"""Pulls that fail, and the part of a file that they keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from locara_label.errors import DownloadFailed
from locara_label.weights.catalogue import Row
from locara_label.weights.store import Store

MIB = 1 << 20


def pull_fails(store: Store, row: Row, code: str) -> str:
    with pytest.raises(DownloadFailed) as failure:
        store.pull(row)
    assert failure.value.code == code
    return failure.value.message


def part_of(store: Store) -> Path:
    return store.root / "models" / "tiny" / "model.safetensors.part"


def keep_part(store: Store, data: bytes) -> None:
    part_of(store).parent.mkdir(parents=True)
    part_of(store).write_bytes(data)
