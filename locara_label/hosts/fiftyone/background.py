"""Long work that a panel starts and looks after: a thread for each, its last sign of life, and a way to stop it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from locara_label.errors import Cancelled, LocaraError
from locara_label.hosts.fiftyone.progress import Progress
from locara_label.runtime.session import Stop

_LOG = logging.getLogger("locara_label.fiftyone")
Steps = Callable[[Stop], Iterator[Progress]]


@dataclass(eq=False)
class Run:
    """One piece of work.

    Attributes:
        step: the last one; None before the first.
        ended: in words how it went; empty while it goes on.
        failed: it ended with an error.
    """

    stop: Stop = field(default_factory=Stop)
    step: Progress | None = None
    ended: str = ""
    failed: bool = False

    @property
    def fraction(self) -> float:
        return 0.0 if self.step is None else self.step.fraction

    def work(self, steps: Steps) -> None:
        """Goes through the steps and keeps how it ended; raises nothing."""
        try:
            for step in steps(self.stop):
                self.step = step
            problem = "" if self.step is None else self.step.problem
            self.failed, self.ended = bool(problem), problem or "done"
        except Cancelled:
            self.ended = "stopped; finished frames are saved"
        except LocaraError as error:
            self.failed, self.ended = True, f"{error.message} [{error.code}]"
        except Exception as error:  # noqa: BLE001 - a thread has nobody who would see it
            _LOG.exception("work of a panel failed in a way that nobody thought of")
            self.failed, self.ended = True, f"{type(error).__name__}: {error}"


class Runs:
    """The work of this process by a key, one at a time for each."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._lock = threading.Lock()

    def start(self, key: str, steps: Steps) -> Run:
        """Begins work in a thread; gives what goes on already where there is some."""
        with self._lock:
            found = self._runs.get(key)
            if found is not None and not found.ended:
                return found
            run = self._runs[key] = Run()
        threading.Thread(target=run.work, args=(steps,), name=f"work {key}", daemon=True).start()
        return run

    def get(self, key: str) -> Run | None:
        """What goes on, or what ended and was not asked for yet."""
        with self._lock:
            return self._runs.get(key)

    def take_ended(self, key: str) -> Run | None:
        """What ended, once."""
        with self._lock:
            found = self._runs.get(key)
            return self._runs.pop(key) if found is not None and found.ended else None


RUNS = Runs()
"""Of this process; FiftyOne loads a plugin anew when its files change, so the plugin cannot keep it."""
