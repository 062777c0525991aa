"""Pictures out of a decoding process, some of them ahead of time."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from locara_label.errors import BadVideo, Cancelled
from locara_label.video.process import Process
from locara_label.video.video import Picture

SLOTS = 4
_AHEAD = SLOTS - 1
"""One slot stays free, so that a single frame can always be asked for while walks are paused."""


@dataclass(eq=False)
class _Ticket:
    number: int
    slot: int
    done: bool = False
    abandoned: bool = False
    error: BadVideo | None = None


class DecodedSource:
    """The `Source` of a file. Requests are answered in their order; every picture is copied out of the shared slots."""

    def __init__(self, process: Process, size: tuple[int, int]) -> None:
        self._process, self._shape = process, (*size, 3)
        self._bytes = math.prod(self._shape)
        self._lock = threading.Lock()
        self._closed = False
        self._free = list(range(SLOTS))
        self._asked: deque[_Ticket] = deque()
        self.lost: dict[int, int] = {}
        self.hurt: set[int] = set()
        process.map_pixels(SLOTS * self._bytes)

    @property
    def pid(self) -> int:
        """Of the decoding process."""
        return self._process.pid

    def read(self, number: int) -> Picture:
        with self._lock:
            return self._taken(self._ask(number, back=False))

    def walk(self, numbers: range) -> Iterator[Picture]:
        coming = deque(numbers)
        tickets: deque[_Ticket] = deque()
        back = numbers.step < 0
        try:
            while coming or tickets:
                with self._lock:
                    if not tickets:
                        tickets.append(self._ask(coming.popleft(), back=back))
                    while coming and len(tickets) < _AHEAD and len(self._free) > 1:
                        tickets.append(self._ask(coming.popleft(), back=back))
                    picture = self._taken(tickets.popleft())
                yield picture
        finally:
            self._abandon(tickets)

    def close(self) -> None:
        self._closed = True
        self._process.kill()
        with self._lock:
            self._process.release()

    def _ask(self, number: int, *, back: bool) -> _Ticket:
        if self._closed:
            raise Cancelled("the video is closed")
        while not self._free:
            self._receive()
        ticket = _Ticket(number, self._free.pop())
        self._asked.append(ticket)
        self._process.ask({"frame": number, "slot": ticket.slot, "back": back})
        return ticket

    def _taken(self, ticket: _Ticket) -> Picture:
        try:
            while not ticket.done:
                self._receive()
            if ticket.error is not None:
                raise ticket.error
            return self._copied(ticket.slot)
        finally:
            self._leave(ticket)

    def _copied(self, slot: int) -> Picture:
        if self._closed or self._process.pixels is None:
            raise Cancelled("the video is closed")
        shared = np.frombuffer(self._process.pixels, np.uint8, self._bytes, slot * self._bytes)
        return shared.reshape(self._shape).copy()

    def _receive(self) -> None:
        """The answer to the oldest request."""
        if self._closed:
            raise Cancelled("the video is closed")
        ticket = self._asked[0]
        try:
            answer = self._process.answer()
        except BadVideo as error:
            ticket.error = error
        else:
            shown = answer.get("shown")
            if isinstance(shown, int) and shown != ticket.number:
                self.lost[ticket.number] = shown
            self.hurt.update(number for number in _list(answer.get("hurt")) if isinstance(number, int))
        self._asked.popleft()
        ticket.done = True
        if ticket.abandoned:
            self._free.append(ticket.slot)

    def _leave(self, ticket: _Ticket) -> None:
        if ticket.done:
            self._free.append(ticket.slot)
        else:
            ticket.abandoned = True

    def _abandon(self, tickets: deque[_Ticket]) -> None:
        with self._lock:
            for ticket in tickets:
                self._leave(ticket)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
