"""What the README imports, called with what it cannot use: a ValueError that names it, in both backends alike."""

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ntkbench import data
from ntkbench.backends import Backend, load
from ntkbench.figures import prediction
from ntkbench.hierarchy import Prediction, first_order_outputs, predict_training
from ntkbench.integrators import steps_between
from ntkbench.networks import Convolutional, FullyConnected, Residual
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
K2 = np.eye(3)[None]
FIRST_ORDER: dict[str, Any] = {
    "K2": K2,
    "K3": np.zeros((1, 3, 3, 3)),
    "K4": np.zeros((1, 3, 3, 3, 3)),
    "f0": np.zeros((1, 3)),
    "y": np.ones(3),
    "times": [1.0],
}
TIME = np.array([1.0, 2.0])
PREDICTED = Prediction(
    TIME, np.ones((1, 2, 3)), None, "tensors", np.array([3]), np.zeros(1), np.ones((1, 2)), np.full(1, np.inf)
)
TWO_OUTPUTS = Prediction(
    TIME, np.ones((1, 2, 3, 2)), None, "tensor_free", np.array([3]), np.zeros(1), np.ones((1, 2)), np.full(1, np.inf)
)
LATER = Prediction(
    2 * TIME, np.ones((1, 2, 3)), None, "tensors", np.array([3]), np.zeros(1), np.ones((1, 2)), np.full(1, np.inf)
)

Table = dict[str, tuple[Any, ...]]
COUNTS = (0, -1, 1.5, "4", None, True, np.nan)
NAMES = (None, 3, ["x"], {}, b"tanh", "", "Unknown")
DENSE_HOLES: Table = {
    **dict.fromkeys(("input_dim", "width", "depth", "output_dim"), COUNTS),
    "activation": (*NAMES, np.array(["tanh", "erf"])),
    "parametrization": NAMES,
    "weight_variance": (-1, 0, np.nan, np.inf, "1", 1j, None, True),
    "bias_variance": (-1, np.nan, np.inf, "0", None, True),
    "feature_strength": (0, -1, np.nan, 2.0, None),
    "antisymmetric": (1, "yes", None),
}

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
    "networks.FullyConnected": (FullyConnected, DENSE, DENSE_HOLES),
    "networks.Residual": (Residual, DENSE, DENSE_HOLES),
    "networks.Convolutional": (
        Convolutional,
        IMAGES,
        {"image": ((4, 4), (0, 4, 1), "4x4", None, (4, 4, 1.5)), "padding": NAMES, "readout": NAMES},
    ),
    "networks.Network.initialize": (
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
    "hierarchy.first_order_outputs": (
        first_order_outputs,
        FIRST_ORDER,
        {
            "K2": (None, "x", [[1.0]], K2 * 1j, K2 * np.nan, -K2, np.triu(np.ones((3, 3)))[None], K2[:, :2], K2[:0]),
            **{
                name: (None, "x", [1.0], FIRST_ORDER[name] * 1j, FIRST_ORDER[name] + np.inf, FIRST_ORDER[name] * np.nan)
                for name in ("K3", "K4", "f0", "y")
            },
            "times": (None, "x", 0.5, [], [-1.0], [None], [True], [np.nan], [1j], [[1.0]]),
        },
    ),
    "figures.prediction.draw": (
        prediction.draw,
        {"predictions": {2: PREDICTED}, "truth": np.ones((1, 2, 3)), "stem": "p"},
        {
            "predictions": (
                None,
                {},
                {2: "x"},
                [PREDICTED],
                {"2": PREDICTED},
                {1: PREDICTED},
                {2: PREDICTED, 3: LATER},
                {2: TWO_OUTPUTS},
            ),
            "truth": (None, "x", np.ones((1, 2, 4)), np.ones((1, 2, 3)) * 1j, np.full((1, 2, 3), np.nan), [[1.0]]),
            "stem": (None, 3, "", b"p"),
            "seed": (1, -1, 0.5, None, "0", True),
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


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a call may leave files."""
    monkeypatch.chdir(tmp_path)


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
    "seed_blocks": (
        lambda backend, **rest: list(backend.seed_blocks(**rest)),
        {"seeds": 3, "bytes_per_seed": 8},
        {"seeds": COUNTS, "bytes_per_seed": (-8, 1.5, "8", None, np.nan, True)},
    ),
    "hierarchy.predict_training": (
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


README = Path(__file__).resolve().parents[2] / "README.md"
PACKAGES = ("backends", "data", "hierarchy", "limits", "networks", "verdicts")
"""Their `__all__` is the library, besides what the README imports; `verdicts` has none: it is the workflow's own."""

CHECKED, FOUND, OTHERWISE = (
    "its public form is a call of a backend, which checks what it passes on",
    "it is returned, and not made by users",
    "is tested elsewhere: ",
)
EXEMPT = {
    "backends.Backend": "it is made by backends.load",
    "backends.BackendUnavailable": FOUND,
    "backends.Trajectory": FOUND,
    "backends.torch.empirical_ntk": OTHERWISE + "tests/backends/test_any_model.py::test_torch_refuses",
    "backends.jax.empirical_ntk": OTHERWISE + "tests/backends/test_any_model.py::test_jax_refuses",
    "data.DataUnavailable": FOUND,
    "data.Dataset": FOUND,
    "data.Source": "an entry of data.SOURCES: a source that cannot be drawn fails the tests of docs/extending.md",
    "data.check": "data.load begins with it",
    "hierarchy.HorizonWarning": FOUND,
    "hierarchy.Prediction": FOUND,
    "hierarchy.right_hand_side": CHECKED,
    "hierarchy.runge_kutta_step": CHECKED,
    "limits.Limit": FOUND,
    "limits.kernels": CHECKED,
    "networks.Layer": FOUND,
    "networks.Network": "it is abstract: FullyConnected, Residual and Convolutional call its checks",
}
"""What is public and not in the tables, and why."""


def public(readme: str) -> set[str]:
    """Functions and classes of the library by dotted name without `ntkbench.`, and `Backend`'s calls that take arguments."""
    names = {f"{package}.{name}" for package in PACKAGES for name in getattr(_module(package), "__all__", ())}
    names |= {name for block in re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL) for name in _used(ast.parse(block))}
    calls = {
        name
        for name, method in inspect.getmembers(Backend, inspect.isfunction)
        if len(inspect.signature(method).parameters) > 1
    }
    return {name for name in names if _is_ours(name)} | {f"Backend.{name}" for name in calls if not name.startswith("_")}


def _used(block: ast.Module) -> Iterator[str]:
    """What a block of code imports from the package, and of an imported module what it uses."""
    modules: dict[str, str] = {}
    for node in ast.walk(block):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ntkbench":
            within = (node.module or "").partition(".")[2]
            for alias in node.names:
                name = f"{within}.{alias.name}".strip(".")
                modules[alias.asname or alias.name] = name
                yield name
    for node in ast.walk(block):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield f"{modules[node.value.id]}.{node.attr}"


def _module(name: str) -> Any:
    return importlib.import_module(f"ntkbench.{name}")


def _is_ours(name: str) -> bool:
    """Whether it is a function or a class, and no module, constant or type of others."""
    package, _, last = name.rpartition(".")
    of = getattr(_module(package), last, None) if package else None
    return inspect.isfunction(of) or inspect.isclass(of)


def named() -> set[str]:
    return {*PLAIN, *(name if "." in name else f"Backend.{name}" for name in BACKED)}


def test_all_that_is_public_is_called_with_bad_arguments_or_exempt() -> None:
    every = public(README.read_text(encoding="utf-8"))
    assert every >= {
        "hierarchy.first_order_outputs",
        "figures.prediction.draw",
        "data.load",
        "networks.Residual",
        "Backend.ntk",
    }
    assert every - named() - set(EXEMPT) == set()
    assert set(EXEMPT) - every == set(), "these are public no more"
    assert set(EXEMPT) & named() == set(), "these are called, and need no exemption"


def test_a_public_function_that_is_in_no_table_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    readme = README.read_text(encoding="utf-8")
    code = ("from ntkbench import data", "from ntkbench.verdicts.ranks import ranks", "data.SOURCES", "data.forgotten")
    shown = "\n".join(["```python", *code, "```\n"])
    assert public(readme + shown) - public(readme) == {"verdicts.ranks.ranks"}
    monkeypatch.setattr(_module("networks"), "__all__", [*_module("networks").__all__, "rng"])
    monkeypatch.setattr(_module("networks"), "rng", rng, raising=False)
    monkeypatch.setattr(Backend, "forgotten", lambda self, x: x, raising=False)
    assert public(readme) - named() - set(EXEMPT) == {"networks.rng", "Backend.forgotten"}
    monkeypatch.delitem(PLAIN, "hierarchy.first_order_outputs")
    assert "hierarchy.first_order_outputs" in public(readme) - named() - set(EXEMPT)


def test_the_tests_that_exempt_are_there() -> None:
    for reason in (reason for reason in EXEMPT.values() if reason.startswith(OTHERWISE)):
        file, _, test = reason.removeprefix(OTHERWISE).partition("::")
        assert f"def {test}(" in (README.parent / file).read_text(encoding="utf-8")
