"""Progress, learning rates and the decay of the average, by hand."""

import math

import pytest

from medgan.training.schedule import Clock, ema_decay_at, learning_rate_factor


def test_progress_is_that_of_the_steps_without_a_time_limit() -> None:
    times = iter([0.0, 1e9, 2e9])
    clock = Clock(200, None, now=lambda: next(times))
    assert [clock.progress(step) for step in (0, 50, 200)] == [0.0, 0.25, 1.0]


def test_progress_is_whichever_is_further() -> None:
    time_s = [1000.0]
    clock = Clock(100, 2.0, now=lambda: time_s[0])
    assert clock.progress(10) == 0.1
    time_s[0] += 60.0
    assert clock.progress(10) == 0.5
    assert clock.progress(80) == 0.8
    time_s[0] += 90.0
    assert clock.progress(80) == 1.25


def test_time_spent_before_a_resume_counts() -> None:
    time_s = [0.0]
    clock = Clock(100, 2.0, elapsed_s=30.0, now=lambda: time_s[0])
    assert clock.progress(0) == 0.25
    time_s[0] = 15.0
    assert clock.elapsed_s == 45.0


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("poly", [1.0, 0.5**0.9, 0.0, 0.0]), ("cosine", [1.0, 0.5, 0.0, 0.0])],
)
def test_learning_rate_falls_from_one_to_nothing(schedule: str, expected: list[float]) -> None:
    factors = [learning_rate_factor(progress, schedule) for progress in (0.0, 0.5, 1.0, 1.2)]  # type: ignore[arg-type]
    assert factors == pytest.approx(expected)


def test_cosine_by_hand() -> None:
    assert learning_rate_factor(0.25, "cosine") == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


@pytest.mark.parametrize("schedule", ["poly", "cosine"])
def test_learning_rate_never_rises(schedule: str) -> None:
    factors = [learning_rate_factor(n / 50, schedule) for n in range(51)]  # type: ignore[arg-type]
    assert factors == sorted(factors, reverse=True)


def test_average_forgets_its_start_quickly() -> None:
    assert [ema_decay_at(step, 0.9) for step in (0, 1, 10, 80, 1000)] == pytest.approx([0.1, 2 / 11, 0.55, 0.9, 0.9])
    assert ema_decay_at(5, 0.0) == 0.0
