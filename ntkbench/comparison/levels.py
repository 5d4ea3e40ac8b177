"""How nearly two runs agree."""

from enum import IntEnum
from typing import Literal

Outcome = Literal["reproduced", "differs", "lost", "not comparable"]


class Level(IntEnum):
    """How nearly something of two runs agrees, the nearer the greater.

    Attributes:
        APART: further than any allowance.
        INTERVAL: verdicts are the same, and estimates lie within their intervals.
        ROUNDING: as near as the cross-check wants torch and jax to be.
        BITWISE: the same to the byte, or to the digit where a run keeps tables only.
    """

    APART = 0
    INTERVAL = 1
    ROUNDING = 2
    BITWISE = 3

    def __str__(self) -> str:
        return {0: "apart", 1: "within interval", 2: "within rounding", 3: "bitwise"}[self.value]
