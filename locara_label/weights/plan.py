"""Which files a model consists of: what the hub says about each, and which form of the weights it has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from locara_label.errors import BadWeights, DownloadFailed
from locara_label.weights.catalogue import File
from locara_label.weights.digest import Digest
from locara_label.weights.hub import Link, Location
from locara_label.weights.records import Entry, Record

MAX_SHARDS = 1000

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors")


def list_files(link: Link, record: Record, files: Iterable[File], known: Record) -> Record:
    """The record with these files and what the hub says about them; optional ones only where the hub has them."""
    for file in files:
        try:
            record = _with_file(link, record, file, known)
        except DownloadFailed as error:
            if file.required or error.code != "download.not_found":
                raise
    return record


def choose_weights(link: Link, record: Record, alternatives: Iterable[File], known: Record) -> Record:
    """The record with the first form of the weights that the hub has, as its last file.

    Raises:
        DownloadFailed: the hub has none of them (code download.not_found).
    """
    missing = []
    for file in alternatives:
        try:
            return _with_file(link, record, file, known)
        except DownloadFailed as error:
            if error.code != "download.not_found":
                raise
            missing.append(error.message)
    raise DownloadFailed(f"no weights in {record.repo}: {'; '.join(missing)}", code="download.not_found")


def list_shards(link: Link, record: Record, index: Path, known: Record) -> Record:
    """The record with every file that a sharded model's index names.

    Raises:
        BadWeights: the index is not one, or names a file outside the model's folder (code weights.bad_index).
    """
    for name in shard_names(index):
        record = _with_file(link, record, File(name), known)
    return record


def shard_names(index: Path) -> list[str]:
    """The files of a sharded model, sorted; each is a plain name ending in .safetensors."""
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        bad = [name for name in names if not _SHARD.fullmatch(name)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadWeights(f"{index.name} is not an index of sharded weights: {error}", code="weights.bad_index") from error
    if bad or not 1 <= len(names) <= MAX_SHARDS:
        raise BadWeights(
            f"{index.name} names {f'{bad[0]!r}' if bad else f'{len(names)} files'}, which no sharded model does",
            code="weights.bad_index",
        )
    return names


def check_path(path: str) -> str:
    """The path itself, if it stays below the folder that it is put in.

    Raises:
        BadWeights: it does not (code weights.bad_path).
    """
    parts = path.split("/")
    if not all(_PART.fullmatch(part) for part in parts):
        raise BadWeights(f"{path!r} is not a path inside a model's folder", code="weights.bad_path")
    return path


def _with_file(link: Link, record: Record, file: File, known: Record) -> Record:
    """The record with one more file, and with the commit that the first answer named."""
    before = known.entry(file.path)
    digest = Digest(file.size, file.sha256).merged(before.digest if before else Digest())
    remote = link.head(Location(record.repo, record.commit or "main", check_path(file.path)), digest)
    entry = Entry(file.path, digest.merged(remote.digest), before.stamp if before else None)
    return replace(record, commit=record.commit or remote.commit, files=(*record.files, entry))
