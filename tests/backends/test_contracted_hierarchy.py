"""K3 and K4 contracted with basis vectors, against an oracle, and the full tensors where the vectors are unit vectors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkbench.backends import Backend, load
from ntkbench.backends.jax import contraction
from ntkbench.networks import PARAMETRIZATIONS, SMOOTH_ACTIVATIONS, Convolutional, FullyConnected, Network
from ntkbench.seeding import rng
from tests import oracles
from tests.cases import CASES, POINTS, ROOT, SEEDS, SMOOTH, Case

SEVERAL = [case for case in CASES if case.net.output_dim > 1 and case.net.activation != "relu"]
PLAIN = FullyConnected(3, 6, 2, "tanh", bias_variance=0.2)


def close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Elementwise, relative to the array's largest entry."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def rows_and_basis(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """With a seed axis where the case's points have one."""
    draw = rng(ROOT, "contraction", case.name)
    rows = draw.standard_normal((2, case.net.input_dim) if case.shared_inputs else (SEEDS, 2, case.net.input_dim))
    entries = POINTS * case.net.output_dim
    return rows, draw.standard_normal((entries, 2) if case.shared_inputs else (SEEDS, entries, 2))


@pytest.mark.parametrize("case", [*SMOOTH, *SEVERAL], ids=str)
def test_contractions_of_every_output_of_every_point(backend: Backend, case: Case) -> None:
    rows, basis = rows_and_basis(case)
    found = backend.contracted_hierarchy(case.net, case.theta, rows, case.x, basis, 4)
    signals = 2 * case.net.output_dim
    assert {r: kernel.shape for r, kernel in found.items()} == {3: (SEEDS, signals, 2, 2), 4: (SEEDS, signals, 2, 2, 2)}
    for seed in range(SEEDS):
        own = (rows, basis) if case.shared_inputs else (rows[seed], basis[seed])
        vector = oracles.flatten(case.theta, seed)
        for r, kernel in oracles.contracted_hierarchy(case.net, vector, own[0], case.points(seed), own[1], 4).items():
            close(found[r][seed], kernel, 1e-12)


@pytest.mark.parametrize("outputs", [1, 2])
def test_few_points_do_not_span_the_inputs(backend: Backend, outputs: int) -> None:
    """Directions change the first layer within the span of the points; rows lie outside of it, and one point is there twice."""
    net, draw = FullyConnected(7, 3, 2, "tanh", outputs, bias_variance=0.2), rng(ROOT, "span", outputs)
    theta, rows, x = net.initialize(ROOT, [0]), draw.standard_normal((2, 7)), draw.standard_normal((4, 7))
    x[3] = x[2]
    basis = draw.standard_normal((4 * outputs, 2))
    found = backend.contracted_hierarchy(net, theta, rows, x, basis, 4)
    for r, kernel in oracles.contracted_hierarchy(net, oracles.flatten(theta, 0), rows, x, basis, 4).items():
        close(found[r][0], kernel, 1e-12)


def test_one_of_several_outputs_is_a_network_of_its_own(backend: Backend) -> None:
    net, alone = (FullyConnected(3, 6, 1, "erf", outputs, bias_variance=0.2, antisymmetric=True) for outputs in (3, 1))
    theta, draw = net.initialize(ROOT, range(2)), rng(ROOT, "alone")
    for array in theta.values():
        array += 0.3 * draw.standard_normal(array.shape)
    rows, x, basis = draw.standard_normal((3, 3)), draw.standard_normal((4, 3)), draw.standard_normal((4, 2))
    for output in range(3):
        own = theta | {name: theta[name][:, :, output : output + 1] for name in ("W2", "b2")}
        embedded = np.zeros((4, 3, 2))
        embedded[:, output] = basis
        of_all = backend.contracted_hierarchy(net, theta, rows, x, embedded.reshape(12, 2), 4)
        for r, kernel in backend.contracted_hierarchy(alone, own, rows, x, basis, 4).items():
            close(of_all[r][:, output::3], kernel, 1e-12)


@settings(max_examples=2)
@given(
    depth=st.integers(1, 3),
    width=st.integers(1, 5),
    activation=st.sampled_from(SMOOTH_ACTIVATIONS),
    parametrization=st.sampled_from(PARAMETRIZATIONS),
    biases=st.booleans(),
    antisymmetric=st.booleans(),
    outputs=st.integers(1, 3),
    vectors=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
def test_random_networks(
    backend: Backend,
    depth: int,
    width: int,
    activation: str,
    parametrization: str,
    biases: bool,
    antisymmetric: bool,
    outputs: int,
    vectors: int,
    seed: int,
) -> None:
    net = FullyConnected(
        2,
        width,
        depth,
        activation,
        outputs,
        parametrization=parametrization,
        bias_variance=0.4 * biases,
        antisymmetric=antisymmetric,
    )
    theta = oracles.unflatten(net, rng(ROOT, "random", seed).standard_normal((1, net.parameter_count)))
    draw = rng(ROOT, "points", seed)
    rows, x, basis = draw.standard_normal((1, 2)), draw.standard_normal((2, 2)), draw.standard_normal((2 * outputs, vectors))
    found = backend.contracted_hierarchy(net, theta, rows, x, basis, 4)
    for r, kernel in oracles.contracted_hierarchy(net, oracles.flatten(theta, 0), rows, x, basis, 4).items():
        assert np.abs(found[r][0] - kernel).max() <= 1e-11 * np.abs(kernel).max() + 1e-15


def test_unit_vectors_give_the_tensors(backend: Backend) -> None:
    theta, x = PLAIN.initialize(ROOT, range(2)), rng(ROOT, "unit").standard_normal((4, 3))
    found, kernels = backend.contracted_hierarchy(PLAIN, theta, x, x, np.eye(4), 4), backend.hierarchy(PLAIN, theta, x, 4)
    for r in (3, 4):
        close(found[r], kernels[r], 1e-12)
    only = backend.contracted_hierarchy(PLAIN, theta, x, x, np.eye(4), 3)
    assert set(only) == {3}
    close(only[3], found[3], 1e-13)


def test_each_slot_is_linear_in_the_basis(backend: Backend) -> None:
    draw = rng(ROOT, "linear")
    theta, rows, x = PLAIN.initialize(ROOT, range(2)), draw.standard_normal((3, 3)), draw.standard_normal((4, 3))
    basis, mixing = draw.standard_normal((4, 2)), draw.standard_normal((2, 2))
    found = backend.contracted_hierarchy(PLAIN, theta, rows, x, basis, 4)
    mixed = backend.contracted_hierarchy(PLAIN, theta, rows, x, basis @ mixing, 4)
    close(mixed[3], np.einsum("saij,ip,jq->sapq", found[3], mixing, mixing), 1e-12)
    close(mixed[4], np.einsum("saijk,ip,jq,kr->sapqr", found[4], mixing, mixing, mixing), 1e-12)


@pytest.mark.parametrize(("outputs", "points"), [(1, 29), (2, 11)])
def test_blocks_under_a_tiny_budget_change_nothing(backend: Backend, outputs: int, points: int) -> None:
    tiny = load(backend.name, device="cpu", memory_bytes=2**20)
    net, draw = FullyConnected(3, 48, 2, "tanh", outputs, bias_variance=0.1), rng(ROOT, "blocks")
    theta, rows, x = net.initialize(ROOT, [0]), draw.standard_normal((41, 3)), draw.standard_normal((points, 3))
    basis = draw.standard_normal((points * outputs, 2))
    ample = backend.contracted_hierarchy(net, theta, rows, x, basis, 4)
    for r, kernel in tiny.contracted_hierarchy(net, theta, rows, x, basis, 4).items():
        close(kernel, ample[r], 1e-12)


def test_a_budget_that_cannot_be_kept_is_refused(backend: Backend) -> None:
    tiny = load(backend.name, device="cpu", memory_bytes=2**20)
    net = FullyConnected(3, 256, 2, "tanh")
    with pytest.raises(ValueError, match="memory_bytes"):
        tiny.contracted_hierarchy(net, net.initialize(ROOT, [0]), np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 2)), 4)


def test_bases_of_several_sizes_share_one_compilation_where_the_budget_allows() -> None:
    net, x = FullyConnected(3, 31, 1, "tanh"), rng(ROOT, "sizes").standard_normal((9, 3))  # a width of no other test
    theta, before = net.initialize(ROOT, [0]), contraction.gradient_terms._cache_size()
    for k in (5, 6, 8):
        load("jax", device="cpu").contracted_hierarchy(net, theta, x, x, np.eye(9)[:, :k], 4)
    assert contraction.gradient_terms._cache_size() == before + 1
    assert contraction.block_sizes(net, 9, 9, 5, 4, 8, 2**30).vectors == contraction.VECTORS
    assert contraction.block_sizes(net, 9, 9, 5, 4, 8, 2**17).vectors == 5
    assert contraction.block_sizes(net, 9, contraction.LARGE // 31 + 1, 5, 4, 8, 2**40).vectors == 5


@pytest.mark.parametrize(
    ("rows", "basis", "order", "message"),
    [
        ((2, 4), (5, 2), 4, "rows"),
        ((2, 3), (4, 2), 4, "basis"),
        ((2, 3), (1, 5, 2), 4, "basis"),
        ((2, 3), (5, 2), 2, "order"),
        ((2, 3), (5, 2), 5, "order"),
    ],
)
def test_what_does_not_fit_is_refused(
    backend: Backend, rows: tuple[int, ...], basis: tuple[int, ...], order: int, message: str
) -> None:
    theta = PLAIN.initialize(ROOT, range(2))
    with pytest.raises(ValueError, match=message):
        backend.contracted_hierarchy(PLAIN, theta, np.ones(rows), np.ones((5, 3)), np.ones(basis), order)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (FullyConnected(3, 4, 1, "relu"), "relu"),
        (FullyConnected(3, 4, 1, "tanh", output_dim=2), r"2 points of 2 outputs ask for \(4, k\)"),
        (Convolutional((1, 1, 3), 4, 1, "tanh", output_dim=2), "contractions of Convolutional ask for one output"),
    ],
)
def test_networks_without_these_kernels_are_refused(backend: Backend, net: Network, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backend.contracted_hierarchy(net, net.initialize(ROOT, [0]), np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 1)), 3)
