"""Refusals of bad input, before anything is moved to the device. numpy only.

Checks of arrays that callers may give in other forms return them as numpy arrays.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations_with_replacement

import numpy as np

from ntkbench import names
from ntkbench.backends.base import OBSERVABLES, OUTPUTS
from ntkbench.networks import SMOOTH_ACTIVATIONS, Network
from ntkbench.scalars import is_finite, is_whole

ASYMMETRY = 1000.0
"""Largest `|K - K^T|` of a symmetric matrix, in roundings of its largest entry: kernels as computed reach 3."""


def real(name: str, values: object) -> np.ndarray:
    """`values` as an array of floating-point numbers, integers converted.

    Raises:
        ValueError: for ragged lists, complex numbers, truth values, text and objects; for no entries; for entries that are
            not finite.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} is no array ({error}): give a rectangular one") from error
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} has dtype {array.dtype}: give real numbers, floating point or integer")
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape} and is empty: give at least one entry (seed, point) along every axis")
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has entries that are not finite")
    return array


def network(net: object) -> None:
    """ValueError unless it is the specification of a network."""
    if not isinstance(net, Network):
        raise ValueError(f"net is a {type(net).__name__}: give a network of ntkbench.networks")


def parameters(net: Network, theta: object) -> int:
    """The number of seeds in `theta`; ValueError names the first entry that is missing, no numpy array, or unfit for `net`."""
    network(net)
    if not isinstance(theta, Mapping):
        raise ValueError(f"theta is a {type(theta).__name__}: give a mapping of names to numpy arrays")
    seeds: tuple[int, ...] = ()
    expected = _parameter_shapes(net)
    for name, shape in expected.items():
        asked = f"({', '.join(map(str, (*(seeds or ('seeds',)), *shape)))})"
        if name not in theta:
            raise ValueError(f"theta lacks {name} of shape {asked}; it has {', '.join(map(str, theta)) or 'nothing'}")
        array = theta[name]
        if not isinstance(array, np.ndarray):
            raise ValueError(f"theta[{name!r}] is a {type(array).__name__}: give a numpy array of shape {asked}")
        real(f"theta[{name!r}]", array)
        seeds = seeds or array.shape[:1]
        if array.shape != (*seeds, *shape):
            raise ValueError(f"theta[{name!r}] has shape {array.shape}, the network asks for {asked}")
    if extra := set(theta) - set(expected):
        raise ValueError(f"theta has {', '.join(sorted(map(str, extra)))}, which the network does not know")
    return seeds[0]


def _parameter_shapes(net: Network) -> dict[str, tuple[int, ...]]:
    """By name, without the seed axis."""
    shapes: dict[str, tuple[int, ...]] = {}
    for l, layer in enumerate(net.layers, start=1):
        shapes[f"W{l}"] = (net.copies, layer.fan_out, layer.fan_in)
        if net.bias_variance > 0:
            shapes[f"b{l}"] = (net.copies, layer.fan_out)
    return shapes


def inputs(net: Network, seeds: int, x: object, name: str = "x") -> np.ndarray:
    """`x` as an array; ValueError unless it is real, finite, and of shape (n, input_dim) or (seeds, n, input_dim)."""
    points = real(name, x)
    if points.ndim not in (2, 3) or points.shape[-1] != net.input_dim or (points.ndim == 3 and points.shape[0] != seeds):
        raise ValueError(
            f"{name} has shape {points.shape}; the network asks for (n, {net.input_dim}) or ({seeds}, n, {net.input_dim})"
        )
    return points


def shared_inputs(net: Network, x: object, name: str) -> np.ndarray:
    """`x` as an array; ValueError unless it is real, finite, and of shape (n, input_dim)."""
    network(net)
    points = real(name, x)
    if points.ndim != 2 or points.shape[1] != net.input_dim:
        raise ValueError(f"{name} has shape {points.shape}; the network asks for (n, {net.input_dim})")
    with np.errstate(over="ignore"):
        if not np.isfinite((points**2).sum(axis=1)).all():
            raise ValueError(f"{name} has rows whose squared norms overflow: scale them down")
    return points


def one_output(net: Network) -> None:
    """ValueError unless the network has one output."""
    if net.output_dim != 1:
        raise ValueError(f"the NTK asks for one output, the network has {net.output_dim}")


def outputs(net: Network, choice: str) -> None:
    """ValueError unless `choice` is one of `OUTPUTS` and fits the network."""
    network(net)
    names.check("outputs", choice, OUTPUTS)
    if choice == "one" and net.output_dim != 1:
        raise ValueError(f"outputs 'one' asks for one output, the network has {net.output_dim}: choose 'trace' or 'full'")


def hierarchy(net: Network, order: int) -> None:
    """ValueError unless the network has one output and its hierarchy exists up to `order`."""
    network(net)
    if net.output_dim != 1:
        raise ValueError(f"the hierarchy's tensors ask for one output, the network has {net.output_dim}")
    hierarchy_exists(net, order)


def hierarchy_exists(net: Network, order: int) -> None:
    """ValueError unless the hierarchy of `net`, of however many outputs, exists up to `order`."""
    network(net)
    if not is_whole(order) or order not in range(2, 7):
        raise ValueError(f"order must be an integer from 2 to 6, got {order!r}")
    if order > 4 and not net.rank_one:
        raise ValueError(
            f"K5 and K6 are there for fully connected networks alone, got order {order}: no low rank is known of the gradients "
            f"of {type(net).__name__}, and dense directions would take n^{order - 2} passes through all points; take order 4 "
            "at most"
        )
    if order > 2 and net.activation not in SMOOTH_ACTIVATIONS:
        raise ValueError(
            f"{net.activation} has no K3 or higher (its second derivative is a delta function); "
            f"choose one of {', '.join(SMOOTH_ACTIVATIONS)}"
        )


def contraction(net: Network, seeds: int, x: np.ndarray, basis: object, order: int) -> np.ndarray:
    """The basis as an array; ValueError unless it and the order are those of `Backend.contracted_hierarchy`."""
    hierarchy_exists(net, order)
    if not net.rank_one and net.output_dim != 1:
        raise ValueError(f"contractions of {type(net).__name__} ask for one output, the network has {net.output_dim}")
    if order not in (3, 4):
        raise ValueError(f"contractions have order 3 or 4, got {order}")
    vectors, n = real("basis", basis), x.shape[-2] * net.output_dim
    if vectors.ndim not in (2, 3) or vectors.shape[-2] != n or (vectors.ndim == 3 and len(vectors) != seeds):
        outputs = f" of {net.output_dim} outputs" if net.output_dim > 1 else ""
        raise ValueError(
            f"basis has shape {vectors.shape}; {x.shape[-2]} points{outputs} ask for ({n}, k) or ({seeds}, {n}, k)"
        )
    return vectors


def one_seed_fits(what: str, needed: int, budget: int) -> None:
    """ValueError if the temporaries of one seed, in bytes, exceed the budget."""
    if needed > budget:
        raise ValueError(f"{what} need {needed} bytes per seed, memory_bytes is {budget}: raise it, or take fewer points")


def training(
    net: Network, seeds: int, x: np.ndarray, y: object, observe: Sequence[str], x_test: object | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """`y` and `x_test` as arrays; ValueError unless targets, observables and test points fit; `x` is checked already."""
    targets = real("y", y)
    shape = (x.shape[-2], net.output_dim)
    if targets.shape not in (shape, (seeds, *shape)):
        raise ValueError(
            f"y has shape {targets.shape}; inputs of shape {x.shape} and the network ask for {shape} or {(seeds, *shape)}"
        )
    if isinstance(observe, str) or not isinstance(observe, Collection):
        raise ValueError(f"observe must be a sequence of observables, got {observe!r}")
    for name in observe:
        names.check("observable", name, OBSERVABLES)
    if "K2" in observe:
        one_output(net)
    if "f_test" in observe and x_test is None:
        raise ValueError("observable 'f_test' needs x_test")
    return targets, None if x_test is None else inputs(net, seeds, x_test, "x_test")


def truncated_hierarchy(kernels: object, f0: object, y: object) -> tuple[dict[int, np.ndarray], np.ndarray, np.ndarray]:
    """All three as arrays; ValueError unless every order from 2 to the highest is there and all shapes fit `f0`."""
    start, targets = real("f0", f0), real("y", y)
    if start.ndim != 2:
        raise ValueError(f"f0 has shape {start.shape}, expected (seeds, n)")
    seeds, n = start.shape
    if not isinstance(kernels, Mapping) or not kernels or set(kernels) != set(range(2, len(kernels) + 2)):
        found = list(kernels) if isinstance(kernels, Mapping) else type(kernels).__name__
        raise ValueError(f"kernels must map every order from 2 on to its kernel, got {found}")
    tensors = {r: real(f"K{r}", kernels[r]) for r in range(2, len(kernels) + 2)}
    for r, tensor in tensors.items():
        if tensor.shape != (seeds,) + (n,) * r:
            raise ValueError(f"K{r} has shape {tensor.shape}, f0 of shape {start.shape} asks for {(seeds,) + (n,) * r}")
    if targets.shape not in ((n,), (seeds, n)):
        raise ValueError(f"y has shape {targets.shape}, f0 of shape {start.shape} asks for {(n,)} or {(seeds, n)}")
    return tensors, start, targets


def linear_system(kernel: object, rhs: object, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and sides as arrays.

    Raises:
        ValueError: unless `kernel` is symmetric, (n, n) or (B, n, n), `rhs` (n, k) or (B, n, k), and `ridge` not negative.
    """
    matrix, sides = real("kernel", kernel), real("rhs", rhs)
    square = matrix.ndim in (2, 3) and matrix.shape[-1] == matrix.shape[-2]
    if not square or sides.ndim != matrix.ndim or sides.shape[:-1] != matrix.shape[:-1]:
        raise ValueError(
            f"kernel has shape {matrix.shape} and rhs {sides.shape}; expected (n, n) and (n, k), or both with a batch axis"
        )
    if not (is_finite(ridge) and ridge >= 0):
        raise ValueError(f"ridge must be finite and not negative, got {ridge!r}")
    _symmetric(matrix)
    return matrix, sides


def not_positive_definite(index: int, count: int, smallest: float, ridge: float) -> np.linalg.LinAlgError:
    """The refusal of matrix `index` of a batch of `count`, plus `ridge` times the identity, by its smallest eigenvalue."""
    which = "the kernel" if count == 1 else f"kernel {index} of {count}"
    shifted = f" plus {ridge:g} times the identity" if ridge else ""
    return np.linalg.LinAlgError(
        f"{which}{shifted} is not positive definite: its smallest eigenvalue is {smallest:.6g}; raise the ridge, or drop "
        "points that occur twice"
    )


def kernel_descent(
    kernel: object, residual0: object, step: float, counts: Sequence[int], kernel_test: object
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three arrays; ValueError unless they, the step and the counts are those of `Backend.kernel_descent`."""
    matrix, start, rows = real("kernel", kernel), real("residual0", residual0), real("kernel_test", kernel_test)
    fits = matrix.ndim == start.ndim == rows.ndim == 3 and matrix.shape[1] == matrix.shape[2]
    if not fits or start.shape[:2] != matrix.shape[:2] or rows.shape[::2] != matrix.shape[::2]:
        raise ValueError(
            f"kernel has shape {matrix.shape}, residual0 {start.shape}, kernel_test {rows.shape}; "
            "expected (B, n, n), (B, n, O) and (B, n_test, n)"
        )
    if not (is_finite(step) and step > 0):
        raise ValueError(f"step must be positive and finite, got {step!r}")
    numbers = list(counts) if isinstance(counts, Iterable) else []
    if not numbers or not all(is_whole(count) and 0 <= count < 2**53 for count in numbers):
        raise ValueError(f"counts must be whole numbers of steps of at least 0, below 2**53, got {counts!r}")
    _symmetric(matrix)
    return matrix, start, rows


def products(shapes: object) -> None:
    """ValueError unless they are quadruples (count, rows, inner, columns) of whole numbers."""
    given = list(shapes) if isinstance(shapes, Sequence) and not isinstance(shapes, str) else [()]
    if not all(
        isinstance(shape, Sequence) and len(shape) == 4 and all(is_whole(n) and n >= 0 for n in shape) for shape in given
    ):
        raise ValueError(f"shapes must be a sequence of (count, rows, inner, columns), whole numbers, got {shapes!r}")


def _symmetric(kernel: np.ndarray) -> None:
    """ValueError unless the matrices, (n, n) or (B, n, n), are symmetric to `ASYMMETRY` roundings of their own precision."""
    rounding = float(np.finfo(np.result_type(kernel, np.float32)).eps)
    for i, matrix in enumerate(kernel.reshape(-1, *kernel.shape[-2:])):
        difference, scale = _asymmetry(matrix), float(max(matrix.max(), -matrix.min()))
        if difference > ASYMMETRY * rounding * scale:
            place = f"matrix {i} of kernel" if kernel.ndim == 3 else "kernel"
            raise ValueError(
                f"{place} is not symmetric: it differs from its transpose by up to {difference:.3g}, its largest entry being "
                f"{scale:.3g}; give a symmetric kernel, or its symmetric part (K + K^T) / 2 if that is meant"
            )


def _asymmetry(matrix: np.ndarray, side: int = 256) -> float:
    """Largest `|K - K^T|`, in squares that stay in the cache together with their transposes."""
    squares = [slice(start, start + side) for start in range(0, len(matrix), side)]
    pairs = combinations_with_replacement(squares, 2)
    return max(float(np.abs(matrix[i, j] - matrix[j, i].T).max()) for i, j in pairs)
