"""One job for each key, however many wait for it, as urgent as the most urgent of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from locara_label.engine.lanes import Lane, Priority

T = TypeVar("T")


class Urgency:
    """How urgent a shared job is; it only grows. The job may have it followed by jobs of its own."""

    def __init__(self, priority: Priority) -> None:
        self.priority = priority
        self._followers: list[Callable[[Priority], None]] = []
        self._lock = threading.Lock()

    def follow(self, hurry: Callable[[Priority], None]) -> None:
        """Has `hurry` called when the job becomes more urgent, and once now."""
        with self._lock:
            self._followers.append(hurry)
            hurry(self.priority)

    def grow(self, priority: Priority) -> None:
        """Somebody more urgent waits too, perhaps."""
        with self._lock:
            if priority < self.priority:
                self.priority = priority
                for hurry in self._followers:
                    hurry(priority)


class Flights(Generic[T]):
    """Jobs under way by key. Threads may share it."""

    def __init__(self) -> None:
        self._running: dict[Hashable, tuple[Future[T], Urgency]] = {}
        self._lock = threading.Lock()

    def join(self, key: Hashable, priority: Priority, lane: Lane, work: Callable[[Urgency], T | Future[T]]) -> Future[T]:
        """The job of the key that is under way, or else a new one in a lane. Nobody may cancel it: others may wait.

        Work that needs another lane returns a future of that lane: waiting for it would keep a thread from more urgent work.

        Raises:
            QueueFull: see `Lane.submit`.
        """
        with self._lock:
            if key in self._running:
                future, urgency = self._running[key]
            else:
                future, urgency = self._start(key, priority, lane, work)
        urgency.grow(priority)
        future.add_done_callback(lambda _: self._landed(key, future))
        return future

    def hurry(self, key: Hashable, priority: Priority) -> None:
        """Makes the job of the key more urgent, if it is still under way."""
        with self._lock:
            running = self._running.get(key)
        if running is not None:
            running[1].grow(priority)

    def _start(
        self, key: Hashable, priority: Priority, lane: Lane, work: Callable[[Urgency], T | Future[T]]
    ) -> tuple[Future[T], Urgency]:
        urgency, flight = Urgency(priority), Future[T]()
        started = lane.submit(lambda: work(urgency), priority)
        urgency.follow(lambda grown: lane.hurry(started, grown))
        started.add_done_callback(lambda done: _pass_on(done, flight))
        self._running[key] = flight, urgency
        return flight, urgency

    def _landed(self, key: Hashable, future: Future[T]) -> None:
        with self._lock:
            if key in self._running and self._running[key][0] is future:
                del self._running[key]


def _pass_on(done: Future[Any], to: Future[T]) -> None:
    """Gives one future's end to another; a result that is a future itself is waited for."""
    if done.cancelled():
        to.cancel()
        to.set_running_or_notify_cancel()
    elif (error := done.exception()) is not None:
        to.set_exception(error)
    elif isinstance(result := done.result(), Future):
        result.add_done_callback(lambda later: _pass_on(later, to))
    else:
        to.set_result(result)
