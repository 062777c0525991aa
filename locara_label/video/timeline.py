"""When each frame is shown: exact ticks of the file's clock, turned into seconds once."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from locara_label.errors import BadOption

_SLACK_S = 1e-9
"""Far above what rounding does to a time in doubles, far below the step of any file's clock."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """Presentation times of frames.

    Attributes:
        ticks: of each frame on the file's clock, ascending; at least one.
        base: seconds of one tick.
        last: ticks that the last frame is shown, 0 where the file does not say.
        stated: frames per second as the file states them, if it does.
    """

    ticks: tuple[int, ...]
    base: Fraction
    last: int = 0
    stated: Fraction | None = None
    times_s: NDArray[np.float64] = field(init=False, repr=False)
    rate: Fraction = field(init=False)
    variable: bool = field(init=False)
    duration_s: float = field(init=False)

    def __post_init__(self) -> None:
        times = np.array([self._seconds(tick) for tick in self.ticks], np.float64)
        times.flags.writeable = False
        object.__setattr__(self, "times_s", times)
        rate, variable = self._rate()
        object.__setattr__(self, "rate", rate)
        object.__setattr__(self, "variable", variable)
        end = self.ticks[-1] - self.ticks[0]
        last_s = self.last * self.base if self.last > 0 else 1 / rate
        object.__setattr__(self, "duration_s", float(end * self.base + last_s))

    def _seconds(self, tick: int) -> float:
        """Rounded once: Python divides whole numbers correctly."""
        return (tick - self.ticks[0]) * self.base.numerator / self.base.denominator

    @property
    def start_s(self) -> float:
        """When the first frame is shown on the file's own clock; where a file begins late, a browser counts from that clock."""
        return float(self.ticks[0] * self.base)

    def _rate(self) -> tuple[Fraction, bool]:
        """Frames per second, and whether the steps vary by more than the rounding to ticks; then the rate is their mean."""
        if len(self.ticks) == 1:
            return self.stated or Fraction(1 / (self.last * self.base) if self.last > 0 else 25), False
        mean = (len(self.ticks) - 1) / ((self.ticks[-1] - self.ticks[0]) * self.base)
        if self.stated is not None and self._steady(self.stated, 1):
            return self.stated, False
        return mean, not self._steady(mean, 2)  # the mean's own ends are rounded too

    def _steady(self, rate: Fraction, slack: int) -> bool:
        """Whether frames keep to a rate, but for `slack` ticks."""
        step = 1 / (rate * self.base)
        offsets = [(tick - self.ticks[0]) * step.denominator - i * step.numerator for i, tick in enumerate(self.ticks)]
        return max(offsets) - min(offsets) <= slack * step.denominator

    def index_at(self, time_s: float) -> int:
        """The frame that is shown at a time, counted from the first frame: the last one that begins at it or before it.

        A time within a nanosecond before a frame counts as the frame's own, so that numbers over rates, rounded to doubles,
        find their frames. Before the first frame it is the first, after the last one the last, as players show it.

        Raises:
            BadOption: the time is not a finite number.
        """
        if not isinstance(time_s, (int, float, np.floating, np.integer, Fraction)) or not math.isfinite(time_s):
            raise BadOption(f"a time is a finite number of seconds, got {time_s!r}", code="option.range")
        return max(bisect_right(self.times_s, float(time_s) + _SLACK_S) - 1, 0)


def of_rate(count: int, rate: Fraction) -> Timeline:
    """`count` frames at `rate` per second."""
    return Timeline(tuple(range(count)), 1 / rate, 1, rate)


def check_ticks(ticks: Sequence[int]) -> bool:
    """Whether each is later than the one before."""
    return all(one < other for one, other in pairwise(ticks))
