"""What the bytes of a model's weights are, as one short text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from locara_label.engine.grounding import pair
from locara_label.engine.loading import CLASSIC, PROMPT_TASK, TEXT_TASK, find_row
from locara_label.engine.sources import DATA_SUFFIX
from locara_label.models.classic import Classic
from locara_label.weights import records
from locara_label.weights.catalogue import Row
from locara_label.weights.digest import sha256_of
from locara_label.weights.store import Store

_CONFIGS = ("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
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


def pair_identity(name: str, store: Store) -> tuple[str, str]:
    """The full name of a pair of models, and a hash of everything that decides its numbers; see `engine.grounding.pair`.

    Raises:
        UnknownModel, BadOption: the name is no pair, or a model of it is of another kind.
        NotDownloaded, BadWeights: as `Store.folder`.
    """
    text, masks = pair(name)
    row = find_row(text, TEXT_TASK)
    parts = [weights_identity(row, store)]
    if masks == CLASSIC:
        return f"{row.name}+{CLASSIC}", _of_all([*parts, Classic.identity])
    other = find_row(masks, PROMPT_TASK)
    return f"{row.name}+{other.name}", _of_all([*parts, weights_identity(other, store)])


def _of_all(parts: list[str]) -> str:
    return sha256("\n".join(parts).encode()).hexdigest()


def _files(row: Row, folder: Path) -> Iterator[Path]:
    graphs = [path for path in (row.onnx, row.onnx_decoder) if path]
    names = {*_CONFIGS, *graphs, *(path + DATA_SUFFIX for path in graphs)}
    yield from (folder / name for name in names if (folder / name).is_file())
    for kind in _KINDS:
        yield from (path for path in folder.glob(kind) if path.is_file())


def _hash(row: Row, digests: dict[str, str | None]) -> str:
    content = [row.name, row.graph, sorted(digests.items())]
    return sha256(json.dumps(content).encode("ascii")).hexdigest()
