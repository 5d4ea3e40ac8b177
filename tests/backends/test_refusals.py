"""Bad input is refused by both backends alike: one ValueError that names the culprit, before a framework sees anything."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ntkbench.backends import Backend, Trajectory, checks, load
from ntkbench.networks import FullyConnected
from ntkbench.seeding import rng
from tests.cases import ROOT

NET = FullyConnected(3, 5, 2, "tanh", bias_variance=0.2)
THETA = NET.initialize(ROOT, range(2))
X, Y = rng(ROOT, "refusals x").standard_normal((4, 3)), rng(ROOT, "refusals y").standard_normal((4, 1))
FLOW: dict[str, Any] = {"times": [0.1], "step": 0.1, "integrator": "euler"}
KERNEL, SIDE = X @ X.T + np.eye(4), Y
KERNELS = {2: np.stack([KERNEL] * 2), 3: np.zeros((2, 4, 4, 4))}
F0 = np.zeros((2, 4))

Call = Callable[[Backend, Any], Any]

NETWORK_CALLS: dict[str, Callable[[Backend, Any, Any], Any]] = {
    "forward": lambda b, theta, x: b.forward(NET, theta, x),
    "ntk": lambda b, theta, x: b.ntk(NET, theta, x),
    "hierarchy 2": lambda b, theta, x: b.hierarchy(NET, theta, x, 2),
    "hierarchy 3": lambda b, theta, x: b.hierarchy(NET, theta, x, 3),
    "train": lambda b, theta, x: b.train(NET, theta, x, Y, **FLOW),
}
"""Everything that takes parameters and inputs."""

ARRAY_CALLS: dict[str, tuple[str, np.ndarray, Call]] = {
    **{f"{name} x": ("x1?", X, lambda b, a, call=call: call(b, THETA, a)) for name, call in NETWORK_CALLS.items()},
    "ntk x2": ("x2", X, lambda b, a: b.ntk(NET, THETA, X, a)),
    "train y": ("y", Y, lambda b, a: b.train(NET, THETA, X, a, **FLOW)),
    "train x_test": ("x_test", X, lambda b, a: b.train(NET, THETA, X, Y, **FLOW, observe=("f_test",), x_test=a)),
    "limits x1": ("x1", X, lambda b, a: b.limiting_kernels(NET, a)),
    "limits x2": ("x2", X, lambda b, a: b.limiting_kernels(NET, X, a)),
    "integrate K2": ("K2", KERNELS[2], lambda b, a: b.integrate_hierarchy({**KERNELS, 2: a}, F0, Y[:, 0], **FLOW)),
    "integrate K3": ("K3", KERNELS[3], lambda b, a: b.integrate_hierarchy({**KERNELS, 3: a}, F0, Y[:, 0], **FLOW)),
    "integrate f0": ("f0", F0, lambda b, a: b.integrate_hierarchy(KERNELS, a, Y[:, 0], **FLOW)),
    "integrate y": ("y", Y[:, 0], lambda b, a: b.integrate_hierarchy(KERNELS, F0, a, **FLOW)),
    "solve kernel": ("kernel", KERNEL, lambda b, a: b.solve(a, SIDE)),
    "solve rhs": ("rhs", SIDE, lambda b, a: b.solve(KERNEL, a)),
    "descent kernel": ("kernel", KERNEL[None], lambda b, a: descend(b, kernel=a)),
    "descent residual0": ("residual0", SIDE[None], lambda b, a: descend(b, residual0=a)),
    "descent kernel_test": ("kernel_test", KERNEL[None], lambda b, a: descend(b, kernel_test=a)),
}
"""By call and argument: the argument's name (a pattern), a good value, and the call with another value in its place."""


def descend(backend: Backend, **change: Any) -> Any:
    arguments = {"kernel": KERNEL[None], "residual0": SIDE[None], "kernel_test": KERNEL[None], "step": 0.1, "counts": [1]}
    return backend.kernel_descent(**{**arguments, **change})


BAD: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "complex": (lambda a: a.astype(complex), "complex128"),
    "object": (lambda a: a.astype(object), "object"),
    "truth values": (lambda a: a > 0, "bool"),
    "text": (lambda a: a.astype(str), "<U"),
    "ragged": (lambda a: [[1.0], [2.0, 3.0]], "rectangular"),
    "nan": (lambda a: np.where(a == a.flat[0], np.nan, a), "not finite"),
    "infinite": (lambda a: np.where(a == a.flat[0], np.inf, a), "not finite"),
    "no entry in the first axis": (lambda a: a[:0], "empty"),
    "no entry in the last axis": (lambda a: a[..., :0], "empty"),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("call", ARRAY_CALLS)
def test_arrays_that_hold_no_finite_real_numbers_are_refused(backend: Backend, call: str, bad: str) -> None:
    name, good, run = ARRAY_CALLS[call]
    spoil, message = BAD[bad]
    with pytest.raises(ValueError, match=rf"^{name} .*{message}"):
        run(backend, spoil(good))


def arrays(found: Any) -> list[np.ndarray]:
    """The arrays of any result."""
    if isinstance(found, Trajectory):
        return [a for a in (found.f, found.f_test, found.K2) if a is not None]
    return list(found.values()) if isinstance(found, dict) else list(found) if isinstance(found, tuple) else [found]


@pytest.mark.parametrize("call", ARRAY_CALLS)
def test_integers_and_lists_are_numbers(backend: Backend, call: str) -> None:
    """They give exactly what the same numbers give as an array of floats."""
    _, good, run = ARRAY_CALLS[call]
    whole = np.round(3 * good)
    expected = arrays(run(backend, whole))
    for form in (whole.astype(np.int32), whole.tolist()):
        for found, wanted in zip(arrays(run(backend, form)), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("call", NETWORK_CALLS)
@pytest.mark.parametrize(
    ("theta", "message"),
    [
        ({**THETA, "W2": THETA["W2"].tolist()}, r"theta\['W2'\] is a list"),
        ({**THETA, "W1": 1.0}, r"theta\['W1'\] is a float"),
        ({**THETA, "b1": None}, r"theta\['b1'\] is a NoneType"),
        ({**THETA, "W1": np.array(1.0)}, r"theta\['W1'\] has shape \(\), .* \(seeds, 1, 5, 3\)"),
        ({**THETA, "b2": THETA["b2"].astype(complex)}, r"theta\['b2'\] has dtype complex128"),
        ({**THETA, "W3": THETA["W3"].astype(object)}, r"theta\['W3'\] has dtype object"),
        ({**THETA, "W3": THETA["W3"] > 0}, r"theta\['W3'\] has dtype bool"),
        ({**THETA, "b3": THETA["b3"] * np.nan}, r"theta\['b3'\] has entries that are not finite"),
        ({**THETA, "W2": THETA["W2"][:1]}, r"theta\['W2'\] has shape \(1, 1, 5, 5\), .* \(2, 1, 5, 5\)"),
        ({name: array[:0] for name, array in THETA.items()}, r"theta\['W1'\] .* empty: .*seed"),
        ({**THETA, 4: THETA["W1"]}, "theta has 4"),
        ({name: array for name, array in THETA.items() if name != "b2"}, r"theta lacks b2 of shape \(2, 1, 5\)"),
        ({}, "theta lacks W1 .* nothing"),
        (list(THETA.values()), "theta is a list"),
        (None, "theta is a NoneType"),
    ],
)
def test_parameters_that_are_no_mapping_of_real_arrays_are_refused(
    backend: Backend, call: str, theta: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        NETWORK_CALLS[call](backend, theta, X)


def test_integer_parameters_are_numbers(backend: Backend) -> None:
    whole = {name: np.round(2 * array) for name, array in THETA.items()}
    found = backend.ntk(NET, {name: array.astype(np.int64) for name, array in whole.items()}, X)
    np.testing.assert_array_equal(found, backend.ntk(NET, whole, X))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": np.inf}, "step must be positive and finite"),
        ({"step": np.nan}, "step must be positive and finite"),
        ({"step": 0.1j}, "step must be positive and finite"),
        ({"times": [np.nan]}, "times must be finite numbers, got nan"),
        ({"times": [0.1, np.inf]}, "times must be finite numbers, got inf"),
        ({"times": ["0.1"]}, "times must be finite numbers, got '0.1'"),
    ],
)
def test_steps_and_times_that_are_not_finite_are_refused(backend: Backend, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backend.train(NET, THETA, X, Y, **{**FLOW, **change})
    with pytest.raises(ValueError, match=message):
        backend.integrate_hierarchy(KERNELS, F0, Y[:, 0], **{**FLOW, **change})


@pytest.mark.parametrize("kernels", [[KERNELS[2]], None, {"2": KERNELS[2]}, {2: KERNELS[2], "3": KERNELS[3]}, {3: KERNELS[3]}])
def test_kernels_that_are_not_named_by_their_orders_are_refused(backend: Backend, kernels: Any) -> None:
    with pytest.raises(ValueError, match="kernels must map every order from 2 on"):
        backend.integrate_hierarchy(kernels, F0, Y[:, 0], **FLOW)


@pytest.mark.parametrize("order", [True, 2.0, 3.0, "3", None])
def test_orders_are_integers(backend: Backend, order: Any) -> None:
    with pytest.raises(ValueError, match="order must be an integer from 2 to 6"):
        backend.hierarchy(NET, THETA, X, order)


def test_an_order_may_be_an_integer_of_numpy(backend: Backend) -> None:
    found = backend.hierarchy(NET, THETA, X, np.int64(3))
    np.testing.assert_array_equal(found[3], backend.hierarchy(NET, THETA, X, 3)[3])


@pytest.mark.parametrize("ridge", [-0.1, np.nan, np.inf, 1j, "1", None, True])
def test_ridges_are_finite_and_not_negative(backend: Backend, ridge: Any) -> None:
    with pytest.raises(ValueError, match="ridge must be finite and not negative"):
        backend.solve(KERNEL, SIDE, ridge)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 0.0}, "step must be positive and finite"),
        ({"step": np.nan}, "step must be positive and finite"),
        ({"step": "0.1"}, "step must be positive and finite"),
        ({"counts": []}, "counts must be whole"),
        ({"counts": [1, -1]}, "counts must be whole"),
        ({"counts": [1.5]}, "counts must be whole"),
        ({"counts": [np.nan]}, "counts must be whole"),
        ({"counts": [np.inf]}, "counts must be whole"),
    ],
)
def test_steps_and_counts_of_a_descent(backend: Backend, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        descend(backend, **change)


# Symmetry


def lopsided(dtype: str, roundings: float) -> np.ndarray:
    """`KERNEL` with one entry moved by so many roundings of the largest."""
    kernel = KERNEL.astype(dtype)
    kernel[0, 1] += roundings * np.finfo(dtype).eps * np.abs(kernel).max()
    return kernel


@pytest.mark.parametrize(
    "kernel",
    [
        lopsided("float64", 1e5),
        lopsided("float32", 1e5),
        KERNEL * np.array([1.0, 1.0, 1.0, 2.0]),
        np.tril(KERNEL),
        np.triu(KERNEL),
        np.array([[2, 1], [0, 2]], dtype=np.uint8),
    ],
    ids=["float64", "float32", "scaled columns", "lower", "upper", "unsigned"],
)
def test_kernels_that_are_not_symmetric_are_refused(backend: Backend, kernel: np.ndarray) -> None:
    """One backend would read a triangle, the other the symmetric part, and both give a number."""
    side = SIDE[: len(kernel)]
    with pytest.raises(ValueError, match=r"^kernel is not symmetric: .*\(K \+ K\^T\) / 2"):
        backend.solve(kernel, side, 1.0)
    batch = np.stack([np.eye(len(kernel)), kernel])
    with pytest.raises(ValueError, match="matrix 1 of kernel is not symmetric"):
        backend.solve(batch, np.stack([side, side]), 1.0)
    with pytest.raises(ValueError, match="matrix 1 of kernel is not symmetric"):
        descend(backend, kernel=batch, residual0=np.stack([side, side]), kernel_test=batch)


@pytest.mark.parametrize("entry", [(0, 299), (299, 0), (298, 299), (1, 0), (256, 255)])
def test_one_entry_that_differs_is_enough(entry: tuple[int, int]) -> None:
    kernel = np.eye(300)
    kernel[entry] = 1e-6
    with pytest.raises(ValueError, match="differs from its transpose by up to 1e-06, its largest entry being 1;"):
        checks.linear_system(kernel, np.ones((300, 1)), 0.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_that_are_symmetric_to_rounding_are_not_refused(backend: Backend, dtype: str) -> None:
    kernel = lopsided(dtype, 100)
    np.testing.assert_allclose(backend.solve(kernel, SIDE), np.linalg.solve(KERNEL, SIDE), rtol=1e-3)
    expected = descend(backend, kernel=KERNEL[None])
    for found, wanted in zip(descend(backend, kernel=kernel[None]), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_a_scale_beside_it_does_not_hide_a_matrix_that_is_not_symmetric(backend: Backend) -> None:
    batch = np.stack([1e20 * np.eye(4), np.tril(KERNEL)])
    with pytest.raises(ValueError, match="matrix 1 of kernel"):
        backend.solve(batch, np.stack([SIDE, SIDE]))


def test_kernels_of_both_backends_pass_for_symmetric(backend: Backend) -> None:
    """Those of single precision with its own roundings."""
    for precision in ("float32", "float64"):
        engine = load(backend.name, device="cpu", precision=precision, threads=1)
        kernel = engine.ntk(NET, THETA, X)
        solution = engine.solve(kernel, np.stack([SIDE, SIDE]), ridge=1.0)
        np.testing.assert_allclose((kernel + np.eye(4)) @ solution, np.stack([SIDE, SIDE]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threads": True}, "threads"),
        ({"threads": 1.5}, "threads"),
        ({"threads": float("nan")}, "threads"),
        ({"memory_bytes": float("nan")}, "memory_bytes"),
        ({"memory_bytes": 2.0**31}, "memory_bytes"),
        ({"memory_bytes": "1 GiB"}, "memory_bytes"),
    ],
)
def test_settings_that_are_no_whole_numbers_are_refused(backend: Backend, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"{message} must be a whole number"):
        load(backend.name, device="cpu", **settings)
