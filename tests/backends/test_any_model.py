"""The NTK of any model: modules of torch, functions of torch and jax, against a plain full Jacobian and each other."""

import re
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch import nn
from torch.nn.utils import parametrizations

from ntkbench.backends import Backend, load
from ntkbench.backends import jax as ours_jax
from ntkbench.backends import torch as ours_torch
from ntkbench.backends.torch.any_model import routes
from ntkbench.backends.torch.any_model.function import Function
from ntkbench.networks import FullyConnected
from tests.backends import models_jax
from tests.backends.models_torch import Recurrent, Residual, Transformer, examples, made

load("jax", device="cpu", threads=1)  # float64 in jax

KINDS = (Transformer, Residual, Recurrent)
Tensor = torch.Tensor


def jacobian(model: Callable[[Tensor], Tensor], parameters: list[Tensor], x: Tensor) -> np.ndarray:
    """(n, O, P), one backward pass per example and output."""
    rows = []
    for f in (model(example[None]).flatten() for example in x):
        passes = [torch.autograd.grad(g, parameters, retain_graph=True, allow_unused=True) for g in f]
        filled = [[torch.zeros_like(p) if g is None else g for p, g in zip(parameters, one, strict=True)] for one in passes]
        rows.append(np.stack([np.concatenate([g.numpy().ravel() for g in one]) for one in filled]))
    return np.stack(rows)


def oracle(model: nn.Module, x1: Tensor, x2: Tensor | None = None) -> np.ndarray:
    """(n1, n2, O, O)."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    one = jacobian(model, parameters, x1)
    two = one if x2 is None else jacobian(model, parameters, x2)
    return np.einsum("iop,jqp->ijoq", one, two)


def assert_equal(found: Any, expected: np.ndarray, tolerance: float = 1e-12) -> None:
    """Relative to the largest entry."""
    assert_allclose(np.asarray(found), expected, rtol=0, atol=tolerance * np.abs(expected).max())


def trace(full: np.ndarray) -> np.ndarray:
    return np.einsum("ijoo->ij", full)


def counterpart(model: nn.Module) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The same model in jax, with its parameters."""
    params = {name: jnp.asarray(p.detach().numpy()) for name, p in model.named_parameters()}
    if isinstance(model, Residual):
        statistics = (jnp.asarray(model.batch.running_mean.numpy()), jnp.asarray(model.batch.running_var.numpy()))
        return partial(models_jax.residual, mean=statistics[0], variance=statistics[1]), params
    return models_jax.transformer if isinstance(model, Transformer) else models_jax.recurrent, params


def by_jacobian(model: nn.Module, x: Tensor) -> set[str]:
    """Parameters that do not go layer by layer."""
    probe = routes.Probe(Function(model, None), x[:2])
    return set(probe.function.params) - set(probe.layered(len(x), len(x), together=True).gram)


@pytest.mark.parametrize("kind", KINDS)
def test_torch_equals_the_plain_jacobian(kind: type[nn.Module]) -> None:
    model = made(kind)
    x1, x2 = examples(model, 6, 1), examples(model, 3, 2)
    square, rectangle = oracle(model, x1), oracle(model, x1, x2)
    assert_equal(ours_torch.empirical_ntk(model, x1), trace(square))
    assert_equal(ours_torch.empirical_ntk(model, x1, x2), trace(rectangle))
    assert_equal(ours_torch.empirical_ntk(model, x1, outputs="full"), square)
    assert_equal(ours_torch.empirical_ntk(model, x1, x2, outputs="full"), rectangle)
    by_function = ours_torch.empirical_ntk(
        lambda p, x: torch.func.functional_call(model, p, (x,)), x1, x2, params=dict(model.named_parameters())
    )
    assert_equal(by_function, trace(rectangle))


@pytest.mark.parametrize("kind", KINDS)
def test_the_two_frameworks_agree(kind: type[nn.Module]) -> None:
    model = made(kind, seed=1)
    x1, x2 = examples(model, 4, 1), examples(model, 4, 2)  # of one size, so that one Jacobian is compiled
    f, params = counterpart(model)
    in_numpy = [x.numpy() for x in (x1, x2)]
    assert_allclose(jax.jit(f)(params, in_numpy[0]), model(x1).detach().numpy(), rtol=1e-12, atol=1e-13)
    full = ours_jax.empirical_ntk(f, params, *in_numpy, outputs="full")
    assert_equal(full, ours_torch.empirical_ntk(model, x1, x2, outputs="full").numpy(), 1e-10)


@pytest.mark.parametrize(
    ("kind", "exceptions"),
    [(Transformer, {"position"}), (Residual, set()), (Recurrent, set())],
)
def test_modules_go_layer_by_layer(kind: type[nn.Module], exceptions: set[str]) -> None:
    """A parameter that no module of its own applies is the exception."""
    model = made(kind)
    assert by_jacobian(model, examples(model, 4, 3)) == exceptions


def needed(call: Callable[..., Any]) -> int:
    """The smallest budget, as the refusal of a smaller one names it."""
    with pytest.raises(ValueError, match="needs") as refusal:
        call(memory_bytes=1)
    smallest = int(re.search(r"needs (\d+) bytes", str(refusal.value)).group(1))
    with pytest.raises(ValueError, match=f"needs {smallest} bytes"):
        call(memory_bytes=smallest - 1)
    return smallest


@pytest.mark.parametrize("outputs", ["trace", "full"])
@pytest.mark.parametrize("kind", [Transformer, Residual])
def test_blocks_in_torch_change_nothing(kind: type[nn.Module], outputs: str) -> None:
    """Of examples, of outputs and, in the functional form, of parameters."""
    model = made(kind)
    x1, x2 = examples(model, 3, 1), examples(model, 2, 2)
    as_function = partial(torch.func.functional_call, model)
    for other in (None, x2):
        by_module = partial(ours_torch.empirical_ntk, model, x1, other, outputs=outputs)
        whole = by_module().numpy()
        by_function = partial(
            ours_torch.empirical_ntk, as_function, x1, other, outputs=outputs, params=dict(model.named_parameters())
        )
        for call in (by_module, by_function):
            for factor in (1, 3):
                assert_equal(call(memory_bytes=factor * needed(call)), whole)


def perceptron(p: Any, x: Any) -> Any:
    return jnp.tanh(x @ p["w"] + p["b"]) @ p["v"]


def perceptron_parameters() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    return {"w": draw.standard_normal((3, 8)), "b": draw.standard_normal(8), "v": draw.standard_normal((8, 3))}


@pytest.mark.parametrize("outputs", ["trace", "full"])
def test_blocks_in_jax_change_nothing(outputs: str) -> None:
    draw = np.random.default_rng(0)
    params, x1, x2 = perceptron_parameters(), draw.standard_normal((7, 3)), draw.standard_normal((4, 3))
    for other in (None, x2):
        call = partial(ours_jax.empirical_ntk, perceptron, params, x1, other, outputs=outputs)
        whole = np.asarray(call())
        for factor in (1, 3, 10):
            assert_equal(call(memory_bytes=factor * needed(call)), whole)


def test_a_symmetric_kernel_is_symmetric_to_the_last_bit() -> None:
    model = made(Transformer)
    points = np.random.default_rng(0).standard_normal((9, 3))
    for found in (
        ours_torch.empirical_ntk(model, examples(model, 9, 1), outputs="full").numpy(),
        np.asarray(ours_jax.empirical_ntk(perceptron, perceptron_parameters(), points, outputs="full")),
    ):
        assert (found == found.transpose(1, 0, 3, 2)).all()


class Tied(nn.Module):
    """An embedding that is the readout too, one linear map used twice, and one that takes part as a matrix as well."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.twice, self.matrix = nn.Embedding(5, 4, padding_idx=0), nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
        self.readout = nn.Linear(4, 5, bias=False)
        self.readout.weight = self.token.weight

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.twice(torch.tanh(self.twice(self.token(tokens))))
        return self.readout(torch.tanh(self.matrix(h) @ self.matrix.weight)).mean(1)


class Sideways(nn.Module):
    """Examples that do not stand along the leading axis of what modules see, or not in order, though as many as 2 are there."""

    def __init__(self) -> None:
        super().__init__()
        self.time, self.flipped, self.place, self.last = nn.Linear(3, 4), nn.Linear(4, 4), nn.Embedding(2, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.time(x.transpose(0, 1)).transpose(0, 1)
        h = torch.tanh(h + self.place(torch.arange(2)))
        return self.last(self.flipped(h.flip(0)).flip(0).sum(1))


class Cells(nn.Module):
    """Cells with two arguments, one with a pair of results, a gate of its own, and layers without influence."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.long, self.idle = nn.GRUCell(3, 4), nn.LSTMCell(4, 4), nn.Linear(4, 4)
        self.sequence, self.slope = nn.LSTM(3, 4, batch_first=True), nn.PReLU(4)
        self.gate, self.frozen = nn.Parameter(torch.ones(())), nn.Linear(4, 2).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.cell(x[:, 1], self.cell(x[:, 0]))
        h, _ = self.long(h, self.long(h))
        return self.gate * self.frozen(self.slope(h + self.sequence(x)[0][:, -1])) + 0 * self.idle(h)[:, :2]


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "tied": (Tied, lambda: torch.randint(5, (4, 3))),
    "sideways": (Sideways, lambda: torch.randn(5, 2, 3)),
    "cells": (Cells, lambda: torch.randn(4, 2, 3)),
    "encoder": (
        lambda: nn.Sequential(nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), nn.Flatten(), nn.Linear(12, 1)),
        lambda: torch.randn(3, 3, 4),
    ),
    "norms": (
        lambda: nn.Sequential(
            parametrizations.weight_norm(nn.Linear(4, 6)),
            nn.RMSNorm(6),
            nn.BatchNorm1d(6),
            nn.ELU(inplace=True),
            nn.Linear(6, 2),
        ),
        lambda: torch.randn(4, 4),
    ),
    "volumes": (
        lambda: nn.Sequential(nn.Conv3d(1, 2, 2), nn.Tanh(), nn.ConvTranspose3d(2, 1, 2), nn.Flatten(), nn.Linear(27, 1)),
        lambda: torch.randn(3, 1, 3, 3, 3),
    ),
    "bilinear": (lambda: Twice(nn.Bilinear(3, 3, 2)), lambda: torch.randn(4, 3)),
    "sequences": (lambda: nn.Linear(3, 2), lambda: torch.randn(4, 2, 3)),
}


class Twice(nn.Module):
    """A module of two arguments, given the same."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x)


@pytest.mark.parametrize("name", MODELS)
def test_what_modules_do_not_tell_is_differentiated(name: str) -> None:
    make, draw = MODELS[name]
    model = made(make)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        x = draw()
    x = x.double() if x.is_floating_point() else x
    expected = oracle(model, x)
    assert_equal(ours_torch.empirical_ntk(model, x), trace(expected))
    assert_equal(ours_torch.empirical_ntk(model, x, outputs="full"), expected)
    rectangle = oracle(model, x, x[:2])
    assert_equal(ours_torch.empirical_ntk(model, x, x[:2], outputs="full", memory_bytes=2**18), rectangle)


def test_routes_of_models_with_hidden_traps() -> None:
    draw = torch.Generator().manual_seed(3)
    assert by_jacobian(made(Tied), torch.randint(5, (4, 3), generator=draw)) == {"matrix.weight"}
    exceptions = {"time.weight", "time.bias", "flipped.weight", "place.weight"}
    assert by_jacobian(made(Sideways), torch.randn(5, 2, 3, generator=draw).double()) == exceptions


class Sorted(nn.Module):
    """A module in the middle sees the examples in another order, as packed sequences do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        order = x[:, 0].argsort()
        return self.last(torch.tanh(self.first(x[order]))[order.argsort()])


def test_examples_that_are_in_order_by_chance_show_no_module_to_keep_them() -> None:
    model = made(Sorted)
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).double()
    x[0, 0] = -9  # the first in any order
    assert x[1, 0] != x[:, 0].sort()[0][1]
    for points in (x, x[[0, 4, 5, 2, 1, 3]]):
        assert by_jacobian(model, points) == {"first.weight", "first.bias"}
        assert_equal(ours_torch.empirical_ntk(model, points), trace(oracle(model, points)))


def test_parameters_without_entries_contribute_nothing() -> None:
    x = np.arange(12.0).reshape(4, 3)
    for found in (
        ours_torch.empirical_ntk(lambda p, x: x @ p["a"], torch.tensor(x), params={"a": X[0], "none": X[:0]}),
        ours_torch.empirical_ntk(WithNone(), torch.tensor(x)),
        ours_jax.empirical_ntk(lambda p, x: x @ p["a"], {"a": x[0], "none": x[:0]}, x),
    ):
        assert_equal(found, x @ x.T)


class WithNone(nn.Module):
    """A linear map with a parameter that holds nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.none = nn.Parameter(X[0].clone()), nn.Parameter(X[:0].clone())

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.none.sum()


class Scale(nn.Module):
    """A module whose parameter is a number."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def test_a_parameter_may_be_a_number() -> None:
    x = np.arange(4.0)
    for found in (
        ours_torch.empirical_ntk(lambda p, x: p["a"] * x, torch.tensor(x), params={"a": torch.ones(()).double()}),
        ours_torch.empirical_ntk(Scale().double(), torch.tensor(x)),
        ours_jax.empirical_ntk(lambda p, x: p * x, 2.0, x),
    ):
        assert_equal(found, np.outer(x, x))


@pytest.mark.parametrize("change", [lambda w: w.data.clamp_(0.1, 0.2), lambda w: w.detach().mul_(0.9999)])
def test_a_model_that_changes_its_parameters_is_refused_and_keeps_them(change: Callable[[Tensor], Tensor]) -> None:
    class Changing(Noisy):
        def forward(self, x: Tensor) -> Tensor:
            change(self.linear.weight)
            return self.linear(x)

    model = Changing().double()
    before = model.linear.weight.detach().clone()
    with pytest.raises(ValueError, match=r"changes its parameters linear\.weight when called"):
        ours_torch.empirical_ntk(model, X)
    assert (model.linear.weight == before).all()


def test_what_a_model_says_is_passed_on() -> None:
    def fails(p: Any, x: Any) -> Any:
        raise KeyError("mask")

    for call in (lambda: ours_torch.empirical_ntk(fails, X, params={"a": X}), lambda: ours_jax.empirical_ntk(fails, W, POINTS)):
        with pytest.raises(ValueError, match=r"the model failed on 2 of the examples, shape \(2, 3\).*mask") as refusal:
            call()
        assert isinstance(refusal.value.__cause__, KeyError)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """A convolution with whatever options, between two other layers, with inputs."""
    channels, out = draw(st.sampled_from([(1, 2), (2, 2), (2, 4)]))
    flat = draw(st.booleans())
    options = {
        "kernel_size": draw(st.integers(1, 3)),
        "stride": draw(st.integers(1, 2)),
        "dilation": draw(st.integers(1, 2)),
        "groups": draw(st.sampled_from([1, channels])),
        "bias": draw(st.booleans()),
        "padding_mode": draw(st.sampled_from(["zeros", "circular", "reflect", "replicate"])),
        "padding": draw(st.sampled_from([0, 1, 2, "valid", "same"])),
    }
    if options["padding"] == "same":
        options |= {"stride": 1, "kernel_size": 3}  # torch warns of even windows
    size = draw(st.integers(5, 6))
    shape = (channels, size) if flat else (channels, size, size + 1)
    with torch.random.fork_rng():
        torch.manual_seed(draw(st.integers(0, 100)))
        x = torch.randn(3, *shape).double()
        convolution = (nn.Conv1d if flat else nn.Conv2d)(channels, out, **options).double()
        readout = nn.Linear(convolution(x)[0].numel(), 2).double()
    return nn.Sequential(convolution, nn.Tanh(), nn.Flatten(), readout), x


@given(case=convolutions())
def test_convolutions_of_every_kind(case: tuple[nn.Module, Tensor]) -> None:
    model, x = case
    assert_equal(ours_torch.empirical_ntk(model, x, outputs="full"), oracle(model, x))


@given(
    widths=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    n=st.integers(1, 4),
    positions=st.integers(1, 3),
    bias=st.booleans(),
    budget=st.sampled_from([2**15, 2**31]),
)
def test_random_networks_of_linear_layers(widths: list[int], n: int, positions: int, bias: bool, budget: int) -> None:
    """Summed over positions, so that both routes to the kernel of a layer are taken."""

    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(a, b, bias) for a, b in pairwise(widths))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = torch.tanh(layer(x))
            return x.sum(1)

    model = made(Summed)
    x = torch.randn(n, positions, widths[0], generator=torch.Generator().manual_seed(n)).double()
    expected = oracle(model, x)
    assert_equal(ours_torch.empirical_ntk(model, x, memory_bytes=budget), trace(expected))
    assert_equal(ours_torch.empirical_ntk(model, x, outputs="full", memory_bytes=budget), expected)


class Network(nn.Module):
    """One seed of a fully connected network."""

    def __init__(self, net: FullyConnected, theta: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.net = net
        self.layers = nn.ModuleList()
        for l, layer in enumerate(net.layers, start=1):
            linear = nn.Linear(layer.fan_in, layer.fan_out)
            linear.weight.data = torch.tensor(theta[f"W{l}"][0, 0])
            linear.bias.data = torch.tensor(theta[f"b{l}"][0, 0])
            self.layers.append(linear)

    def forward(self, x: Tensor) -> Tensor:
        for l, (layer, linear) in enumerate(zip(self.net.layers, self.layers, strict=True)):
            h = torch.tanh(x) if l else x
            # The weight's multiplier on its inputs, the bias's on what is added.
            x = linear(layer.weight_multiplier * h) + (layer.bias_multiplier - 1) * linear.bias
        return x


def test_a_network_of_the_suite_has_the_kernel_of_the_backend(backend: Backend) -> None:
    net = FullyConnected(3, 6, 2, "tanh", bias_variance=0.3)
    theta = net.initialize(5, [0])
    x = np.random.default_rng(0).standard_normal((5, 3))
    expected = backend.ntk(net, theta, x)[0]
    if backend.name == "torch":
        found = ours_torch.empirical_ntk(Network(net, theta), torch.tensor(x), outputs="one").numpy()
    else:

        def f(p: dict[str, Any], points: Any) -> Any:
            h = points
            for l, layer in enumerate(net.layers, start=1):
                z = layer.weight_multiplier * h @ p[f"W{l}"][0, 0].T + layer.bias_multiplier * p[f"b{l}"][0, 0]
                h = jnp.tanh(z)
            return z

        found = np.asarray(ours_jax.empirical_ntk(f, theta, x, outputs="one"))
    assert_equal(found, expected)


def test_nothing_of_the_model_changes() -> None:
    model = made(Residual)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        kernel = ours_torch.empirical_ntk(model, examples(model, 3, 0))
    assert not kernel.requires_grad
    assert all((model.state_dict()[name] == value).all() for name, value in before.items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_dtype_is_the_models() -> None:
    model = made(Residual).float()
    x = examples(model, 4, 0)
    found = ours_torch.empirical_ntk(model, x.float())
    assert found.dtype == torch.float32
    assert_equal(found.numpy(), trace(oracle(model.double(), x)), 1e-5)
    f, params = counterpart(made(Recurrent).float())
    assert ours_jax.empirical_ntk(f, params, jnp.ones((2, 5, 2), jnp.float32)).dtype == jnp.float32
    half = ours_jax.empirical_ntk(product, {"w": jnp.ones((3, 2), jnp.bfloat16)}, jnp.ones((2, 3), jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    assert_equal(half.astype(float), np.full((2, 2), 6.0))


def test_trees_of_parameters_and_inputs() -> None:
    """Integers are held fixed, and what has no influence contributes nothing."""

    def f(params: Any, x: Any) -> Any:
        (a, b), rest = params
        return jnp.tanh(x["left"] @ a) @ b * rest["count"] + x["right"]

    draw = np.random.default_rng(0)
    params = ((draw.standard_normal((3, 4)), draw.standard_normal(4)), {"count": 2, "idle": np.ones(3)})
    x = {"left": draw.standard_normal((5, 3)), "right": draw.standard_normal(5)}
    found = ours_jax.empirical_ntk(f, params, x)
    (a, b), _ = params
    h = np.tanh(x["left"] @ a)
    delta = (1 - h**2) * b
    assert_equal(found, 4 * (h @ h.T + (x["left"] @ x["left"].T) * (delta @ delta.T)))
    in_torch = ours_torch.empirical_ntk(
        lambda p, left: torch.tanh(left @ p["a"]) @ p["b"] * p["count"],
        torch.tensor(x["left"]),
        params={"a": torch.tensor(a), "b": torch.tensor(b), "count": torch.tensor(2), "idle": torch.ones(3).double()},
    )
    assert_equal(in_torch, np.asarray(found))


def double(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers).double()


class Noisy(nn.Module):
    """Random in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * torch.rand(())


class Centred(Noisy):
    """Examples that interact in a way of their own."""

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x - x.mean(0))


class Summed(Noisy):
    """The first example sees no other."""

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.cumsum(0))


class InOrder(Noisy):
    """Examples that see no other where they are in order."""

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.sort(0).values)


class Steps(nn.Module):
    """Takes the axis of examples for that of time, and reads the last feature of a state."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.RNN(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.recurrent(x.view(len(x), -1, 1).expand(-1, -1, 2))[0][:, -1]


LINEAR = nn.Linear(3, 2).double()
nn.init.ones_(LINEAR.weight)
nn.init.constant_(LINEAR.bias, 0.5)
X = torch.arange(12.0).view(4, 3).double()
STEP = torch.tensor([[0.0], [1.0], [0.0]]).double()
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "dropout": (lambda: ours_torch.empirical_ntk(double(LINEAR, nn.Dropout()), X), r"Dropout '1' is random.*model\.eval\(\)"),
    "batch norm": (lambda: ours_torch.empirical_ntk(double(nn.BatchNorm1d(3), LINEAR), X), r"interact in training.*eval\(\)"),
    "no statistics": (
        lambda: ours_torch.empirical_ntk(double(nn.BatchNorm1d(3, track_running_stats=False), LINEAR).eval(), X),
        "running statistics",
    ),
    "noise": (lambda: ours_torch.empirical_ntk(Noisy().double(), X), "random, two evaluations"),
    "interaction": (lambda: ours_torch.empirical_ntk(Centred().double(), X), "examples interact"),
    "interaction with the first": (lambda: ours_torch.empirical_ntk(Summed().double(), X), "examples interact"),
    "interaction in one order": (lambda: ours_torch.empirical_ntk(InOrder().double(), X), "examples interact"),
    "interaction of others than first and last": (
        lambda: ours_torch.empirical_ntk(Centred().double(), X[[0, 0, 1, 0]]),
        "examples interact",
    ),
    "interaction in x1 alone": (lambda: ours_torch.empirical_ntk(Centred().double(), X, X[[0, 0]]), "examples interact"),
    "interaction in x2 alone": (
        lambda: ours_torch.empirical_ntk(Centred().double(), X[[0, 0]], X[:1].tile(3, 1) + STEP),
        "examples interact",
    ),
    "time first": (lambda: ours_torch.empirical_ntk(Steps().double(), X / 12), "batch_first=True"),
    "one": (lambda: ours_torch.empirical_ntk(LINEAR, X, outputs="one"), "has 2: choose 'trace' or 'full'"),
    "outputs": (lambda: ours_torch.empirical_ntk(LINEAR, X, outputs="all"), "choose one of one, trace, full"),
    "budget": (lambda: ours_torch.empirical_ntk(LINEAR, X, memory_bytes=100), r"needs \d+ bytes.*memory_bytes is 100"),
    "no budget": (lambda: ours_torch.empirical_ntk(LINEAR, X, memory_bytes=0), "whole number"),
    "infinite": (lambda: ours_torch.empirical_ntk(double(LINEAR, Exponential()), X), "outputs are not finite"),
    "slope": (lambda: ours_torch.empirical_ntk(double(LINEAR, Root()), 0 * X), "not differentiable"),
    "late": (lambda: ours_torch.empirical_ntk(double(LINEAR, Exponential()), torch.cat([0 * X, X, 0 * X])), "not finite"),
    "complex": (lambda: ours_torch.empirical_ntk(nn.Linear(3, 2, dtype=torch.complex128), X + 0j), "weight, bias are complex"),
    "frozen": (lambda: ours_torch.empirical_ntk(nn.Linear(3, 2).requires_grad_(False), X), "no parameters"),
    "integers": (lambda: ours_torch.empirical_ntk(lambda p, x: (p["a"] * x).long(), X, params={"a": X[0]}), "torch.int64"),
    "no axis": (lambda: ours_torch.empirical_ntk(lambda p, x: (p["a"] * x).sum(), X, params={"a": X[0]}), r"shape \(\) for 2"),
    "no params": (lambda: ours_torch.empirical_ntk(lambda p, x: x, X), "params="),
    "no tensor": (lambda: ours_torch.empirical_ntk(LINEAR, X.numpy()), "x1 is a ndarray"),
    "empty": (lambda: ours_torch.empirical_ntk(LINEAR, X, X[:0]), r"x2 has shape \(0, 3\)"),
    "precision": (lambda: ours_torch.empirical_ntk(LINEAR, X.float()), r"float32 \(give them in .* torch\.float64\): mat1"),
    "width": (lambda: ours_torch.empirical_ntk(LINEAR, X[:, :2]), r"failed on 2 of the examples, shape \(2, 2\).*: mat1"),
    "second input": (lambda: ours_torch.empirical_ntk(nn.Bilinear(3, 3, 2).double(), X), "failed .* missing 1 required"),
    "two shapes": (lambda: ours_torch.empirical_ntk(LINEAR, X, X[:, :2]), r"x1 is \(3,\).*x2 \(2,\).*one shape"),
    "two dtypes": (lambda: ours_torch.empirical_ntk(LINEAR, X, X.float()), r"x2 \(3,\), torch\.float32.*one shape and dtype"),
    "no output": (
        lambda: ours_torch.empirical_ntk(lambda p, x: (p["a"] * x)[:, :0], X, params={"a": X[0]}),
        "no output at all",
    ),
    "no tensors": (
        lambda: ours_torch.empirical_ntk(lambda p, x: x, X, params={"a": np.ones(3)}),
        r"params\['a'\] is a ndarray",
    ),
    "no names": (lambda: ours_torch.empirical_ntk(lambda p, x: x, X, params=[X]), "params is a list"),
    "none": (lambda: ours_torch.empirical_ntk(lambda p, x: x, X, params={"a": X[:0]}), "no parameters"),
    "overflow": (lambda: ours_torch.empirical_ntk(nn.Linear(3, 2).half(), 60 * X.half()), "overflow torch.float16.*float32"),
}


class Exponential(nn.Module):
    """Infinite where it overflows."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(100 * x**2)


class Root(nn.Module):
    """Without a slope at zero."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sqrt((x - x.detach()).abs())


@pytest.mark.parametrize("name", REFUSED)
def test_torch_refuses(name: str) -> None:
    call, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        call()


def product(p: Any, x: Any) -> Any:
    return x @ p["w"]


W = {"w": np.ones((3, 2))}
POINTS = np.arange(12.0).reshape(4, 3)
REFUSED_JAX: dict[str, tuple[Callable[[], object], str]] = {
    "interaction": (lambda: ours_jax.empirical_ntk(lambda p, x: product(p, x - x.mean(0)), W, POINTS), "examples interact"),
    "interaction with the first": (
        lambda: ours_jax.empirical_ntk(lambda p, x: product(p, x.cumsum(0)), W, POINTS),
        "leading axis counts examples",
    ),
    "less the first": (lambda: ours_jax.empirical_ntk(lambda p, x: product(p, x - x[:1]), W, POINTS), "examples interact"),
    "mask of the batch": (
        lambda: ours_jax.empirical_ntk(
            lambda p, x: product(p, x) * jax.random.bernoulli(jax.random.key(1), 0.5, (len(x), 2)), W, POINTS
        ),
        "randomness",
    ),
    "one": (lambda: ours_jax.empirical_ntk(product, W, POINTS, outputs="one"), "has 2: choose 'trace' or 'full'"),
    "outputs": (lambda: ours_jax.empirical_ntk(product, W, POINTS, outputs="all"), "choose one of one, trace, full"),
    "budget": (lambda: ours_jax.empirical_ntk(product, W, POINTS, memory_bytes=100), r"needs \d+ bytes.*memory_bytes is 100"),
    "no budget": (lambda: ours_jax.empirical_ntk(product, W, POINTS, memory_bytes=0), "whole number"),
    "infinite": (lambda: ours_jax.empirical_ntk(lambda p, x: jnp.log(product(p, x)), W, POINTS - 12), "outputs are not finite"),
    "slope": (lambda: ours_jax.empirical_ntk(lambda p, x: jnp.sqrt(product(p, x)), W, 0 * POINTS), "not differentiable"),
    "complex": (lambda: ours_jax.empirical_ntk(product, {"w": W["w"] + 0j}, POINTS), "complex"),
    "integers": (lambda: ours_jax.empirical_ntk(product, {"w": np.ones((3, 2), int)}, POINTS), "nothing to differentiate"),
    "whole": (lambda: ours_jax.empirical_ntk(lambda p, x: product(p, x).astype(int), W, POINTS), "dtype int64"),
    "no axis": (lambda: ours_jax.empirical_ntk(lambda p, x: product(p, x).sum(), W, POINTS), r"shape \(\) for 2"),
    "two results": (lambda: ours_jax.empirical_ntk(lambda p, x: (x, x), W, POINTS), "gives tuple"),
    "empty": (lambda: ours_jax.empirical_ntk(product, W, POINTS, POINTS[:0]), "x2 has shapes"),
    "interaction in one order": (
        lambda: ours_jax.empirical_ntk(lambda p, x: product(p, jnp.sort(x, 0)), W, POINTS),
        "interact",
    ),
    "interaction of others than first and last": (
        lambda: ours_jax.empirical_ntk(lambda p, x: product(p, x["a"] - x["a"].mean(0)), W, {"a": POINTS[[0, 0, 1, 0]]}),
        "examples interact",
    ),
    "interaction in x1 alone": (
        lambda: ours_jax.empirical_ntk(lambda p, x: product(p, x - x.mean(0)), W, POINTS, POINTS[[0, 0]]),
        "examples interact",
    ),
    "text": (lambda: ours_jax.empirical_ntk(product, {**W, "name": "relu"}, POINTS), r"params\['name'\] is 'relu'"),
    "callable": (lambda: ours_jax.empirical_ntk(product, {**W, "f": [abs]}, POINTS), r"params\['f'\]\[0\] is <built-in"),
    "width": (lambda: ours_jax.empirical_ntk(product, W, POINTS[:, :2]), r"failed on 2 of the examples, shape \(2, 2\): dot"),
    "two shapes": (lambda: ours_jax.empirical_ntk(product, W, POINTS, POINTS[:, :2]), r"x1 has shape \(3,\), of x2 \(2,\)"),
    "two trees": (lambda: ours_jax.empirical_ntk(product, W, {"a": POINTS}, {"b": POINTS}), "examples of one shape"),
    "no output": (lambda: ours_jax.empirical_ntk(lambda p, x: product(p, x)[:, :0], W, POINTS), "no output at all"),
    "no entries": (lambda: ours_jax.empirical_ntk(product, {"w": np.ones((3, 0))}, POINTS), "nothing to differentiate"),
    "overflow": (
        lambda: ours_jax.empirical_ntk(product, {"w": np.ones((3, 2), np.float16)}, np.float16(60 * POINTS)),
        "overflow float16, the gradients do not",
    ),
}


@pytest.mark.parametrize("name", REFUSED_JAX)
def test_jax_refuses(name: str) -> None:
    call, words = REFUSED_JAX[name]
    with pytest.raises(ValueError, match=words):
        call()


def test_jax_compiles_once_for_the_same_function_and_shapes() -> None:
    traced = []

    def f(p: Any, x: Any) -> Any:
        traced.append(x.shape)
        return jnp.tanh(product(p, x))

    first = ours_jax.empirical_ntk(f, W, np.tile(POINTS, (3, 1)), memory_bytes=2**11)
    count = len(traced)
    again = ours_jax.empirical_ntk(f, {"w": 2 * W["w"]}, np.tile(POINTS, (3, 1)), memory_bytes=2**11)
    assert len(traced) - count <= 2  # its shapes are asked for, nothing is compiled
    assert (first != again).any()
    assert jax.config.values["jax_enable_x64"]
