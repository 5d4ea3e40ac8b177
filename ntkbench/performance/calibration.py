"""How fast this machine is, in a few seconds of numpy: what a cost estimate multiplies its counts with."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ROUNDS = 5
CACHED, STREAMED = 2**13, 2**23
"""Entries of an array that stays in a core's cache, and of one that does not."""
CACHE_BYTES = 2**23
"""Working set above which arrays are taken to come from memory."""


@dataclass(frozen=True)
class Rates:
    """Seconds of one unit of work, one thread.

    Attributes:
        flop: of a large matrix product.
        product: overhead of one small matrix product in a batch.
        byte_cached, byte_streamed: of an elementwise operation, from the cache and from memory.
        evaluation: of a transcendental function of one number.
        draw: of one standard normal.
        interpreter: of one turn of a plain Python loop, the yardstick of everything that does not compute.
    """

    flop: float
    product: float
    byte_cached: float
    byte_streamed: float
    evaluation: float
    draw: float
    interpreter: float


ONE_CORE = Rates(
    flop=1.2e-10, product=2.8e-8, byte_cached=8e-12, byte_streamed=3.6e-11, evaluation=1.2e-9, draw=1.1e-8, interpreter=4.8e-8
)
"""Of one core of a virtual machine (Intel Xeon, 2026), for questions of order, to which every machine shall give one answer."""


def calibrate(precision: str = "float64") -> Rates:
    """Measure this machine; minima of several rounds, so that other work on it counts little."""
    rng = np.random.Generator(np.random.Philox(0))
    dtype = np.dtype(precision)
    side = 512
    large = rng.standard_normal((side, side)).astype(dtype)
    small = rng.standard_normal((2048, 4, 4)).astype(dtype)
    evaluated = rng.standard_normal(2**16).astype(dtype)
    drawn = np.empty(2**16)
    return Rates(
        flop=_least(lambda: large @ large) / (2 * side**3),
        product=_least(lambda: small @ small) / len(small),
        byte_cached=_byte(CACHED, dtype, repeats=200),
        byte_streamed=_byte(STREAMED, dtype, repeats=1),
        evaluation=_least(lambda: np.tanh(evaluated)) / evaluated.size,
        draw=_least(lambda: rng.standard_normal(out=drawn)) / drawn.size,
        interpreter=_least(_turns) / TURNS,
    )


TURNS = 20_000


def _turns() -> None:
    counts: dict[int, int] = {}
    for turn in range(TURNS):
        counts[turn & 255] = counts.get(turn & 255, 0) + 1


def _byte(entries: int, dtype: np.dtype, repeats: int) -> float:
    """Of an addition in place, which reads two arrays and writes one."""
    one, other = np.ones(entries, dtype), np.ones(entries, dtype)

    def add() -> None:
        for _ in range(repeats):
            np.add(one, other, out=one)

    return _least(add) / (3 * dtype.itemsize * entries * repeats)


def _least(run: Callable[[], object]) -> float:
    """The least time of several rounds; the first, which warms up, does not count."""
    run()
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
