"""The process that runs models: it opens sessions and runs them, for its owner alone.

    python -P -s -m locara_label.inference.child '{"control": 3, "connections": [[4, 5], ...]}'

Sockets and memory come from its owner. It ends when the control socket does, that is when its owner closes it or dies in any way.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from locara_label.engine.sources import open_here
from locara_label.inference.kept import Kept
from locara_label.inference.wire import NO_MEMORY, Arena, Lines, error_to_json, options_of, source_of
from locara_label.runtime.session import Session, Stop

_NO_MEMORY_WORDS = ("bad_alloc", "bad allocation", "Failed to allocate memory", "out of memory")
_STOPS = 256
"""Remembered: one may come before the run that it is for, or after it."""


def main() -> None:
    """Serves until its owner is gone."""
    given = json.loads(sys.argv[1])
    _prepare()
    control = Lines(socket.socket(fileno=given["control"]))
    logging.basicConfig(level=logging.INFO, handlers=[_Told(control)])
    models = Models()
    for stream, memory in given["connections"]:
        connection = Lines(socket.socket(fileno=stream)), Arena(memory)
        threading.Thread(target=_serve, args=(*connection, models), daemon=True).start()
    try:
        while (request := control.receive()) is not None:
            models.stop(request["stop"])
    finally:  # also without memory
        os._exit(0)


def _prepare() -> None:
    """A signal for the whole group is its owner's business, which answers what it has accepted first. Where memory runs out,
    the system shall take this process and not the server.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


class _Told(logging.Handler):
    """What would be logged is told to the owner."""

    def __init__(self, control: Lines) -> None:
        super().__init__()
        self._control = control

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            self._control.send({"level": record.levelno, "logger": record.name, "message": record.getMessage()})


class Models:
    """The sessions, by number."""

    def __init__(self) -> None:
        self._sessions: list[Session] = []
        self._kept = Kept()
        self._stops: OrderedDict[int, Stop] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """Opens all sessions of a source."""
        sessions, digest = open_here(source_of(told["source"]), options_of(told["options"]))
        with self._lock:
            first = len(self._sessions)
            self._sessions += sessions
        return {"digest": digest, "sessions": [_described(first + at, one) for at, one in enumerate(sessions)]}

    def run(self, told: Mapping[str, Any], arena: Arena) -> dict[str, Any]:
        """Runs one on what lies in the arena and what was kept, and leaves in the arena what it gave."""
        feed = arena.views(told["inputs"])
        for name, token in told["keep"].items():
            feed[name] = self._kept.put(token, feed[name])
        for name, token in told["kept"].items():
            if (array := self._kept.get(token)) is None:
                return {"gone": True}
            feed[name] = array
        found = self._sessions[told["run"]].run(feed, stop=self._stop(told["id"]))
        return {"outputs": arena.put(found.items())}

    def stop(self, number: int) -> None:
        """Ends a run, also one that has not begun."""
        self._stop(number).set()

    def _stop(self, number: int) -> Stop:
        with self._lock:
            while len(self._stops) > _STOPS:
                self._stops.popitem(last=False)
            return self._stops.setdefault(number, Stop())


def _described(number: int, session: Session) -> dict[str, Any]:
    inputs = [[name, session.input_types[name], list(session.input_shapes[name])] for name in session.inputs]
    described = {"number": number, "inputs": inputs, "outputs": session.outputs, "provider": session.provider}
    return described | {"symbols": session.symbols}


def _serve(lines: Lines, arena: Arena, models: Models) -> None:
    """One request after the other, until the owner is gone or memory is."""
    status = 1
    try:
        while (request := lines.receive()) is not None:
            lines.send(_answered(models, request, arena))
        status = 0
    except (MemoryError, _NoMemory):
        status = NO_MEMORY
    finally:
        os._exit(status)


class _NoMemory(Exception):
    pass


def _answered(models: Models, request: Mapping[str, Any], arena: Arena) -> dict[str, Any]:
    try:
        return models.run(request, arena) if "run" in request else models.open(request)
    except Exception as error:  # belongs to whoever asked
        # A new process has what this one holds and nobody uses.
        if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY_WORDS):
            raise _NoMemory from error
        return {"error": error_to_json(error)}


if __name__ == "__main__":
    main()
