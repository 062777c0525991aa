"""What the bytes of a model's weights are, as one short text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from locara_label.weights import records
from locara_label.weights.catalogue import Row
from locara_label.weights.digest import sha256_of
from locara_label.weights.store import Store

_CONFIGS = ("config.json", "preprocessor_config.json")
_KINDS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model.bin")


def weights_identity(row: Row, store: Store, folder: Path | None = None) -> str:
    """A hash of everything that decides a model's numbers; the same wherever the files lie and whenever they were copied.

    Downloaded weights are known by their recorded digests. Those of a `folder`, and shipped ones, are hashed here.

    Raises:
        NotDownloaded, BadWeights: as `Store.folder`.
    """
    if folder is None and row.bundled is None:
        store.folder(row)
        record = records.read(store.root / "records" / f"{row.name}.json")
        if record is not None:
            digests = {entry.path: entry.digest.sha256 or entry.digest.git_sha1 for entry in record.files}
            return _hash(row, digests)
    place = folder if folder is not None else store.folder(row)
    return _hash(row, {path.relative_to(place).as_posix(): sha256_of(path) for path in _files(row, place)})


def _files(row: Row, folder: Path) -> Iterator[Path]:
    names = {*_CONFIGS, *([row.onnx] if row.onnx else [])}
    yield from (folder / name for name in names if (folder / name).is_file())
    for kind in _KINDS:
        yield from (path for path in folder.glob(kind) if path.is_file())


def _hash(row: Row, digests: dict[str, str | None]) -> str:
    content = [row.name, row.graph, sorted(digests.items())]
    return sha256(json.dumps(content).encode("ascii")).hexdigest()
