"""Owner's side of the decoding process: starts it, asks it, waits no longer than the limits allow, and ends it."""

from __future__ import annotations

import json
import mmap
import os
import selectors
import signal
import subprocess
import time
import weakref
from contextlib import suppress
from dataclasses import asdict
from typing import IO, Any

from locara_label import children
from locara_label.errors import BadVideo, Cancelled
from locara_label.video.limits import VideoLimits

_MAX_ANSWER = 16 << 20
_GRACE_S = 2.0
"""Beyond the limit of time, so that the process's own limit speaks first."""
_START_S = 20.0
"""For the interpreter and its libraries on a busy machine."""
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "HOME", "TMPDIR")


class Process:
    """One decoding process of one open file. Not safe for threads, but for `kill`.

    Attributes:
        pid: of the process.
        opened: what it said about the file, unchecked.
        pixels: memory that both sides see, once `map_pixels` was called.

    Raises:
        BadVideo: see `answer`.
    """

    def __init__(self, descriptor: int, kind: str, limits: VideoLimits, threads: int) -> None:
        self._limits, self._buffer = limits, bytearray()
        self._killed = False
        self._failure: BadVideo | None = None
        memory = children.anonymous_memory()
        try:
            self._start((descriptor, memory))
            self._memory = os.dup(memory)
        finally:
            os.close(memory)
        self._finalizer = weakref.finalize(self, _end, self._process, self._memory)
        self.pixels: mmap.mmap | None = None
        self.ask({"file": descriptor, "memory": memory, "kind": kind, "threads": threads, "limits": asdict(limits)})
        try:
            self.opened = self.answer(_START_S)
        except BaseException:
            self._finalizer()
            raise

    def _start(self, descriptors: tuple[int, int]) -> None:
        # Bytes as they come, without another process's buffers in between.
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            children.command("locara_label.video.child"),
            bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=_environment(), pass_fds=descriptors, close_fds=True,
        )  # fmt: skip
        self.pid = self._process.pid

    def map_pixels(self, size: int) -> None:
        """Shares `size` bytes, for good: neither side can make them fewer and the other fault."""
        os.ftruncate(self._memory, size)
        children.seal(self._memory)
        self.pixels = mmap.mmap(self._memory, size)
        self.ask({"bytes": size})

    def ask(self, request: dict[str, Any]) -> None:
        """Sends a request; a process that is gone is noticed by `answer`."""
        with suppress(OSError, ValueError):
            _stream(self._process.stdin).write(json.dumps(request).encode() + b"\n")

    def answer(self, extra_s: float = 0.0) -> dict[str, Any]:
        """The next answer.

        Raises:
            BadVideo: with the code of the process's own answer, or video.too_slow or video.crashed; after the last two
                every further call raises it again.
            Cancelled: the process was ended with `kill`.
        """
        if self._failure is not None:
            raise self._failure
        deadline = time.monotonic() + self._limits.max_seconds + _GRACE_S + extra_s
        while b"\n" not in self._buffer:
            self._receive(deadline)
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer[:] = rest
        return self._understood(line)

    def _receive(self, deadline: float) -> None:
        stream = _stream(self._process.stdout)
        with selectors.DefaultSelector() as selector:
            try:
                selector.register(stream, selectors.EVENT_READ)
            except ValueError:
                raise self._ended() from None
            if not selector.select(max(0.0, deadline - time.monotonic())):
                self._end_now()
                raise self._failed(f"the video took more than {self._limits.max_seconds} s", "video.too_slow")
        data = b"" if stream.closed else os.read(stream.fileno(), 1 << 16)
        if not data:
            raise self._ended()
        self._buffer += data
        if len(self._buffer) > _MAX_ANSWER:
            self._end_now()
            raise self._failed("the decoder's answer makes no sense", "video.crashed")

    def _understood(self, line: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            self._end_now()
            raise self._failed("the decoder's answer makes no sense", "video.crashed")
        if "code" in answer:
            raise BadVideo(str(answer.get("message", ""))[:1000], code=_code(answer["code"]))
        return answer

    def _ended(self) -> BadVideo | Cancelled:
        if self._killed:
            return Cancelled("the video was closed")
        self._end_now()
        status = self._process.returncode
        if status == -signal.SIGXCPU:
            return self._failed(f"the video took more than {self._limits.max_seconds} s of processor time", "video.too_slow")
        name = signal.Signals(-status).name if status is not None and status < 0 else f"status {status}"
        return self._failed(f"the decoder ended by itself: {name}", "video.crashed")

    def _failed(self, message: str, code: str) -> BadVideo:
        self._failure = BadVideo(message, code=code)
        return self._failure

    def _end_now(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2 if not self._killed else 0)
        self._process.kill()
        self._process.wait()

    def kill(self) -> None:
        """Ends the process at once; a call that waits for it in another thread raises Cancelled."""
        self._killed = True
        self._process.kill()
        self._process.wait()

    def release(self) -> None:
        """After `kill`, when no call is under way."""
        if self.pixels is not None:
            self.pixels.close()
            self.pixels = None
        self._finalizer()


def _code(value: object) -> str:
    return value if isinstance(value, str) and value.startswith("video.") and len(value) < 40 else "video.crashed"


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # noqa: S101 - both were asked for
    return stream


def _end(process: subprocess.Popen[bytes], memory: int) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        with suppress(OSError):
            _stream(stream).close()
    os.close(memory)


def _environment() -> dict[str, str]:
    """Nothing secret, and one thread for NumPy."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return kept | children.import_path() | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
