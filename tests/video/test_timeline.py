"""Which frame is shown when, from ticks alone."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locara_label.errors import BadOption
from locara_label.video.timeline import Timeline, of_rate
from tests.video.numbered import RATES


@pytest.mark.parametrize("rate", RATES.values(), ids=RATES)
def test_numbers_over_rates_find_their_frames(rate: Fraction) -> None:
    line = of_rate(20_000, rate)
    per_s = float(rate)
    for number in [*range(2000), 19_999]:
        ways = [number / per_s, number * (1 / per_s), float(number / rate), number * rate.denominator / rate.numerator]
        near = [math.nextafter(way, end) for way in ways for end in (0, math.inf)]
        assert {line.index_at(time_s) for time_s in ways + near} == {number}
        assert line.index_at((number + 1) / per_s - 1e-6) == number


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=50), st.sampled_from([1000, 12_800, 90_000]), st.data())
def test_floor_at_any_time(steps: list[int], clock: int, data: st.DataObject) -> None:
    ticks = tuple(np.cumsum([-7, *steps]).tolist())
    line = Timeline(ticks, Fraction(1, clock))
    tick = data.draw(st.integers(0, ticks[-1] + 10))
    expected = max(n for n, each in enumerate(ticks) if each - ticks[0] <= tick)
    assert line.index_at(tick / clock) == expected


def test_before_the_first_and_after_the_last() -> None:
    line = of_rate(10, Fraction(25))
    assert line.index_at(-3.0) == 0
    assert line.index_at(1e9) == 9


@pytest.mark.parametrize("time_s", [math.nan, math.inf, "1", None])
def test_times_that_are_none(time_s: float) -> None:
    with pytest.raises(BadOption, match="finite"):
        of_rate(10, Fraction(25)).index_at(time_s)


def test_rates() -> None:
    ntsc, millis = Fraction(30000, 1001), Fraction(1, 1000)
    rounded = tuple(round(1000 * n / ntsc) for n in range(300))
    assert (Timeline(rounded, millis, 33, ntsc).rate, Timeline(rounded, millis, 33, ntsc).variable) == (ntsc, False)
    wrong = Timeline(rounded, millis, 33, Fraction(25))
    assert float(wrong.rate) == pytest.approx(float(ntsc), rel=1e-3)
    assert not wrong.variable
    uneven = Timeline((0, 40, 80, 200), millis, 40, Fraction(25))
    assert (uneven.rate, uneven.variable) == (Fraction(15), True)
    assert uneven.duration_s == pytest.approx(0.24)


def test_one_frame() -> None:
    assert Timeline((7,), Fraction(1, 10), 2).duration_s == pytest.approx(0.2)
    assert Timeline((7,), Fraction(1, 10)).duration_s == pytest.approx(0.04)
    assert Timeline((7,), Fraction(1, 10)).times_s.tolist() == [0.0]


def test_times_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        of_rate(3, Fraction(25)).times_s[0] = 1
