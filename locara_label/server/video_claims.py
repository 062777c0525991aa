"""Which videos of tasks this server goes through where several share a store: one at a time has a video, until it is done.

A claim dies with its server. What is not done and nobody has is taken over by whoever looks first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

from locara_label.errors import LocaraError, StoreFailed
from locara_label.hosts.label_studio.masklets import MaskletStore
from locara_label.server.video_jobs import Advance, Job, Key

log = logging.getLogger("locara_label.server")

LOOK_S = 5.0
"""How often a server looks for what another one has left."""
_AGAIN_S, _REST_S = 0.2, 2.0


class Claims:
    """The claims of one server. Threads may share it."""

    def __init__(self, store: Callable[[], MaskletStore]) -> None:
        """`store` opens the store when it is first needed."""
        self._stored, self._lock = store, threading.Lock()
        self._held: dict[Key, ExitStack] = {}

    def take(self, key: Key) -> bool:
        """Whether a video is this server's from now on, or was. Raises StoreFailed."""
        with self._lock:
            if key not in self._held:
                stack = ExitStack()
                if stack.enter_context(self._stored().claim(f"video {key.project}/{key.task}/{key.to_name}")):
                    self._held[key] = stack
                else:
                    stack.close()
            return key in self._held

    def free(self, key: Key) -> None:
        """Lets others have a video; nothing happens to one that is not held."""
        with self._lock:
            stack = self._held.pop(key, None)
            if stack is not None:
                with suppress(StoreFailed):
                    stack.close()

    def close(self) -> None:
        """Frees all."""
        for key in tuple(self._held):
            self.free(key)

    def first(self, advance: Advance) -> Advance:
        """The same work, once the video of a job is this server's; until then other jobs go first."""

        def claimed(job: Job, gives_way: Callable[[], bool]) -> bool:
            if self.take(job.key):
                return advance(job, gives_way)
            job.rests_s = time.monotonic() + _REST_S
            time.sleep(_AGAIN_S)
            return False

        return claimed


class Watch:
    """Looks every few seconds whether there is something to take over."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look, self._over = look, threading.Event()
        self._thread = threading.Thread(target=self._work, name="taking-over", daemon=True)

    def start(self) -> None:
        """Called once the server listens."""
        self._thread.start()

    def close(self) -> None:
        """Waits for the look under way."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        told = None
        while not self._over.wait(LOOK_S):
            try:
                self._look()
                told = None
            except LocaraError as error:
                if told != error.code and not self._over.is_set():
                    log.error("masklets: [%s] %s", error.code, error.message, extra={"code": error.code})  # noqa: TRY400
                told = error.code
            except Exception:
                log.exception("what other servers have left is not looked for")
