"""What a model is doing: on its way, loading, ready or broken."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Literal

from locara_label.errors import LocaraError

Kind = Literal["not_downloaded", "downloading", "loading", "ready", "error"]

# Trying again unchanged can help here; elsewhere the user has to change something first.
_WORTH_RETRYING = frozenset({"download.unreachable", "download.disk_full", "download.wrong_hash", "run.device_unavailable"})


@dataclass(frozen=True, slots=True)
class State:
    """One of five states.

    Attributes:
        fraction: 0..1 of the bytes, while downloading and where the size is known.
        reason: what went wrong, for people; with `error` only.
        retry: the same call may succeed later without any change; with `error` only.
    """

    kind: Kind
    fraction: float | None = None
    reason: str | None = None
    retry: bool = False

    @classmethod
    def of_error(cls, error: LocaraError) -> State:
        return cls("error", reason=error.message, retry=error.code in _WORTH_RETRYING)

    def to_json(self) -> dict[str, Any]:
        return {"state": self.kind, "fraction": self.fraction, "reason": self.reason, "retry": self.retry}

    def __str__(self) -> str:
        if self.kind == "downloading" and self.fraction is not None:
            return f"downloading ({self.fraction:.0%})"
        return f"error ({self.reason})" if self.kind == "error" else self.kind


class States:
    """What this process knows about its models; safe to use from several threads.

    Whoever loads a model reports `loading`, then `ready` or `failed`, and `forget` when it is unloaded. Everything else
    is read from the disk by `Store.state`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, State] = {}

    def loading(self, name: str) -> None:
        self._set(name, State("loading"))

    def ready(self, name: str) -> None:
        self._set(name, State("ready"))

    def failed(self, name: str, error: LocaraError) -> None:
        self._set(name, State.of_error(error))

    def forget(self, name: str) -> None:
        with self._lock:
            self._states.pop(name, None)

    def get(self, name: str) -> State | None:
        with self._lock:
            return self._states.get(name)

    def _set(self, name: str, state: State) -> None:
        with self._lock:
            self._states[name] = state
