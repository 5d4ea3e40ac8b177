"""Every primitive at every size, in both frameworks and precisions: `make benchmark`."""

import os
from collections.abc import Callable

import pytest

from tests.performance.primitives import PRIMITIVES

SIZES = ("usual", "large")
SIZE = os.environ.get("NTKBENCH_BENCHMARK_SIZE", "usual")
if SIZE not in SIZES:
    raise pytest.UsageError(f"SIZE={SIZE} is unknown: choose one of {', '.join(SIZES)}")
CHOSEN = [number for number, primitive in enumerate(PRIMITIVES) if primitive.large == (SIZE == "large")]


@pytest.mark.performance
@pytest.mark.parametrize("number", CHOSEN, ids=lambda number: str(PRIMITIVES[number]))
def test_speed(timed: Callable[[int], None], number: int) -> None:
    timed(number)
