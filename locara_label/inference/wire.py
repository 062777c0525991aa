"""What the process that runs models and its owner tell each other: lines of JSON on sockets, arrays in memory that both see."""

from __future__ import annotations

import json
import mmap
import os
import socket
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label import errors
from locara_label.engine.sources import Published, Source, Weightless
from locara_label.errors import InferenceFailed, LocaraError
from locara_label.runtime.optimised import Cache
from locara_label.runtime.session import Options

NO_MEMORY = 12
"""Status of a process that gave up for want of memory (ENOMEM)."""
_MAX_LINE = 16 << 20
_ALIGNED = 64
_STEP = 1 << 20
_NUMBERS = "fiub"

Placed = list[list[Any]]
"""Of arrays in an arena: name, dtype, shape and where each begins, in bytes."""


class Lines:
    """Objects as lines of JSON on a stream socket. Threads may send at once; one receives."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream, self._file = stream, stream.makefile("rb")
        self._sending = threading.Lock()

    def send(self, value: Mapping[str, Any]) -> None:
        """Raises OSError: the other side is gone."""
        line = json.dumps(value).encode() + b"\n"
        with self._sending:
            self._stream.sendall(line)

    def receive(self) -> dict[str, Any] | None:
        """The next one; None when the other side is gone.

        Raises:
            ValueError: that is no object of JSON.
        """
        try:
            line = self._file.readline(_MAX_LINE)
        except OSError:
            return None
        if not line.endswith(b"\n"):
            return None
        value = json.loads(line)
        if not isinstance(value, dict):
            raise ValueError("not an object")  # noqa: TRY004 - what came is wrong, not who asked
        return value

    def close(self) -> None:
        self._file.close()
        self._stream.close()


class Arena:
    """Memory that both sides see. It only grows, and either side may make it."""

    def __init__(self, memory: int) -> None:
        """Args:
        memory: a descriptor, which belongs to the arena from now on.
        """
        self._memory, self._size = memory, 0
        self._mapped: mmap.mmap | None = None

    def put(self, arrays: Iterable[tuple[str, NDArray[Any]]]) -> Placed:
        """Copies arrays to the arena, over what was there."""
        placed, size, named = [], 0, list(arrays)
        for name, array in named:
            placed.append([name, array.dtype.str, list(array.shape), size])
            size += -(-array.nbytes // _ALIGNED) * _ALIGNED
        self._reach(size)
        for (_, array), place in zip(named, placed, strict=True):
            self._view(place)[...] = array
        return placed

    def views(self, placed: Placed) -> dict[str, NDArray[Any]]:
        """Arrays as they lie there, until the next `put` of either side.

        Raises:
            ValueError, TypeError: there are none of this kind, or not here.
        """
        self._reach(0)
        return {str(place[0]): self._view(place) for place in placed}

    def close(self) -> None:
        self._mapped = None  # views that somebody holds keep it
        os.close(self._memory)

    def _view(self, place: list[Any]) -> NDArray[Any]:
        _, kind, dims, start = place
        dtype, shape = np.dtype(str(kind)), tuple(map(int, dims))
        if dtype.kind not in _NUMBERS or min((int(start), *shape)) < 0:
            raise ValueError(f"no array of {dtype} {shape} lies at {start}")
        return np.ndarray(shape, dtype, self._mapped, int(start))

    def _reach(self, size: int) -> None:
        there = os.fstat(self._memory).st_size
        if size > there or not there:
            there = (size // _STEP + 1) * _STEP
            os.ftruncate(self._memory, there)
        if there != self._size:
            self._mapped, self._size = mmap.mmap(self._memory, there), there


def source_to_json(source: Source) -> dict[str, Any]:
    if isinstance(source, Weightless):
        return {"graphs": list(source.graphs), "folder": str(source.folder)}
    return {"files": [str(path) for path in source.files]}


def source_of(told: Mapping[str, Any]) -> Source:
    if "graphs" in told:
        return Weightless(tuple(told["graphs"]), Path(told["folder"]))
    return Published(tuple(Path(path) for path in told["files"]))


def options_to_json(options: Options) -> dict[str, Any]:
    cache = options.cache and {"root": str(options.cache.root), "max_bytes": options.cache.max_bytes}
    return {"device": options.device, "threads": options.threads, "spinning": options.spinning, "cache": cache}


def options_of(told: Mapping[str, Any]) -> Options:
    cache = told["cache"] and Cache(Path(told["cache"]["root"]), told["cache"]["max_bytes"])
    return Options(told["device"], told["threads"], told["spinning"], cache or None)


def error_to_json(error: Exception) -> dict[str, Any]:
    """Of an error of ours all of it; of any other one a failure that says what it was."""
    if not isinstance(error, LocaraError):
        error = InferenceFailed(f"the model failed: {type(error).__name__}: {error}"[:300])
    return {"kind": type(error).__name__, "message": error.message, "state": vars(error)}


def error_of(told: Mapping[str, Any]) -> LocaraError:
    named = getattr(errors, str(told["kind"]), None)
    kind: type[LocaraError] = named if isinstance(named, type) and issubclass(named, LocaraError) else InferenceFailed
    error = kind.__new__(kind)
    Exception.__init__(error, str(told["message"]))
    vars(error).update(told["state"])
    return error
