"""How old the sessions are that servers share: by what this server saw of them, as clocks of several machines differ and jump."""

from __future__ import annotations

import time
from collections.abc import Callable, Container

_OFTEN = 10


class SessionAges:
    """By a clock that does not jump; it begins anew with a server. Threads may share it."""

    def __init__(self, idle_s: float, age_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle_s, self._age_s, self._clock = idle_s, age_s, clock
        self._seen: dict[str, tuple[float, float, float]] = {}

    def see(self, session_id: str, used_s: float) -> None:
        """Takes note of a session.

        Args:
            session_id: of the session.
            used_s: as it is kept. It may come from any clock: all that counts is whether it is another than before.
        """
        self._noted(session_id, used_s)

    def is_due(self, session_id: str) -> bool:
        """Whether a session's last use was so long ago that other servers should be told of the next one."""
        noted = self._seen.get(session_id)
        return noted is not None and self._clock() > noted[1] + self._idle_s / _OFTEN

    def is_over(self, session_id: str, used_s: float) -> bool:
        """Takes note of a session; whether it was known, or unused, for too long."""
        known, since, _ = self._noted(session_id, used_s)
        return self._clock() > min(known + self._age_s, since + self._idle_s)

    def _noted(self, session_id: str, used_s: float) -> tuple[float, float, float]:
        now = self._clock()
        known, since, before = self._seen.get(session_id, (now, now, used_s))
        self._seen[session_id] = noted = known, since if used_s == before else now, used_s
        return noted

    def forget_others(self, session_ids: Container[str]) -> None:
        """Keeps what was seen of these sessions alone."""
        for session_id in [one for one in list(self._seen) if one not in session_ids]:
            self._seen.pop(session_id, None)
