"""Refusals of bad input, before anything is moved to the device. numpy only."""

from collections.abc import Mapping, Sequence

import numpy as np

from ntkbench.backends.base import OBSERVABLES, check_inputs
from ntkbench.networks import FullyConnected


def one_output(net: FullyConnected) -> None:
    """ValueError unless the network has one output."""
    if net.output_dim != 1:
        raise ValueError(f"the NTK asks for one output, the network has {net.output_dim}")


def one_seed_fits(what: str, needed: int, budget: int) -> None:
    """ValueError if the temporaries of one seed, in bytes, exceed the budget."""
    if needed > budget:
        raise ValueError(f"{what} need {needed} bytes per seed, memory_bytes is {budget}: raise it, or take fewer points")


def finite(**arrays: np.ndarray) -> None:
    """ValueError naming the first array with entries that are not finite."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has entries that are not finite")


def training(
    net: FullyConnected, seeds: int, x: np.ndarray, y: np.ndarray, observe: Sequence[str], x_test: np.ndarray | None
) -> None:
    """ValueError unless targets, observables and test points fit; `x` is checked already."""
    shape = (x.shape[-2], net.output_dim)
    if shape[0] == 0:
        raise ValueError("x has no points")
    if y.shape not in (shape, (seeds, *shape)):
        raise ValueError(
            f"y has shape {y.shape}; inputs of shape {x.shape} and the network ask for {shape} or {(seeds, *shape)}"
        )
    finite(y=y)
    if unknown := [name for name in observe if name not in OBSERVABLES]:
        raise ValueError(f"unknown observable {', '.join(map(repr, unknown))}; known: {', '.join(OBSERVABLES)}")
    if "K2" in observe:
        one_output(net)
    if "f_test" in observe and x_test is None:
        raise ValueError("observable 'f_test' needs x_test")
    if x_test is not None:
        check_inputs(net, seeds, x_test, "x_test")


def truncated_hierarchy(kernels: Mapping[int, np.ndarray], f0: np.ndarray, y: np.ndarray) -> int:
    """The order of truncation; ValueError unless every order from 2 to it is there and all shapes fit `f0`."""
    if f0.ndim != 2:
        raise ValueError(f"f0 has shape {f0.shape}, expected (seeds, n)")
    seeds, n = f0.shape
    order = max(kernels, default=1)
    if order < 2 or set(kernels) != set(range(2, order + 1)):
        raise ValueError(f"kernels must have every order from 2 on, got {sorted(kernels)}")
    for r, kernel in kernels.items():
        if kernel.shape != (seeds,) + (n,) * r:
            raise ValueError(f"K{r} has shape {kernel.shape}, f0 of shape {f0.shape} asks for {(seeds,) + (n,) * r}")
    if y.shape not in ((n,), (seeds, n)):
        raise ValueError(f"y has shape {y.shape}, f0 of shape {f0.shape} asks for {(n,)} or {(seeds, n)}")
    finite(f0=f0, y=y, **{f"K{r}": kernel for r, kernel in kernels.items()})
    return order


def linear_system(kernel: np.ndarray, rhs: np.ndarray, ridge: float) -> None:
    """ValueError unless `kernel` is (n, n) or (B, n, n), `rhs` (n, k) or (B, n, k), all finite, and `ridge` is not negative."""
    square = kernel.ndim in (2, 3) and kernel.shape[-1] == kernel.shape[-2]
    if not square or rhs.ndim != kernel.ndim or rhs.shape[:-1] != kernel.shape[:-1]:
        raise ValueError(
            f"kernel has shape {kernel.shape} and rhs {rhs.shape}; expected (n, n) and (n, k), or both with a batch axis"
        )
    if not (np.isfinite(ridge) and ridge >= 0):
        raise ValueError(f"ridge must be finite and not negative, got {ridge}")
    finite(kernel=kernel, rhs=rhs)


def kernel_descent(
    kernel: np.ndarray, residual0: np.ndarray, step: float, counts: Sequence[int], kernel_test: np.ndarray
) -> None:
    """ValueError unless the shapes are those of `Backend.kernel_descent`, all finite, the counts whole and not negative."""
    fits = kernel.ndim == residual0.ndim == kernel_test.ndim == 3 and kernel.shape[1] == kernel.shape[2]
    if not fits or residual0.shape[:2] != kernel.shape[:2] or kernel_test.shape[::2] != kernel.shape[::2]:
        raise ValueError(
            f"kernel has shape {kernel.shape}, residual0 {residual0.shape}, kernel_test {kernel_test.shape}; "
            "expected (B, n, n), (B, n, O) and (B, n_test, n)"
        )
    if not (np.isfinite(step) and step > 0):
        raise ValueError(f"step must be positive and finite, got {step}")
    if not counts or any(count < 0 or count != int(count) for count in counts):
        raise ValueError(f"counts must be whole numbers of steps of at least 0, got {list(counts)}")
    finite(kernel=kernel, residual0=residual0, kernel_test=kernel_test)
