"""The editor's frames and the file's: what they have in common is the time."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locara_label.errors import BadRequest
from locara_label.hosts.label_studio.video_clock import DEFAULT_RATE, EditorClock, config_rate, told_rate
from locara_label.video.timeline import Timeline, of_rate

RATES = {
    "23.976": Fraction(24000, 1001),
    "25": Fraction(25),
    "29.97": Fraction(30000, 1001),
    "30": Fraction(30),
}


@pytest.mark.parametrize("written", RATES)
def test_equal_rates_are_frame_by_frame(written: str) -> None:
    """For ten minutes, although the editor knows the rate with a few digits only."""
    count = int(600 * RATES[written])
    clock = EditorClock(float(written), of_rate(count, RATES[written]))
    assert [clock.file_frame(frame) for frame in range(1, count + 1)] == list(range(count))


@pytest.mark.parametrize("base", [Fraction(1, 90000), Fraction(1, 1000), Fraction(1, 12800)])
@pytest.mark.parametrize("written", RATES)
def test_times_that_are_rounded_to_ticks_change_nothing(written: str, base: Fraction) -> None:
    rate, count = RATES[written], 5000
    ticks = tuple(round(frame / rate / base) for frame in range(count))
    clock = EditorClock(float(written), Timeline(ticks, base, 0, rate))
    assert [clock.file_frame(frame) for frame in range(1, count + 1)] == list(range(count))


@pytest.mark.parametrize("written", RATES)
def test_a_file_of_twice_the_rate_shows_every_other_frame(written: str) -> None:
    clock = EditorClock(float(written), of_rate(2000, 2 * RATES[written]))
    assert [clock.file_frame(frame) for frame in range(1, 1001)] == list(range(0, 2000, 2))


@pytest.mark.parametrize("written", RATES)
def test_a_file_of_half_the_rate_shows_each_frame_twice(written: str) -> None:
    clock = EditorClock(float(written), of_rate(500, RATES[written] / 2))
    assert [clock.file_frame(frame) for frame in range(1, 1001)] == [frame // 2 for frame in range(1000)]


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    steps = draw(st.lists(st.integers(1, 9), min_size=1, max_size=80))
    start = draw(st.integers(0, 50))
    return Timeline(tuple(accumulate(steps, initial=start)), Fraction(1, 100), 4)


@settings(max_examples=300, deadline=None)
@given(timelines(), st.sampled_from([12.0, 23.976, 24.0, 25.0, 29.97, 30.0, 59.94]))
def test_any_file(timeline: Timeline, rate: float) -> None:
    """The frame that is shown has begun, and the next one has not; the way back leads to the first frame that shows it."""
    clock = EditorClock(rate, timeline)
    begins = [float(tick * timeline.base) for tick in timeline.ticks]
    for frame in range(1, clock.frame_count + 2):
        at, seconds = clock.file_frame(frame), clock.seconds(frame)
        assert abs(seconds - (frame - 1) / rate) <= 0.003 + 1e-9
        assert begins[at] <= seconds + 1e-9 or at == 0
        assert at == len(begins) - 1 or begins[at + 1] > seconds - 1e-9
    for at in range(len(begins)):
        first = clock.editor_frame(at)
        assert clock.file_frame(first) >= at
        assert first == 1 or clock.file_frame(first - 1) < at


def test_a_late_start_counts() -> None:
    """The editor counts from the file's own clock; before the first frame it shows that one."""
    late = Timeline(tuple(range(10, 60)), Fraction(1, 25), 1, Fraction(25))
    clock = EditorClock(25.0, late)
    assert [clock.file_frame(frame) for frame in (1, 10, 11, 12, 60)] == [0, 0, 0, 1, 49]
    assert clock.frame_count == 60


@pytest.mark.parametrize(("frame", "time_s", "rate"), [(1, 1 / 24, 24.0), (7, 7 / 29.97, 29.97), (250, 10.0, 25.0)])
def test_keyframes_tell_the_rate(frame: int, time_s: float, rate: float) -> None:
    assert told_rate(frame, time_s) == rate


@pytest.mark.parametrize(("frame", "time_s"), [(1, None), (1, 0.0), (0, 1.0), (5, 1e9), (100_000, 1e-9)])
def test_keyframes_that_tell_no_rate(frame: int, time_s: float | None) -> None:
    assert told_rate(frame, time_s) is None


@pytest.mark.parametrize(
    ("written", "rate"),
    [("25", 25.0), ("29.97", 29.97), ("0.04", 25.0), (None, DEFAULT_RATE), ("", DEFAULT_RATE), ("fast", DEFAULT_RATE),
     ("-3", DEFAULT_RATE), ("nan", DEFAULT_RATE), ("$fps", 50.0), ("$none", DEFAULT_RATE)],
)  # fmt: skip
def test_the_config_tells_the_rate_as_the_editor_reads_it(written: str | None, rate: float) -> None:
    assert config_rate(written, {"fps": 50}) == rate


@pytest.mark.parametrize("rate", [0.0, -1.0, 1e9, float("nan"), float("inf")])
def test_impossible_rates(rate: float) -> None:
    with pytest.raises(BadRequest) as raised:
        EditorClock(rate, of_rate(5, Fraction(25)))
    assert raised.value.code == "request.rate"
