"""What the backend has to know of an architecture: functions of one network, traced, and what they take.

Parameters are those of one network, without leading axes, unless it says otherwise; points are (n, d), O outputs.
"""

import abc
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from jax import Array

from ntkbench.backends.jax.network import Theta
from ntkbench.backends.jax.resources import Resources, Sizes
from ntkbench.networks import Parameters

ALL = sys.maxsize
"""Points of a pass that takes all."""


class Architecture(abc.ABC):
    """How the networks of one specification, `net`, are computed.

    Attributes:
        passes: whether points are taken in passes, under `Sizes`, rather than all at once.
    """

    passes: ClassVar[bool] = False

    @abc.abstractmethod
    def outputs(self, net: Any, theta: Theta, x: Array, points: int) -> Array:
        """Outputs (n, O), in passes of so many points; for reverse mode."""

    @abc.abstractmethod
    def kernel(self, net: Any, theta: Theta, points: Sequence[Array], outputs: str, sizes: Sizes) -> Array:
        """NTK without the mobility, (n1, n2) or (n1, n2, O, O), of one or two arrays of points; for forward mode."""

    def points_per_pass(self, net: Any, available: int, itemsize: int) -> int:
        """Points whose temporaries fit the bytes available (one at least)."""
        return ALL

    @abc.abstractmethod
    def kernel_entries(self, net: Any, n1: int, n2: int, outputs: str) -> int:
        """Numbers that `kernel` holds besides parameters and kernels, `Sizes` apart; without a second side the outputs do."""

    @abc.abstractmethod
    def training_entries(self, net: Any, points: int) -> int:
        """Numbers that outputs and their reverse mode hold for so many points."""

    @abc.abstractmethod
    def tensors(
        self, net: Any, theta: Parameters, x: np.ndarray, order: int, resources: Resources
    ) -> dict[int, np.ndarray] | None:
        """`{2: K2, ..}` of all seeds, for orders from 3 on; None where they are contractions with the identity.

        Raises:
            ValueError: if the least of temporaries exceeds the budget.
        """

    @abc.abstractmethod
    def contraction(
        self,
        net: Any,
        theta: Parameters,
        rows: np.ndarray,
        x: np.ndarray,
        basis: np.ndarray,
        order: int,
        resources: Resources,
    ) -> dict[int, np.ndarray]:
        """`Backend.contracted_hierarchy` of all seeds, on checked arguments.

        Raises:
            ValueError: as `tensors`.
        """
