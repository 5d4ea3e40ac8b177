"""The contract between the claims and the frameworks.

numpy arrays go in and numpy arrays come out, with a leading seed axis on everything that depends on parameters. Arrays hold
real numbers, all finite (integers are converted), and one entry at least along every axis: anything else is a ValueError
that names the array, from checks that the implementations share (`ntkbench.backends.checks`). Axes:

    S seeds    C copies (2 with antisymmetric initialization)    n points    d input dimension    O outputs    T times

Parameters are `ntkbench.networks.Parameters`. Inputs `x` are (n, d), or (S, n, d) where each seed has its own points.
Every method blocks its work (over seeds, over rows) so that its temporaries stay under `memory_bytes`. The two
implementations are written independently, with mirrored file names, and share nothing but this file, the checks, the network
specification, the integrators' tableaux, and the array-API mathematics of `ntkbench.limits` and `ntkbench.hierarchy`.
"""

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from ntkbench import names
from ntkbench.networks import Network, Parameters
from ntkbench.scalars import is_whole

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("float64", "float32")
OBSERVABLES = ("f", "f_test", "K2", "movement", "theta")
OUTPUTS = ("one", "trace", "full")


class Flow(TypedDict):
    """How a flow is integrated and when it is recorded: the arguments that `train` and `integrate_hierarchy` share."""

    times: Sequence[float]
    step: float
    integrator: str


class BackendUnavailable(RuntimeError):
    """The framework, or the device asked for, is not there."""


@dataclass(frozen=True)
class Trajectory:
    """What was observed along training; what was not asked for is None. Divergence shows as non-finite values.

    Attributes:
        times: (T,), units of gradient-flow time.
        f: (S, T, n, O), outputs on the training points.
        f_test: (S, T, n_test, O), outputs on `x_test`.
        K2: (S, T, n, n), the NTK on the training points.
        movement: (S, T, depth + 1), `|W_l(t) - W_l(0)| / |W_l(0)|` in Frobenius norm over all copies, per weight matrix.
        theta: the parameters at each time, T of them, names and shapes as `Network.initialize` gives them. All are kept: a
            trajectory of T times holds T networks per seed.
    """

    times: np.ndarray
    f: np.ndarray | None = None
    f_test: np.ndarray | None = None
    K2: np.ndarray | None = None
    movement: np.ndarray | None = None
    theta: tuple[Parameters, ...] | None = None

    def observed(self, name: str) -> np.ndarray:
        """The observable called `name`, any but `theta`, which is no one array; ValueError if it was not asked for."""
        values: np.ndarray | None = getattr(self, name) if name in OBSERVABLES and name != "theta" else None
        if values is None:
            raise _not_observed(name)
        return values

    def parameters(self) -> tuple[Parameters, ...]:
        """The observable `theta`; ValueError if it was not asked for."""
        if self.theta is None:
            raise _not_observed("theta")
        return self.theta


def _not_observed(name: str) -> ValueError:
    return ValueError(f"{name!r} was not observed; pass it in `observe`, one or more of {', '.join(OBSERVABLES)}")


class Backend(abc.ABC):
    """Computes every quantity of the suite in one framework.

    Args:
        device: `auto` (a GPU where there is one), `cpu` or `cuda`.
        precision: `float64` or `float32`.
        threads: CPU threads, None for the framework's default.
        memory_bytes: budget for the temporaries of one call.

    Raises:
        ValueError: for an unknown device or precision, threads that are no whole number of at least 1, or a budget below 1 MiB.
        BackendUnavailable: if `cuda` is asked for and the framework sees none.
    """

    name: str

    def __init__(self, device: str = "auto", precision: str = "float64", threads: int | None = None, memory_bytes: int = 2**31):
        names.check("device", device, DEVICES)
        names.check("precision", precision, PRECISIONS)
        if threads is not None and (not is_whole(threads) or threads < 1):
            raise ValueError(f"threads must be a whole number of at least 1, got {threads!r}")
        if not is_whole(memory_bytes) or memory_bytes < 2**20:
            raise ValueError(f"memory_bytes must be a whole number of at least 2**20 (1 MiB), got {memory_bytes!r}")
        self.device = device
        self.precision = precision
        self.threads = threads
        self.memory_bytes = memory_bytes

    @abc.abstractmethod
    def facts(self) -> Mapping[str, str | int | float | bool]:
        """Framework and version, resolved device and its name, precision and matrix-product flags, threads."""

    @abc.abstractmethod
    def synchronize(self) -> None:
        """Wait until the device has finished everything asked of it."""

    @abc.abstractmethod
    def forward(self, net: Network, theta: Parameters, x: np.ndarray) -> np.ndarray:
        """Network outputs f, shape (S, n, O).

        Raises:
            ValueError: if `theta` or `x` do not fit `net`.
        """

    @abc.abstractmethod
    def ntk(
        self, net: Network, theta: Parameters, x1: np.ndarray, x2: np.ndarray | None = None, *, outputs: str = "one"
    ) -> np.ndarray:
        """Empirical NTK `K2 = mobility * <grad f_o(x1), grad f_o'(x2)>`, computed layerwise.

        Of networks that are known by their forward pass alone, by products of gradients of single points. `x2` None means
        `x1`. Source: Jacot et al. 2018, section 4; the layerwise contraction is the structure of per-example
        gradients: rank one for dense layers, a product over positions for convolutions (Novak et al. 2022).

        Args:
            outputs: `one`, for a network of one output; `trace`, the sum of the kernels of each output with itself; or `full`.

        Returns:
            (S, n1, n2), and (S, n1, n2, O, O) for `full`.

        Raises:
            ValueError: as `forward`; also for an unknown `outputs`, and for `one` with a network of several outputs.
        """

    @abc.abstractmethod
    def hierarchy(self, net: Network, theta: Parameters, x: np.ndarray, order: int) -> dict[int, np.ndarray]:
        """NTH kernels `{2: K2, ..., order: K_order}`, K_r of shape (S,) + (n,) * r, order 2 to 6.

        `K_{r+1}(x_1..x_r, x) = mobility * <grad K_r(x_1..x_r), grad f(x)>` (Huang & Yau 2019, Theorem 2.3); exact. Fully
        connected networks: from first-order responses of activations and back-propagated signals (the 2n+1 rule), without
        parameter-sized temporaries up to order 4. All others: order 4 at most, by forward mode along dense gradients, n^2
        passes through all points for K4. K5 and K6 would take n^3 and n^4, and no low rank makes these affordable.

        Raises:
            ValueError: as `ntk` for `one`; also for an order outside 2..6, beyond order 4 for a network that is not fully
                connected, and for ReLU beyond order 2, whose second derivative is a delta function, so that K3 and higher do
                not exist in the sense of the theory.
        """

    @abc.abstractmethod
    def contracted_hierarchy(
        self,
        net: Network,
        theta: Parameters,
        rows: np.ndarray,
        x: np.ndarray,
        basis: np.ndarray,
        order: int,
    ) -> dict[int, np.ndarray]:
        """K3, and K4 for order 4, contracted with basis vectors in every slot but the first, in memory O(n^2).

        With `u_i` the columns of the basis, rows a and points b, c, d:

            [3][a, i, j]    = sum_bc  K3(a, b, c)    u_bi u_cj
            [4][a, i, j, k] = sum_bcd K4(a, b, c, d) u_bi u_cj u_dk

        No kernel of three slots is ever formed: the directions `v_i = sum_c u_ci grad f_c` take the place of the gradients, in
        the 2n+1 rule for fully connected networks, in forward mode for all others.

        With several outputs each slot takes pairs of a point and an output, in the order of `f.reshape(n * O)`:
        `K3((x_a, o), ..)` is that of the function `f_o` at `x_a`, and `v_i = sum_(c,o) u_(c,o)i grad f_o(x_c)`. Only
        fully connected networks have several here.

        Args:
            rows: points of the first slot, (n1, d) or (S, n1, d); x: points of the others, (n, d) or (S, n, d).
            basis: (n O, k) or (S, n O, k).
            order: 3 or 4.

        Returns:
            `{3: (S, n1 O, k, k), 4: (S, n1 O, k, k, k)}`.

        Raises:
            ValueError: as `hierarchy`, several outputs apart; also for an order outside 3..4, or a basis that does not fit.
        """

    @abc.abstractmethod
    def train(
        self,
        net: Network,
        theta: Parameters,
        x: np.ndarray,
        y: np.ndarray,
        *,
        times: Sequence[float],
        step: float,
        integrator: str,
        observe: Sequence[str] = ("f",),
        x_test: np.ndarray | None = None,
        progress: Progress | None = None,
    ) -> Trajectory:
        """Train every seed along `d theta / dt = -mobility * grad L`, `L = (1/2n) sum_a |f_a - y_a|^2`.

        Args:
            x, y: (n, d) and (n, O), or (S, n, d) and (S, n, O).
            times: when to record, whole numbers of steps, increasing, may begin with 0.
            step: the fixed step; for `euler` the learning rate of full-batch gradient descent.
            integrator: `euler`, `rk4` or `dop853`.
            observe: any of `f`, `f_test` (needs `x_test`), `K2` (one output), `movement`, `theta`.

        Raises:
            ValueError: for shapes that do not fit, unknown observables or integrator, a step that is not positive and finite,
                times that are no whole steps.
        """

    @abc.abstractmethod
    def integrate_hierarchy(
        self,
        kernels: Mapping[int, np.ndarray],
        f0: np.ndarray,
        y: np.ndarray,
        *,
        times: Sequence[float],
        step: float,
        integrator: str,
    ) -> Trajectory:
        """The hierarchy truncated at the highest order p in `kernels`, K_p frozen at its initial value.

        `df_a/dt = -(1/n) sum_b K2_ab (f_b - y_b)`, `dK_r/dt = -(1/n) K_{r+1} . (f - y)` for 2 <= r < p (Huang & Yau 2019, (2.7)
        and Theorem 2.6).

        Args:
            kernels: `{2: (S, n, n), ..., p: (S,) + (n,) * p}`, every order from 2 to p.
            f0: (S, n), outputs at t = 0; y: (n,) or (S, n).

        Returns:
            A `Trajectory` with f of shape (S, T, n, 1) and K2 of shape (S, T, n, n).

        Raises:
            ValueError: for a missing order or shapes that do not fit.
        """

    @abc.abstractmethod
    def limiting_kernels(self, net: Network, x1: np.ndarray, x2: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """NNGP and limiting NTK of `net` at infinite width, each (n1, n2).

        Sources: Jacot et al. 2018, Prop. 1 and Theorem 1; for convolutional networks Arora et al. 2019, section 4.

        The number of outputs plays no part (kernels are the same for each, independent between them); for
        `mean_field` the NNGP is the limit of the undivided output.

        Raises:
            ValueError: as `forward`.
        """

    @abc.abstractmethod
    def solve(self, kernel: np.ndarray, rhs: np.ndarray, ridge: float = 0.0) -> np.ndarray:
        """`(kernel + ridge * I)^-1 rhs` by Cholesky; kernel (n, n) or (B, n, n), rhs (n, k) or (B, n, k).

        Raises:
            numpy.linalg.LinAlgError: if the matrix is not positive definite; names the smallest eigenvalue.
            ValueError: for shapes that do not fit, or a kernel that is not symmetric to rounding.
        """

    @abc.abstractmethod
    def kernel_descent(
        self, kernel: np.ndarray, residual0: np.ndarray, *, step: float, counts: Sequence[int], kernel_test: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gradient descent in the kernel's linear model, exactly, after each number of steps in `counts`.

        With `r_k = (I - step K / n)^k r_0` the outputs move by `f_k - f_0 = r_k - r_0` on training points and by
        `-(step/n) K_test sum_{j<k} r_j = -K_test K^-1 (I - (I - step K / n)^k) r_0` on test points (Lee et al. 2019, eqs. 8
        to 11). Evaluated in the eigenbasis of the kernel, so that a singular kernel is no trouble.

        Args:
            kernel: (B, n, n); residual0: (B, n, O), `f_0 - y`; kernel_test: (B, n_test, n).

        Returns:
            The movements `f_k - f_0`: train (B, len(counts), n, O) and test (B, len(counts), n_test, O).

        Raises:
            ValueError: for shapes that do not fit, a kernel that is not symmetric to rounding, a step that is not positive and
                finite, counts that are no whole numbers.
        """

    @abc.abstractmethod
    def matrix_products(self, shapes: Sequence[tuple[int, int, int, int]]) -> Callable[[], None]:
        """The roofline of a primitive: a function that runs bare matrix products and waits for them.

        Args:
            shapes: (count, rows, inner, columns): `count` products (rows, inner) @ (inner, columns), one batched call each.
        """

    def seed_blocks(self, seeds: int, bytes_per_seed: int) -> Iterator[slice]:
        """Slices of the seed axis whose temporaries fit the budget (one seed at least).

        Raises:
            ValueError: unless there is one seed at least, and its bytes are a whole number that is not negative.
        """
        for name, value, least in (("seeds", seeds, 1), ("bytes_per_seed", bytes_per_seed, 0)):
            if not is_whole(value) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
        block = max(1, min(seeds, self.memory_bytes // max(1, bytes_per_seed)))
        return (slice(start, min(seeds, start + block)) for start in range(0, seeds, block))
