"""The embeddings of pictures: in memory within a budget, and in a folder that several servers may share."""

from __future__ import annotations

import hmac
import io
import os
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from locara_label.atomic import is_part, part_path
from locara_label.types import Embedding

Key = tuple[str, str]
"""Identity of the model (its name and weights, so its precision too), sha256 of the picture's file."""
_MAGIC = b"locara-embedding 1\n"
_SEALED_BYTES = len(_MAGIC) + 32
_HEAD_BYTES = 1 << 16
"""What a file has beside its arrays, at most."""
_DTYPES = frozenset(np.dtype(name) for name in ("float16", "float32", "float64", "uint8", "int32", "int64", "bool"))


@dataclass(frozen=True)
class Budget:
    """How much is kept.

    Attributes:
        bytes: of all embeddings in memory, and again of those in the folder.
        age_s: seconds since an embedding was last used.
    """

    bytes: int = 2 << 30
    age_s: float = 600


class Embeddings:
    """A cache; the least recently used go first. Threads may share it."""

    def __init__(
        self,
        budget: Budget | None = None,
        folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        secret: bytes = b"",
    ) -> None:
        """`folder` may be shared with servers of the same `secret`; see `SharedFolder`."""
        self.budget = budget or Budget()
        self._folder = SharedFolder(folder, self.budget, secret) if folder is not None else None
        self._clock = clock
        self._kept: OrderedDict[Key, tuple[Embedding, float]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Embedding | None:
        """The embedding, from memory or else from the folder."""
        found = self._from_memory(key)
        if found is None and self._folder is not None:
            found = self._folder.get(key)
            if found is not None:
                self._keep(key, found)
        return found

    def put(self, key: Key, embedding: Embedding) -> None:
        """Keeps an embedding; one that is larger than the budget is not kept."""
        self._keep(key, embedding)
        if self._folder is not None:
            self._folder.put(key, embedding)

    def _from_memory(self, key: Key) -> Embedding | None:
        with self._lock:
            self._expire()
            if key not in self._kept:
                return None
            embedding, _ = self._kept.pop(key)
            self._kept[key] = embedding, self._clock()
            return embedding

    def _keep(self, key: Key, embedding: Embedding) -> None:
        if embedding.nbytes > self.budget.bytes:
            return
        with self._lock:
            self._drop(key)
            self._kept[key] = embedding, self._clock()
            self._bytes += embedding.nbytes
            while self._bytes > self.budget.bytes:
                self._drop(next(iter(self._kept)))
            self._expire()

    def _expire(self) -> None:
        oldest = self._clock() - self.budget.age_s
        while self._kept and next(iter(self._kept.values()))[1] < oldest:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        if key in self._kept:
            self._bytes -= self._kept.pop(key)[0].nbytes


class SharedFolder:
    """One file for each embedding. A file that cannot be read or trusted is a miss, one that cannot be written is not kept.

    A file counts only with the seal of who knows `secret`, made over its content and what it is the embedding of: so one that is
    damaged, put in another's place or written by somebody else is encoded anew.
    """

    def __init__(self, folder: Path, budget: Budget, secret: bytes = b"") -> None:
        self.folder, self.budget, self._secret = folder, budget, secret

    def get(self, key: Key) -> Embedding | None:
        """An embedding that this or another server has kept."""
        path = self._path(key)
        try:
            with path.open("rb") as stream:
                stat = os.fstat(stream.fileno())
                if self._is_over(stat.st_mtime) or stat.st_size > self.budget.bytes + _HEAD_BYTES:
                    return None
                content = stream.read(stat.st_size)
            embedding = self._opened(key, content)
            os.utime(path)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
            return None
        return embedding

    def put(self, key: Key, embedding: Embedding) -> None:
        """Keeps an embedding; it appears whole or not at all."""
        buffer = io.BytesIO()
        arrays = {f"array_{i}": array for i, array in enumerate(embedding.arrays)}
        head = np.array([embedding.model, embedding.picture, *map(str, embedding.size)])
        np.savez(buffer, head=head, **arrays)  # type: ignore[arg-type]
        content, path = buffer.getbuffer(), self._path(key)
        partial = part_path(path)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(_MAGIC + self._seal(key, content))
                file.write(content)
            partial.replace(path)
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        self._trim()

    def _path(self, key: Key) -> Path:
        return self.folder / f"{sha256(repr(key).encode()).hexdigest()}.npz"

    def _seal(self, key: Key, content: bytes | memoryview) -> bytes:
        made = hmac.new(self._secret, repr(key).encode(), "sha256")
        made.update(content)
        return made.digest()

    def _opened(self, key: Key, content: bytes) -> Embedding:
        """Raises ValueError, KeyError, BadZipFile, EOFError: it is not what `put` wrote."""
        seal, rest = content[len(_MAGIC) : _SEALED_BYTES], memoryview(content)[_SEALED_BYTES:]
        if not content.startswith(_MAGIC) or not hmac.compare_digest(seal, self._seal(key, rest)):
            raise ValueError("no file of ours")
        with zipfile.ZipFile(io.BytesIO(rest)) as archive:
            if sum(info.file_size for info in archive.infolist()) > len(content):  # nothing of ours is compressed
                raise ValueError("larger than its file")
        with np.load(io.BytesIO(rest)) as file:
            return _restored(file, key)

    def _is_over(self, time_s: float) -> bool:
        # The time of the day: all that machines share. Who is far ahead of it would stay, and push out what is new.
        return abs(time.time() - time_s) > self.budget.age_s

    def _trim(self) -> None:
        """Removes what is over, then the oldest until the rest fits. Others may do the same at this moment."""
        kept = []
        with suppress(OSError):
            for path in self.folder.iterdir():
                if path.suffix == ".npz" or is_part(path):
                    with suppress(FileNotFoundError):
                        stat = path.stat()
                        kept.append((not self._is_over(stat.st_mtime), stat.st_mtime, stat.st_size, path))
        excess = sum(size for _, _, size, _ in kept) - self.budget.bytes
        for fresh, _, size, path in sorted(kept):
            if not fresh or (excess > 0 and path.suffix == ".npz"):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                excess -= size


def _restored(file: np.lib.npyio.NpzFile, key: Key) -> Embedding:
    model, picture, height, width = (str(value) for value in file["head"])
    arrays = tuple(file[f"array_{i}"] for i in range(len(file.files) - 1))
    if model != key[0] or min(int(height), int(width)) < 1 or not all(map(_is_sound, arrays)):
        raise ValueError(model)
    for array in arrays:
        array.setflags(write=False)
    return Embedding(model, picture, (int(height), int(width)), arrays)


def _is_sound(array: np.ndarray[Any, Any]) -> bool:
    return array.dtype in _DTYPES and (array.dtype.kind != "f" or bool(np.isfinite(array).all()))
