"""What a model's sessions are made of, and sessions of it in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from locara_label.errors import BadWeights, NotDownloaded
from locara_label.runtime.session import Options, Session, open_session
from locara_label.runtime.skeleton import Skeleton, bind, open_skeleton
from locara_label.weights.digest import sha256_of
from locara_label.weights.tensors import Tensors, open_tensors

MAX_ONNX = 2 << 30
DATA_SUFFIX = "_data"
"""Of the file beside a published ONNX file that holds its weights."""


@dataclass(frozen=True)
class Weightless:
    """Weightless graphs by their names, and the folder with the official weights of all of them."""

    graphs: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class Published:
    """Published ONNX files; each may have its weights in a file beside it."""

    files: tuple[Path, ...]


Source = Weightless | Published
Opener = Callable[[Source, Options], tuple[tuple[Session, ...], str]]
"""Gives a session for each graph or file of a source, and a digest of them all that changes with every change of theirs."""


def open_here(source: Source, options: Options) -> tuple[tuple[Session, ...], str]:
    """The `Opener` of this process.

    Raises:
        UnknownModel, NotDownloaded, BadWeights: there is no such graph or file, or graphs and weights do not fit.
        MissingRuntime, DeviceUnavailable, BadOption, InferenceFailed: see `open_session`.
    """
    return _weightless(source, options) if isinstance(source, Weightless) else _published(source, options)


def _weightless(source: Weightless, options: Options) -> tuple[tuple[Session, ...], str]:
    skeletons = [open_skeleton(name) for name in source.graphs]
    tensors = open_tensors(source.folder)
    sessions = tuple(_bound(skeleton, tensors, options) for skeleton in skeletons)
    return sessions, sha256(b"".join(one.graph for one in skeletons) + tensors.identity.encode()).hexdigest()


def _bound(skeleton: Skeleton, tensors: Tensors, options: Options) -> Session:
    identity = sha256(skeleton.graph + tensors.identity.encode()).hexdigest()
    return open_session(bind(skeleton, tensors), options, identity)


def _published(source: Published, options: Options) -> tuple[tuple[Session, ...], str]:
    digests = [_digest(path) for path in source.files]
    sessions = tuple(open_session(path, options, digest) for path, digest in zip(source.files, digests, strict=True))
    return sessions, sha256("".join(digests).encode()).hexdigest()


def _digest(path: Path) -> str:
    """Of a file and the one beside it."""
    if not path.is_file():
        raise NotDownloaded(f"{path} is not there")
    if path.stat().st_size > MAX_ONNX:
        raise BadWeights(f"{path} is larger than {MAX_ONNX >> 30} GiB", code="weights.too_large")
    files = [path, path.with_name(path.name + DATA_SUFFIX)]
    return sha256("".join(sha256_of(file) for file in files if file.is_file()).encode()).hexdigest()
