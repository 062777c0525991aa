"""Long work in pieces, each a job of a lane, so that what is more urgent gets in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import wait
from typing import Protocol, TypeVar

from locara_label.engine.lanes import Lane, Priority
from locara_label.engine.tickets import Ticket
from locara_label.errors import QueueFull
from locara_label.models.base import NO_LIMIT, Limit

T = TypeVar("T")

_AGAIN_S = 0.2
"""How long work that is not urgent stays away from a full lane."""


class Turns(Protocol):
    """How pieces of work get done, and what ends the work."""

    def take(self, work: Callable[[Limit], T]) -> T:
        """Does one piece, within the limit that it is given, and gives its result.

        Raises:
            Cancelled, DeadlineExceeded, QueueFull: it was not done, or given up.
        """
        ...

    def check(self) -> None:
        """Raises Cancelled or DeadlineExceeded where nothing more will be done."""
        ...

    def cancel(self) -> None:
        """Ends the piece under way and refuses later ones; from any thread."""
        ...


class Unhurried:
    """Every piece at once, in the caller's own thread; ends when it is done."""

    def take(self, work: Callable[[Limit], T]) -> T:
        return work(NO_LIMIT)

    def check(self) -> None:
        """Nothing to say."""

    def cancel(self) -> None:
        """Nothing can be ended."""


class LaneTurns:
    """Every piece waits for its turn in a lane. Only for threads that are not the lane's own."""

    def __init__(self, lane: Lane, ticket: Ticket, priority: Priority = Priority.CLICK) -> None:
        """Args:
        lane: of the device.
        ticket: deadline and cancellation of the whole work.
        priority: among the jobs that wait. Pieces that are less urgent than a click wait until a full lane has room.
        """
        self._lane, self._ticket, self._priority = lane, ticket, priority

    def take(self, work: Callable[[Limit], T]) -> T:
        while True:
            try:
                future = self._lane.submit(lambda: work(self._ticket.limit), self._priority)
                break
            except QueueFull:
                if self._priority == Priority.CLICK:
                    raise
                self._ticket.pause(_AGAIN_S)
        try:
            return self._ticket.wait(future)
        finally:
            if not future.done() and not future.cancel():
                wait([future])  # it has the ticket's limit and ends soon; until then what it works on is not free

    def check(self) -> None:
        self._ticket.pause(0)

    def cancel(self) -> None:
        self._ticket.cancel()


def in_turns(items: Iterator[T], turns: Turns) -> Iterator[T]:
    """The items, each made in a turn of its own; none of them is None.

    Raises:
        Cancelled, DeadlineExceeded, QueueFull: see `Turns.take`.
    """
    while (item := turns.take(lambda _: next(items, None))) is not None:
        yield item
