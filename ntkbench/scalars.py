"""Which values pass for numbers: numpy's and Python's own alike, and no truth values."""

import math
from numbers import Integral, Real


def is_whole(value: object) -> bool:
    """Whether `value` is an integer."""
    return not isinstance(value, bool) and isinstance(value, Integral)


def is_finite(value: object) -> bool:
    """Whether `value` is a finite real number."""
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
