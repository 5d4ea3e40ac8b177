"""Rounds of calls."""

import math
import time
from collections.abc import Callable

import numpy as np

ROUND = 0.02
"""A round repeats a shorter call until it takes about this long."""


class Clock:
    """Something to be timed: the first call, which compiles, apart; then rounds of `calls` calls each."""

    def __init__(self, run: Callable[[], object]):
        self.run = run
        start = time.perf_counter()
        self.value = np.asarray(run())
        self.first = time.perf_counter() - start
        self.calls = 1
        self.rounds: list[float] = []

    def calibrate(self) -> float:
        """Choose `calls`, one or an even number; the seconds of a round."""
        self.round()
        seconds = self.rounds.pop()
        if seconds < ROUND:
            self.calls = 2 * math.ceil(ROUND / seconds / 2)
        self.round()
        return self.rounds.pop() * self.calls

    def repeat(self, work: float = 1.0) -> None:
        """The calls of a round, `work` times as many."""
        for _ in range(round(work * self.calls)):
            self.run()

    def round(self) -> None:
        """Time one round."""
        start = time.perf_counter()
        self.repeat()
        self.rounds.append((time.perf_counter() - start) / self.calls)
