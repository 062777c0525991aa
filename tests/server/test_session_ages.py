from __future__ import annotations

import pytest

from locara_label.server.session_ages import SessionAges

YEAR_S, DAY_S = 365 * 86_400.0, 86_400.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ages(clock: Clock) -> SessionAges:
    return SessionAges(idle_s=10, age_s=100, clock=clock)


def test_what_is_not_used_is_over(ages: SessionAges, clock: Clock) -> None:
    for clock.now in (0, 9, 10):
        assert not ages.is_over("a", YEAR_S)
    clock.now = 11
    assert ages.is_over("a", YEAR_S)
    assert not ages.is_over("b", YEAR_S)


@pytest.mark.parametrize("used_s", [0.0, -DAY_S, YEAR_S])
def test_what_is_used_goes_on_whatever_time_it_says(ages: SessionAges, clock: Clock, used_s: float) -> None:
    ages.see("a", 1.0)
    clock.now = 9
    ages.see("a", used_s)
    clock.now = 18
    assert not ages.is_over("a", used_s)
    clock.now = 20
    assert ages.is_over("a", used_s)


def test_what_is_too_old_is_over_however_much_it_is_used(ages: SessionAges, clock: Clock) -> None:
    for clock.now in range(101):
        assert not ages.is_over("a", clock.now)
    clock.now = 101
    assert ages.is_over("a", 101)


def test_a_use_is_due_well_before_the_end(ages: SessionAges, clock: Clock) -> None:
    assert not ages.is_due("a")
    ages.see("a", 1)
    assert not ages.is_due("a")
    clock.now = 2
    assert ages.is_due("a")
    ages.see("a", 2)
    assert not ages.is_due("a")


def test_what_is_gone_is_not_remembered(ages: SessionAges, clock: Clock) -> None:
    ages.see("a", 1)
    ages.see("b", 1)
    clock.now = 11
    ages.forget_others({"a"})
    assert (ages.is_over("a", 1), ages.is_over("b", 1)) == (True, False)
