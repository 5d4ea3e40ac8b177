"""What the README imports, called with what it cannot use: a ValueError that names it, in both backends alike."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ntkbench import data
from ntkbench.backends import Backend, load
from ntkbench.hierarchy import predict_training
from ntkbench.integrators import steps_between
from ntkbench.networks import Convolutional, FullyConnected
from ntkbench.seeding import rng

NET = FullyConnected(3, 5, 2, "tanh")
THETA = NET.initialize(0, range(2))
X, Y = rng(0, "library x").standard_normal((4, 3)), rng(0, "library y").standard_normal((4, 1))
BASIS = np.eye(4)[:, :2]
FLOW: dict[str, Any] = {"times": [0.5, 1.0], "step": 0.25, "integrator": "rk4"}
DATA: dict[str, Any] = {"name": "sphere", "train_size": 4, "test_size": 1, "input_dim": 4, "root": 0}
DENSE: dict[str, Any] = {"input_dim": 3, "width": 4, "depth": 1, "activation": "tanh"}
IMAGES: dict[str, Any] = {"image": (4, 4, 1), "width": 2, "depth": 1, "activation": "tanh"}
SETTINGS: dict[str, Any] = {"name": "torch"}

Table = dict[str, tuple[Any, ...]]
COUNTS = (0, -1, 1.5, "4", None, True, np.nan)
NAMES = (None, 3, ["x"], {}, b"tanh", "", "Unknown")

PLAIN: dict[str, tuple[Callable[..., Any], dict[str, Any], Table]] = {
    "data.load": (
        lambda name, **rest: data.load(name, **rest),
        DATA,
        {
            "name": NAMES,
            "train_size": (*COUNTS, [4]),
            "test_size": (-1, 0.5, None, "1", True),
            "input_dim": (*COUNTS[:-1], 1),
            "root": (-1, 1.5, "a", None, True),
            "splits": COUNTS[:4],
            "permute_labels": ("yes", None, 2),
        },
    ),
    "FullyConnected": (
        FullyConnected,
        DENSE,
        {
            **dict.fromkeys(("input_dim", "width", "depth", "output_dim"), COUNTS),
            "activation": (*NAMES, np.array(["tanh", "erf"])),
            "parametrization": NAMES,
            "weight_variance": (-1, 0, np.nan, np.inf, "1", 1j, None, True),
            "bias_variance": (-1, np.nan, np.inf, "0", None, True),
            "feature_strength": (0, -1, np.nan, 2.0, None),
            "antisymmetric": (1, "yes", None),
        },
    ),
    "Convolutional": (
        Convolutional,
        IMAGES,
        {"image": ((4, 4), (0, 4, 1), "4x4", None, (4, 4, 1.5)), "padding": NAMES, "readout": NAMES},
    ),
    "initialize": (
        NET.initialize,
        {"root": 0, "seeds": [0]},
        {
            "root": (-1, 1.5, "0", None, True),
            "seeds": ([], None, 3, [0.5], ["a"], [True]),
            "correlation": (1, -0.1, np.nan, "0", None, True),
        },
    ),
    "backends.load": (
        load,
        SETTINGS,
        {
            "name": NAMES,
            "device": NAMES,
            "precision": (*NAMES, "float16"),
            "threads": (0, -1, 1.5, "1", True),
            "memory_bytes": (0, -1, None, 1e9, True),
        },
    ),
    "steps_between": (
        steps_between,
        {"times": [1.0], "step": 0.5},
        {
            "times": ([], [-1.0], [1.0, 0.5], [0.3], [None], [True], None, 0.5, "1", {0.5: 1}),
            "step": (0, -1, None, "x", np.nan, True),
        },
    ),
}
"""By function: the call, arguments with which it works, and what none of them may be."""


def cases(table: dict[str, tuple[Any, ...]]) -> list[Any]:
    return [pytest.param(name, field, value, id=f"{name} {field}={value!r}"[:60]) for name, field, value in _entries(table)]


def _entries(table: dict[str, tuple[Any, ...]]) -> list[tuple[str, str, Any]]:
    return [(name, field, value) for name, row in table.items() for field, values in row[-1].items() for value in values]


@pytest.mark.parametrize("name", PLAIN)
def test_the_arguments_are_good_but_for_what_is_changed(name: str) -> None:
    call, arguments, _ = PLAIN[name]
    call(**arguments)


@pytest.mark.parametrize(("name", "field", "value"), cases(PLAIN))
def test_what_cannot_be_used_is_a_value_error(name: str, field: str, value: Any) -> None:
    call, arguments, _ = PLAIN[name]
    with pytest.raises(ValueError, match=r".{12,}"):
        call(**{**arguments, field: value})


def on(method: str) -> Callable[..., Any]:
    return lambda backend, **arguments: getattr(backend, method)(**arguments)


NETWORK = {"net": NET, "theta": THETA, "x": X}
FITS_NOT = (None, "net", FullyConnected(4, 5, 2, "tanh"), FullyConnected(3, 6, 2, "tanh"), FullyConnected(3, 5, 3, "tanh"))
POINTS = (X[0], X[None, None], X[:, :2], np.stack([X] * 3), None, "abc", X[:0], 1.0, {}, X * np.nan, X * 1j, X.astype(object))
SHAPES: Table = {"net": FITS_NOT, "x": POINTS, "theta": (None, {}, {**THETA, "W1": THETA["W1"][:1]})}
ORDERS = (0, 1, 7, -2, 2.5, None, "4", True)
TIMES = ([], [-1.0], [1.0, 0.5], [0.5, 0.5], [0.3], [np.nan], [None], [True], None, 0.5, "1")
STEPS = (0, -0.25, None, "x", np.nan, np.inf, True)

BACKED: dict[str, tuple[Callable[..., Any], dict[str, Any], Table]] = {
    "forward": (on("forward"), NETWORK, SHAPES),
    "ntk": (
        lambda backend, x, **rest: backend.ntk(x1=x, **rest),
        NETWORK,
        {**SHAPES, "outputs": (None, "all", 1, ["one"])},
    ),
    "hierarchy": (on("hierarchy"), {**NETWORK, "order": 3}, {**SHAPES, "order": ORDERS}),
    "contracted_hierarchy": (
        on("contracted_hierarchy"),
        {**NETWORK, "rows": X, "basis": BASIS, "order": 3},
        {
            **SHAPES,
            "rows": POINTS,
            "basis": (BASIS[:, 0], BASIS[:3], None, BASIS * np.nan, BASIS * 1j, BASIS[:, :0]),
            "order": ORDERS,
        },
    ),
    "train": (
        on("train"),
        {**NETWORK, "y": Y, **FLOW},
        {
            **SHAPES,
            "y": (Y[:, 0], Y[:3], None, Y * np.nan),
            "times": TIMES,
            "step": STEPS,
            "integrator": NAMES,
            "observe": (["g"], [None], ["f_test"], 3, None),
            "x_test": (X[0], np.nan, "x", X[:, :2]),
        },
    ),
    "integrate_hierarchy": (
        on("integrate_hierarchy"),
        {"kernels": {2: np.stack([np.eye(4)] * 2)}, "f0": np.zeros((2, 4)), "y": Y[:, 0], **FLOW},
        {
            "kernels": (None, {}, {3: np.eye(4)}, {2: np.eye(4)}),
            "f0": (None, Y[:, 0]),
            "y": (None, Y[:3]),
            "times": TIMES,
            "step": STEPS,
            "integrator": NAMES,
        },
    ),
    "limiting_kernels": (
        on("limiting_kernels"),
        {"net": NET, "x1": X},
        {"net": (None, "net"), "x1": (*POINTS, X * 1e200), "x2": (X[0], "x", X[:, :2], X[:0])},
    ),
    "solve": (
        on("solve"),
        {"kernel": np.eye(4), "rhs": Y},
        {
            "kernel": (-np.eye(4), np.zeros((4, 4)), np.tril(np.ones((4, 4))), np.ones((3, 4)), None, np.eye(4) * np.nan),
            "rhs": (Y[:, 0], None, Y[:3], np.stack([Y] * 2)),
            "ridge": (-1, None, np.nan),
        },
    ),
    "kernel_descent": (
        on("kernel_descent"),
        {"kernel": np.eye(4)[None], "residual0": Y[None], "kernel_test": np.eye(4)[None], "step": 0.1, "counts": [1]},
        {
            "kernel": (np.eye(4), None),
            "residual0": (Y, None),
            "kernel_test": (np.eye(4), None),
            "step": STEPS,
            "counts": (None, 3, "12", [True], [None], [], [10**30]),
        },
    ),
    "matrix_products": (
        on("matrix_products"),
        {"shapes": [(1, 2, 2, 2)]},
        {"shapes": (None, "abcd", [(1, 2, 3)], [(1, -1, 2, 2)], [(1, 1.5, 1, 1)], [3])},
    ),
    "predict_training": (
        lambda backend, net, theta, x, y, **rest: predict_training(backend, net, theta, x, y, **rest),
        {**NETWORK, "y": Y[:, 0], "order": 3, "times": [0.5]},
        {
            **SHAPES,
            "y": (Y, Y[:3, 0], None, Y[:, 0] * np.nan, Y[:, 0] * 1j),
            "order": ORDERS,
            "times": (*TIMES[:4], [np.nan], None, 0.5, "1"),
            "form": NAMES,
            "tolerance": (0, 1, -1, None, "a", np.nan),
        },
    ),
}
"""The calls of a backend, likewise."""


@pytest.mark.parametrize("name", BACKED)
def test_the_calls_are_good_but_for_what_is_changed(backend: Backend, name: str) -> None:
    call, arguments, _ = BACKED[name]
    call(backend, **arguments)


@pytest.mark.parametrize("name", BACKED)
def test_a_backend_refuses_what_it_cannot_use(backend: Backend, name: str) -> None:
    """All of a call's mutations in one test, so that each hole is listed: no answer, or an error of another kind."""
    call, arguments, table = BACKED[name]
    holes = []
    for field, values in table.items():
        for value in values:
            try:
                call(backend, **{**arguments, field: value})
            except ValueError:  # LinAlgError is one
                continue
            except Exception as error:
                holes.append(f"{field}={value!r}: {type(error).__name__}: {error}")
            else:
                holes.append(f"{field}={value!r}: silence")
    assert holes == []
