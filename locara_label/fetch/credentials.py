"""The two kinds of token of Label Studio, as the header that each makes."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Protocol

from locara_label.errors import FetchFailed
from locara_label.fetch.budget import Budget

ACCESS_S = 240.0
"""How long an access token is used. It is valid for 300 s."""

Exchange = Callable[[str], str]
"""A personal access token to an access token, by asking Label Studio."""

_PERSONAL = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)


class Credential(Protocol):
    """What a request to Label Studio proves itself with; `repr` never shows it."""

    def header(self, exchange: Exchange, budget: Budget, rejected: str | None = None) -> str:
        """The Authorization header; another one than `rejected` if there can be one."""


def credential(token: str) -> Credential:
    """A personal access token is a JSON web token: three parts with dots between them."""
    return PersonalToken(token) if _PERSONAL.fullmatch(token) else LegacyToken(token)


class LegacyToken:
    """Sent as it is."""

    def __init__(self, token: str) -> None:
        self._token = token

    def header(self, exchange: Exchange, budget: Budget, rejected: str | None = None) -> str:  # noqa: ARG002
        return f"Token {self._token}"

    def __repr__(self) -> str:
        return "LegacyToken(...)"


class PersonalToken:
    """Exchanged for access tokens, one at a time however many threads wait; the token itself goes nowhere else."""

    def __init__(self, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._token, self._clock = token, clock
        self._lock = threading.Lock()
        self._header = ""
        self._expires_at = float("-inf")

    def header(self, exchange: Exchange, budget: Budget, rejected: str | None = None) -> str:
        if not self._lock.acquire(timeout=budget.left_s()):
            raise FetchFailed(f"{budget.about} waited for an access token past its deadline", code="fetch.timeout")
        try:
            if self._header == rejected or self._clock() >= self._expires_at:
                asked_at = self._clock()
                self._header = f"Bearer {exchange(self._token)}"
                self._expires_at = asked_at + ACCESS_S
            return self._header
        finally:
            self._lock.release()

    def __repr__(self) -> str:
        return "PersonalToken(...)"
