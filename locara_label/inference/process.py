"""Owner's side of one life of the process that runs models."""

from __future__ import annotations

import itertools
import json
import logging
import os
import signal
import socket
import subprocess
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeVar

from numpy.typing import NDArray

from locara_label import children
from locara_label.errors import InferenceFailed
from locara_label.inference.kept import Tokens
from locara_label.inference.wire import NO_MEMORY, Arena, Lines, error_of

log = logging.getLogger("locara_label.inference")

T = TypeVar("T")
Connection = tuple[Lines, Arena]

AT_ONCE = 8
"""Requests; more wait."""
PATIENCE_S = 20.0
"""After a run was told to stop; then native code hangs, and the process is ended."""
_GRACE_S = 5.0
_MOST_THERE = 1024
_TOKENS = Tokens()
_SECRET = ("LOCARA_", "HF_")


class Died(Exception):
    """The process ended before it answered; the message says how."""


class Asked:
    """What runs hold in place of ONNX Runtime's options: setting `terminate` ends the run wherever it is."""

    def __init__(self) -> None:
        self._terminate = False
        self._stop: Callable[[], None] | None = None
        self._lock = threading.Lock()

    @property
    def terminate(self) -> bool:
        return self._terminate

    @terminate.setter
    def terminate(self, value: bool) -> None:
        with self._lock:
            self._terminate = value
            if value and self._stop is not None:
                self._stop()

    @contextmanager
    def stopped_by(self, stop: Callable[[], None]) -> Iterator[None]:
        """While a run is somewhere, how it is ended."""
        with self._lock:
            self._stop = stop
            if self._terminate:
                stop()
        try:
            yield
        finally:
            with self._lock:
                self._stop = None


class Process:
    """One process; threads may share it.

    Attributes:
        pid: of the process.
        ended: it answers nobody any more.

    Raises:
        InferenceFailed: code run.load; the system starts no process.
    """

    def __init__(self) -> None:
        self.ended = False
        self._runs = itertools.count()
        self._free: list[Connection] = []
        self._there: set[int] = set()
        self._slots, self._lock = threading.Semaphore(AT_ONCE), threading.Lock()
        try:
            self._start()
        except OSError as error:
            raise InferenceFailed(f"no process for models can be started: {error}", code="run.load") from error
        self.pid = self._process.pid
        self._finalizer = weakref.finalize(self, _end, self._process, self._free)
        threading.Thread(target=_watch, args=(self._control, self._process, weakref.ref(self)), daemon=True).start()

    def _start(self) -> None:
        with ExitStack() as ours, ExitStack() as theirs:
            pairs = [socket.socketpair() for _ in range(AT_ONCE + 1)]
            for pair in pairs:
                ours.push(pair[0])
                theirs.push(pair[1])
            memories = [children.anonymous_memory() for _ in range(AT_ONCE)]
            for memory in memories:
                children.seal(memory, growing=True)
                ours.callback(os.close, memory)
            self._process = _started([pair[1].fileno() for pair in pairs], memories)
            ours.pop_all()
        self._control, *lines = (Lines(pair[0]) for pair in pairs)
        self._free += zip(lines, map(Arena, memories), strict=True)

    def open(self, source: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
        """Opens the sessions of a source; says what they are.

        Raises:
            LocaraError: as `open_here`.
            Died: see there.
        """
        with self._connection() as (lines, _):
            return self._answer(lines, {"source": source, "options": options})

    def run(self, number: int, feed: Mapping[str, NDArray[Any]], asked: Asked) -> list[NDArray[Any]]:
        """Runs a session; outputs in its own order.

        Raises:
            InferenceFailed, Cancelled: it failed, or `asked` ended it.
            Died: see there.
        """
        tokens = {name: token for name, array in feed.items() if (token := _TOKENS.of(array))}
        run = next(self._runs)
        with self._connection() as (lines, arena), self._ending(asked, run):
            answer = self._run(lines, arena, {"run": number, "id": run}, feed, tokens)
            if "gone" in answer:
                self._there = set()
                answer = self._run(lines, arena, {"run": number, "id": run}, feed, tokens)
            self._note_there(set(tokens.values()))
            return self._sensible(lambda: [view.copy() for view in arena.views(answer["outputs"]).values()])

    def _note_there(self, tokens: set[int]) -> None:
        """What has gone there meanwhile is sent again, so forgetting all of it now and then does no harm."""
        self._there = tokens if len(self._there) > _MOST_THERE else self._there | tokens

    def _run(
        self, lines: Lines, arena: Arena, request: dict[str, Any], feed: Mapping[str, NDArray[Any]], tokens: Mapping[str, int]
    ) -> dict[str, Any]:
        """Sends what is not there yet, and names the rest."""
        kept = {name: token for name, token in tokens.items() if token in self._there}
        keep = {name: token for name, token in tokens.items() if name not in kept}
        inputs = arena.put((name, array) for name, array in feed.items() if name not in kept)
        return self._answer(lines, {**request, "inputs": inputs, "kept": kept, "keep": keep})

    def kill(self, why: str | None = None) -> None:
        """Ends it now, if it still lives; who waits for an answer gets `Died`. A reason is logged, unless it has ended before."""
        with self._lock:
            first, self.ended = not self.ended, True
        if first and why is not None:
            log.error("the process that runs models died: %s", why, extra={"code": "run.worker_died"})
        self._finalizer()

    @property
    def end(self) -> str:
        """How it ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        return how_it_ended(self._process.returncode)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with self._slots:
            with self._lock:
                connection = None if self.ended else self._free.pop()
            if connection is None:
                raise Died(self.end)
            try:
                yield connection
            finally:
                self._take_back(connection)

    def _take_back(self, connection: Connection) -> None:
        with self._lock:
            if not self.ended:
                self._free.append(connection)
                return
        _close(connection)

    def _answer(self, lines: Lines, request: Mapping[str, Any]) -> dict[str, Any]:
        answer = None
        with suppress(OSError):
            lines.send(request)
            answer = self._sensible(lines.receive)
        if answer is None:
            how = self.end
            self.kill(how)
            raise Died(how)
        if "error" in answer:
            raise self._sensible(lambda: error_of(answer["error"]))
        return answer

    def _sensible(self, read: Callable[[], T]) -> T:
        """What is read of an answer; a process whose answers make no sense is trusted no more."""
        try:
            return read()
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            self.kill(why := f"its answer makes no sense: {error}")
            raise Died(why) from error

    @contextmanager
    def _ending(self, asked: Asked, run: int) -> Iterator[None]:
        timer = threading.Timer(PATIENCE_S, self.kill, (f"it did not stop within {PATIENCE_S:g} s",))
        timer.daemon = True

        def stop() -> None:
            with suppress(OSError):
                self._control.send({"stop": run})
            timer.start()

        try:
            with asked.stopped_by(stop):
                yield
        finally:
            timer.cancel()


def _started(sockets: list[int], memories: list[int]) -> subprocess.Popen[bytes]:
    told = json.dumps({"control": sockets[0], "connections": list(zip(sockets[1:], memories, strict=True))})
    return subprocess.Popen(
        children.command("locara_label.inference.child", told),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=_environment(), pass_fds=(*sockets, *memories),
    )  # fmt: skip


def how_it_ended(status: int | None) -> str:
    if status == NO_MEMORY:
        return "it had no memory left"
    return signal.Signals(-status).name if status is not None and status < 0 else f"status {status}"


def _environment() -> dict[str, str]:
    """What libraries may look at, but no secrets and none of our settings, which come with each request."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SECRET)}
    return kept | children.import_path()


def _end(process: subprocess.Popen[bytes], free: list[Connection]) -> None:
    process.kill()
    process.wait()
    while free:
        _close(free.pop())


def _close(connection: Connection) -> None:
    for side in connection:
        side.close()


def _watch(control: Lines, process: subprocess.Popen[bytes], owner: weakref.ref[Process]) -> None:
    """Logs what the process has to say, and its end, unless it was wished for."""
    with suppress(ValueError):
        while (told := control.receive()) is not None:
            logging.getLogger(str(told.get("logger"))).log(int(told.get("level", 0)), "%s", told.get("message"))
    control.close()
    process.wait()
    living = owner()
    if living is not None:
        living.kill(how_it_ended(process.returncode))
