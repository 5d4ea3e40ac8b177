"""What the backend has to know of an architecture.

Tensors are of a block of seeds:

    B seeds times copies    S seeds    n points    O outputs    G groups of outputs: O, or 1 where their kernels are summed
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from ntkbench.backends.torch.network import Tensor, Tensors


class Kernels(NamedTuple):
    """Kernels of the hierarchy, prepared for the sizes of one call.

    Attributes:
        bytes_per_seed: that `compute` takes.
        compute: of a block of seeds, from parameters and points, `{order: kernel}`, seeds first.
    """

    bytes_per_seed: int
    compute: Callable[..., dict[int, Tensor]]


class Architecture(abc.ABC):
    """How the networks of one specification, `net`, are computed.

    Attributes:
        turned: whether weights of layers that widen lie transposed while they are trained.
    """

    turned: ClassVar[bool] = False

    @abc.abstractmethod
    def outputs(self, net: Any, theta: Tensors, x: Tensor) -> Tensor:
        """Outputs `f` of the seeds, (S, n, O), for x (B, n, d)."""

    @abc.abstractmethod
    def write_kernels(self, net: Any, theta: Tensors, x1: Tensor, x2: Tensor | None, total: Tensor, workspace: int) -> None:
        """Write the kernels of the copies, times the mobility, to `total` (B, G, n1, G, n2); the upper triangle if x2 is None.

        Args:
            workspace: bytes for what is there only to be blocked, besides what `floats_per_point` and `floats_besides` count.
        """

    @abc.abstractmethod
    def write_slope(self, net: Any, theta: Tensors, x: Tensor, y: Tensor, slope: Tensors) -> None:
        """Write `d theta / dt = -mobility * grad L` into `slope`, arrays shaped as `theta`; x (B, n, d), y (S, n, O)."""

    @abc.abstractmethod
    def floats_per_point(self, net: Any, arrays: int) -> int:
        """Numbers held per point by one seed when `arrays` arrays of each layer's size are alive at once, inputs counted."""

    @abc.abstractmethod
    def floats_besides(self, net: Any, rows1: int, rows2: int, groups: int) -> int:
        """Numbers that a kernel of one seed holds besides those of its points."""

    @abc.abstractmethod
    def tensors(self, net: Any, points: int, order: int, itemsize: int, budget: int) -> Kernels | None:
        """Of parameters and x (B, n, d), for orders from 3 on; None where they are contractions with the identity.

        Raises:
            ValueError: if the least of temporaries exceeds the budget of bytes.
        """

    @abc.abstractmethod
    def contraction(self, net: Any, rows: int, points: int, vectors: int, order: int, itemsize: int, budget: int) -> Kernels:
        """Of parameters, rows (B, n1, d), x (B, n, d) and basis (B, n O, k); rows that are x are the same tensor.

        Raises:
            ValueError: as `tensors`.
        """
