"""Sessions in a process of their own, which is started again when it dies."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeVar

from numpy.typing import NDArray

from locara_label.engine.sources import Source
from locara_label.errors import Cancelled, InferenceFailed
from locara_label.inference.process import Asked, Died, Process
from locara_label.inference.wire import options_to_json, source_to_json
from locara_label.runtime.session import Options, Session

log = logging.getLogger("locara_label.inference")

T = TypeVar("T")


@dataclass(frozen=True)
class _Made:
    """What sessions are made of; in every new process again."""

    source: Source
    options: Options


class Isolated:
    """Runs models in one process of their own; threads may share it.

    A request that the process dies under is tried once more, in a new process: perhaps another request brought it down, or the
    system did. Under its second death it fails with `run.worker_died`, so that one poisonous picture costs two processes at most.

    Attributes:
        deaths: of processes so far.
    """

    def __init__(self) -> None:
        self.deaths = 0
        self._process: Process | None = None
        self._numbers: dict[_Made, list[int]] = {}
        self._closed = False
        self._lock, self._opening = threading.Lock(), threading.Lock()

    def open(self, source: Source, options: Options) -> tuple[tuple[Session, ...], str]:
        """An `Opener`.

        Raises:
            InferenceFailed: code run.worker_died; the process died twice.
            LocaraError: as `open_here`.
        """
        made = _Made(source, options)
        told = self._twice(lambda process: self._open(process, made))
        return tuple(self._session(made, at, one) for at, one in enumerate(told["sessions"])), str(told["digest"])

    def close(self) -> None:
        """Ends the process; requests fail from now on."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    @property
    def pid(self) -> int | None:
        """Of the process that lives, if one does."""
        process = self._process
        return None if process is None or process.ended else process.pid

    def run(self, made: _Made, position: int, feed: Mapping[str, NDArray[Any]], asked: Asked) -> list[NDArray[Any]]:
        """Runs a session of a source; see `Process.run`."""
        return self._twice(lambda process: process.run(self._number(process, made, position), feed, asked), asked)

    def _twice(self, work: Callable[[Process], T], asked: Asked | None = None) -> T:
        try:
            return work(self._living())
        except Died as died:
            if asked is not None and asked.terminate:
                raise Cancelled("the run was cancelled") from died
        try:
            return work(self._living())
        except Died as died:
            raise InferenceFailed(f"the process that runs models died of this, twice: {died}", code="run.worker_died") from died

    def _living(self) -> Process:
        with self._lock:
            if self._closed:
                raise Cancelled("the engine is closing")
            if self._process is None or self._process.ended:
                self.deaths += self._process is not None
                self._process, self._numbers = Process(), {}
            return self._process

    def _open(self, process: Process, made: _Made) -> dict[str, Any]:
        told = process.open(source_to_json(made.source), options_to_json(made.options))
        with self._lock:
            if process is self._process:
                self._numbers[made] = [one["number"] for one in told["sessions"]]
        return told

    def _number(self, process: Process, made: _Made, position: int) -> int:
        """Of a session in this process, which may have to be opened in it first."""
        if (known := self._known(process, made)) is None:
            with self._opening:
                if (known := self._known(process, made)) is None:
                    self._open(process, made)
                    known = self._known(process, made)
        if known is None:
            raise Died(process.end)
        return known[position]

    def _known(self, process: Process, made: _Made) -> list[int] | None:
        with self._lock:
            return self._numbers.get(made) if process is self._process else None

    def _session(self, made: _Made, position: int, told: Mapping[str, Any]) -> Session:
        return Session(_Remote(self, made, position, told), told["symbols"], new_options=Asked)


class _Remote:
    """What a `Session` asks, as it would ask a session of ONNX Runtime."""

    def __init__(self, isolated: Isolated, made: _Made, position: int, told: Mapping[str, Any]) -> None:
        self._isolated, self._made, self._position = isolated, made, position
        self._inputs = [SimpleNamespace(name=name, type=kind, shape=shape) for name, kind, shape in told["inputs"]]
        self._outputs = [SimpleNamespace(name=name) for name in told["outputs"]]
        self._provider = told["provider"]

    def get_inputs(self) -> list[SimpleNamespace]:
        return self._inputs

    def get_outputs(self) -> list[SimpleNamespace]:
        return self._outputs

    def get_providers(self) -> list[str]:
        return [self._provider]

    def run(self, _: None, feed: Mapping[str, NDArray[Any]], asked: Asked) -> list[NDArray[Any]]:
        return self._isolated.run(self._made, self._position, feed, asked)
