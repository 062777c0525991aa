"""One hostile case after the other: what came of it, how long it took, and what broke the bar."""

from __future__ import annotations

import argparse
import faulthandler
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from tests.peak_memory import peak_rss_bytes

Number = TypeVar("Number", int, float)

WATCHDOG_SECONDS = 120
"""By the clock; then the process ends with the stacks of its threads."""


@dataclass
class Summary:
    """What came of the cases.

    Attributes:
        count: cases so far.
        outcomes: how many ended how.
        slowest: seconds and name of the slowest.
        violations: what broke the bar, one sentence each.
        figures: other things that were measured, by name; of two values the larger one counts.
    """

    count: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, str] = (0.0, "")
    violations: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def judge(self, name: str, ask: Callable[[], str], max_seconds: float, clock: Callable[[], float], *, tries: int = 1) -> None:
        """Counts what a case gives; anything that it raises is a violation, and so is taking too long by a clock.

        A case that takes too long may be asked again: on a busy machine a processor's second is no second's work.
        """
        for last in range(tries - 1, -1, -1):
            outcome, seconds = _asked(ask, max_seconds, clock)
            if seconds <= max_seconds or not last:
                break
        self.took(name, seconds)
        if isinstance(outcome, Exception):
            self.violations.append(f"{name}: {type(outcome).__name__}: {outcome}")
        else:
            self.outcomes[outcome] += 1
        if seconds > max_seconds:
            self.violations.append(f"{name}: took {seconds:.1f} s")

    def took(self, name: str, seconds: float) -> None:
        """One more case."""
        self.count += 1
        self.slowest = max(self.slowest, (seconds, name))

    def measured(self, name: str, value: float) -> None:
        """The largest value that was seen under a name is kept."""
        self.figures[name] = max(value, self.figures.get(name, value))

    def add(self, other: Summary) -> None:
        """Counts what another one counted too."""
        self.count += other.count
        self.outcomes += other.outcomes
        self.slowest = max(self.slowest, other.slowest)
        self.violations += other.violations
        for name, value in other.figures.items():
            self.measured(name, value)

    def to_json(self) -> dict[str, Any]:
        return {
            "cases": self.count,
            "outcomes": dict(sorted(self.outcomes.items())),
            "slowest": {"seconds": round(self.slowest[0], 3), "case": self.slowest[1]},
            "peak_rss_mb": peak_rss_bytes() // 1_000_000,
            "violations": self.violations,
            "figures": {name: round(value, 3) for name, value in self.figures.items()},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        slowest = data["slowest"]["seconds"], data["slowest"]["case"]
        return cls(data["cases"], Counter(data["outcomes"]), slowest, list(data["violations"]), dict(data["figures"]))


def _asked(ask: Callable[[], str], max_seconds: float, clock: Callable[[], float]) -> tuple[str | Exception, float]:
    """What a case gives or raises, and how long that takes."""
    faulthandler.dump_traceback_later(max(WATCHDOG_SECONDS, 2 * max_seconds), exit=True, file=sys.__stderr__)
    start = clock()
    try:
        return ask(), clock() - start
    except Exception as error:  # noqa: BLE001 - any error that nobody thought of is what this looks for
        return error, clock() - start
    finally:
        faulthandler.cancel_dump_traceback_later()


def command(description: str | None, option: str, count: Number, work: Callable[[Number], Summary]) -> int:
    """A suite as a program with one option, how much of it; JSON goes to stdout, and the exit status is 1 after a violation."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(f"--{option}", type=type(count), default=count)
    found = work(getattr(parser.parse_args(), option))
    print(json.dumps(found.to_json(), indent=1))
    return 1 if found.violations else 0
