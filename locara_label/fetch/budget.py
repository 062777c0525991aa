"""How long one read may still take, and whether anybody still waits for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from locara_label.errors import Cancelled, FetchFailed

POLL_S = 0.1
"""How long a wait goes on before it looks again whether it was stopped."""


class Stoppable(Protocol):
    """What tells a read from another thread to give up; `runtime.session.Stop` is one."""

    @property
    def is_set(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Budget:
    """Time of one read.

    Attributes:
        about: the reference as error messages name it.
        ends_at: on the clock of `time.monotonic`.
    """

    about: str
    ends_at: float
    stop: Stoppable | None = None

    @staticmethod
    def of(about: str, seconds: float, stop: Stoppable | None = None) -> Budget:
        return Budget(about, time.monotonic() + seconds, stop)

    def left_s(self) -> float:
        """Seconds until the deadline, above 0.

        Raises:
            Cancelled: somebody stopped the read.
            FetchFailed: the deadline has passed; code fetch.timeout.
        """
        if self.stop is not None and self.stop.is_set:
            raise Cancelled(f"reading {self.about} was stopped")
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise FetchFailed(f"{self.about} took longer than its deadline", code="fetch.timeout")
        return left
