"""Work for a few threads, in order of priority, with a bound on what may wait."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Generic, TypeVar

from locara_label.errors import QueueFull

T = TypeVar("T")


class Priority(IntEnum):
    """What goes first: a person who waits, then pre-labels, then what nobody has asked for yet."""

    CLICK = 0
    PRELABEL = 1
    WARM = 2


class _Job(Generic[T]):
    def __init__(self, work: Callable[[], T]) -> None:
        self.work = work
        self.future: Future[T] = Future()

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.work())
        except BaseException as error:  # noqa: BLE001 - belongs to whoever waits for the result
            self.future.set_exception(error)


class Lane:
    """Threads that take jobs, the most urgent first and of equals the oldest. They start with the first job."""

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        """Args:
        name: of the threads.
        threads: how many jobs run at once.
        waiting: how many jobs may wait before one that is not more urgent is refused.
        """
        self.name, self.threads, self.waiting = name, threads, waiting
        self._jobs: list[tuple[int, int, _Job[Any]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._workers: list[threading.Thread] = []
        self._closed = False

    def submit(self, work: Callable[[], T], priority: Priority = Priority.CLICK) -> Future[T]:
        """Queues a job.

        Raises:
            QueueFull: too many wait already, or the lane is closed.
        """
        job = _Job(work)
        with self._changed:
            if self._closed or self.depth_at(priority) >= self.waiting:
                state = "closed" if self._closed else f"full: {self.waiting} wait already"
                raise QueueFull(f"the {self.name} queue is {state}", retry_after_s=2)
            heapq.heappush(self._jobs, (priority, next(self._order), job))
            self._start()
            self._changed.notify()
        return job.future

    def hurry(self, future: Future[Any], priority: Priority) -> None:
        """Moves a job that still waits forward, if it was less urgent."""
        with self._changed:
            self._jobs = [
                (min(old, priority), order, job) if job.future is future else (old, order, job) for old, order, job in self._jobs
            ]
            heapq.heapify(self._jobs)

    @property
    def depth(self) -> int:
        """Jobs that wait for a thread, given-up ones not counted."""
        return self.depth_at(max(Priority))

    def depth_at(self, priority: Priority) -> int:
        """Jobs that wait and are at least as urgent, given-up ones not counted."""
        return sum(urgency <= priority and not job.future.cancelled() for urgency, _, job in self._jobs)

    def close(self) -> None:
        """Gives up what waits, lets what runs finish."""
        with self._changed:
            self._closed = True
            for _, _, job in self._jobs:
                job.future.cancel()
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _start(self) -> None:
        if len(self._workers) < self.threads:
            worker = threading.Thread(target=self._work, name=f"{self.name}-{len(self._workers)}", daemon=True)
            self._workers.append(worker)
            worker.start()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job.run()

    def _next(self) -> _Job[Any] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            return heapq.heappop(self._jobs)[2] if self._jobs else None


@dataclass(frozen=True)
class Lanes:
    """The three queues: fetching and decoding pictures, the slow models, the decoder of prompts."""

    reading: Lane
    encoding: Lane
    decoding: Lane

    @classmethod
    def of(cls, waiting: int) -> Lanes:
        """As many threads as keep the cores busy without fighting for them; `waiting` jobs in each queue."""
        return cls(Lane("reading", 4, waiting), Lane("encoding", 1, waiting), Lane("decoding", 2, waiting))

    def __iter__(self) -> Iterator[Lane]:
        return iter((self.reading, self.encoding, self.decoding))

    def close(self) -> None:
        """Gives up what waits and lets what runs finish."""
        for lane in self:
            lane.close()
