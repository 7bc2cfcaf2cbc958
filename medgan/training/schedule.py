"""How far the training has come, and what follows from it."""

import math
import time
from collections.abc import Callable
from typing import Literal


class Clock:
    """Progress of a training by steps and by time, whichever is further; it goes on from where a checkpoint stopped.

    Args:
        max_steps: steps of the whole training.
        max_minutes: minutes of the whole training; None is no limit.
        elapsed_s: seconds already spent before a resume.
        now: seconds of a steady clock.
    """

    def __init__(
        self,
        max_steps: int,
        max_minutes: float | None,
        *,
        elapsed_s: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_steps = max_steps
        self.max_minutes = max_minutes
        self._now = now
        self._start = now() - elapsed_s

    @property
    def elapsed_s(self) -> float:
        """Seconds spent on the training so far."""
        return self._now() - self._start

    def progress(self, step: int) -> float:
        """Return 0 at the start and 1 or more at the end. Without a time limit it depends on the step alone."""
        by_steps = step / self.max_steps
        by_time = self.elapsed_s / (60.0 * self.max_minutes) if self.max_minutes else 0.0
        return max(by_steps, by_time)


def learning_rate_factor(progress: float, schedule: Literal["poly", "cosine"]) -> float:
    """Return what the initial learning rate is multiplied by: 1 at the start, 0 at the end of the training."""
    remaining = max(0.0, 1.0 - progress)
    return remaining**0.9 if schedule == "poly" else 0.5 - 0.5 * math.cos(math.pi * remaining)


def ema_decay_at(step: int, decay: float) -> float:
    """Return the decay of the weight average at `step`: short at the start, so that it forgets the random weights."""
    return min(decay, (1.0 + step) / (10.0 + step))
