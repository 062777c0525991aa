"""A request that waits: when it gives up, and who may make it give up."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from locara_label.errors import Cancelled, DeadlineExceeded
from locara_label.models.base import Limit
from locara_label.runtime.session import Stop

T = TypeVar("T")


class Ticket:
    """A deadline and a cancellation, from the moment a request came in."""

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self.stop = Stop()
        self._expires = time.monotonic() + deadline_s
        self._cancelled: Future[None] = Future()
        self._lock = threading.Lock()

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline, not below 0."""
        return max(0.0, self._expires - time.monotonic())

    @property
    def limit(self) -> Limit:
        """What is left, for a call of a model.

        Raises:
            DeadlineExceeded: nothing is left.
        """
        if not self.remaining_s:
            raise self._late()
        return Limit(self.stop, self.remaining_s)

    def cancel(self) -> None:
        """Ends the wait, and the model's run if it serves this request alone."""
        with self._lock:
            if not self._cancelled.done():
                self._cancelled.set_result(None)
            self.stop.set()  # last: a job that it ends is seen to be given up

    def wait(self, future: Future[T]) -> T:
        """The result of a job.

        Raises:
            Cancelled: the ticket was cancelled; a job that nobody else can see should then be given up by the caller.
            DeadlineExceeded: the time is over.
        """
        futures: set[Future[Any]] = {future, self._cancelled}
        wait(futures, self.remaining_s, FIRST_COMPLETED)
        if future.done() and not future.cancelled() and not self._gave_up(future):
            return future.result()
        if self._cancelled.done():
            raise self._replaced()
        if future.cancelled():
            raise Cancelled("the engine is closing")
        raise self._late()

    def pause(self, seconds: float) -> None:
        """Waits a little, but no longer than the ticket lives.

        Raises:
            Cancelled, DeadlineExceeded: see `wait`.
        """
        wait([self._cancelled], min(seconds, self.remaining_s))
        if self._cancelled.done():
            raise self._replaced()
        if not self.remaining_s:
            raise self._late()

    def _gave_up(self, future: Future[T]) -> bool:
        """Whether a job ended because this ticket was cancelled."""
        return self._cancelled.done() and isinstance(future.exception(), Cancelled)

    def _replaced(self) -> Cancelled:
        return Cancelled("a newer request took the place of this one", code="run.replaced")

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"no answer within {self.deadline_s:g} s")


class Newest:
    """Of the requests with the same key only the newest lives: a click makes the answer to the click before it worthless."""

    def __init__(self) -> None:
        self._tickets: dict[Hashable, Ticket] = {}
        self._lock = threading.Lock()

    @contextmanager
    def of(self, key: Hashable | None, ticket: Ticket) -> Iterator[None]:
        """Cancels the ticket that holds the key, and holds it meanwhile; no key replaces nothing."""
        if key is None:
            yield
            return
        with self._lock:
            older = self._tickets.get(key)
            self._tickets[key] = ticket
        if older is not None:
            older.cancel()
        try:
            yield
        finally:
            with self._lock:
                if self._tickets.get(key) is ticket:
                    del self._tickets[key]
