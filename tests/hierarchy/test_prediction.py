"""Training predicted from initialization: the expansion against the hierarchy's own equations, and both against networks."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

from ntkbench.backends import BACKENDS, Backend, load
from ntkbench.hierarchy import Prediction, cost, predict_training, right_hand_side
from ntkbench.hierarchy.expansion import Expansion, frozen_path, left_out, principal_vectors, snapshots
from ntkbench.networks import Convolutional, FullyConnected
from ntkbench.seeding import rng

ROOT = 20190918
TIMES = np.array([0.5, 2.0, 5.0])


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return load(request.param, device="cpu")


def made_up(n: int, order: int, name: str) -> tuple[np.ndarray, dict[int, np.ndarray], np.ndarray]:
    """Outputs, kernels without any symmetry but a K2 that lets the residual decay, targets."""
    draw = rng(ROOT, "expansion", n, order, name)
    factor = draw.standard_normal((n, 2 * n))
    kernels = {2: factor @ factor.T / 2}
    kernels |= {r: 0.3 * draw.standard_normal((n,) * r) for r in range(3, order + 1)}
    return draw.standard_normal(n), kernels, draw.standard_normal(n)


def whole_state(f0: np.ndarray, kernels: dict[int, np.ndarray], y: np.ndarray) -> np.ndarray:
    """Outputs by the hierarchy's own equations, with every kernel in the state."""
    order, n = max(kernels), len(f0)
    shapes = [(n,) * r for r in range(1, order)]
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]

    def slope(_: float, flat: np.ndarray) -> np.ndarray:
        state = tuple(part.reshape(1, *shape) for part, shape in zip(np.split(flat, ends), shapes, strict=True))
        return np.concatenate([part.ravel() for part in right_hand_side(state, kernels[order][None], y)])

    start = np.concatenate([f0, *(kernels[r].ravel() for r in range(2, order))])
    return solve_ivp(slope, (0, TIMES[-1]), start, method="DOP853", t_eval=TIMES, rtol=1e-12, atol=1e-13).y[:n].T


@pytest.mark.parametrize(("n", "order"), [(4, 2), (4, 3), (4, 4), (3, 5), (3, 6)])
def test_the_expansion_is_the_hierarchy(n: int, order: int) -> None:
    f0, kernels, y = made_up(n, order, "plain")
    found = Expansion(f0, kernels[2], tuple(kernels[r] for r in range(3, order + 1))).integrate(y, TIMES, 1e-13)
    assert_allclose(found, whole_state(f0, kernels, y), rtol=0, atol=1e-10)
    wrong = Expansion(f0, kernels[2], tuple(kernels[r].swapaxes(1, -1) * 1.001 for r in range(3, order + 1)))
    if order > 2:
        assert np.abs(wrong.integrate(y, TIMES, 1e-13) - found).max() > 1e-6


@settings(max_examples=10, deadline=None)
@given(n=st.integers(2, 5), name=st.text("ab", max_size=3))
def test_a_complete_basis_changes_nothing(n: int, name: str) -> None:
    f0, kernels, y = made_up(n, 4, name)
    turned = np.linalg.qr(rng(ROOT, "turn", n, name).standard_normal((n, n)))[0]
    K3 = np.einsum("abc,bi,cj->aij", kernels[3], turned, turned)
    K4 = np.einsum("abcd,bi,cj,dk->aijk", kernels[4], turned, turned, turned)
    found = Expansion(f0, kernels[2], (K3, K4), turned).integrate(y, TIMES, 1e-12)
    plain = Expansion(f0, kernels[2], (kernels[3], kernels[4])).integrate(y, TIMES, 1e-12)
    assert_allclose(found, plain, rtol=0, atol=1e-9, equal_nan=True)


def test_without_corrections_the_path_is_that_of_the_frozen_kernel() -> None:
    f0, kernels, y = made_up(5, 2, "frozen")
    found = Expansion(f0, kernels[2]).integrate(y, TIMES, 1e-12)
    assert_allclose(found - y, frozen_path(kernels[2], f0 - y, TIMES).T, rtol=0, atol=1e-10)


def test_a_truncation_that_blows_up_says_so_by_nan() -> None:
    f0, y = np.ones(1), np.zeros(1)
    growing = Expansion(f0, np.ones((1, 1)), (np.full((1, 1, 1), 3.0),))  # dK2/dt = -3 r drives K2 below zero
    found = growing.integrate(y, np.array([0.1, 100.0]), 1e-8)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def test_principal_vectors_are_orthonormal_and_lead() -> None:
    f0, kernels, y = made_up(6, 2, "vectors")
    looks = snapshots(kernels[2], 5.0)
    assert looks[0] == 0
    assert looks[-1] == pytest.approx(5.0)
    path = frozen_path(kernels[2], f0 - y, looks)
    basis = principal_vectors(path, 3)
    assert_allclose(basis.T @ basis, np.eye(3), atol=1e-12)
    outside = [np.linalg.norm(path - basis[:, :k] @ basis[:, :k].T @ path) for k in (1, 2, 3)]
    assert outside[0] > outside[1] > outside[2]


def test_what_a_basis_leaves_out_of_a_path_is_known_for_every_size() -> None:
    f0, kernels, y = made_up(6, 2, "left out")
    path = frozen_path(kernels[2], f0 - y, snapshots(kernels[2], 5.0))
    shares = left_out(path)
    assert shares.shape == (6,)
    for k, share in enumerate(shares):
        basis = principal_vectors(path, k)
        outside = np.linalg.norm(path - basis @ basis.T @ path, axis=0) / np.linalg.norm(path, axis=0)
        assert share == pytest.approx(outside.max(), rel=1e-6, abs=1e-10)


def setting(seeds: int = 2, n: int = 5, **changes: Any) -> tuple[FullyConnected, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    net = FullyConnected(**({"input_dim": 4, "width": 24, "depth": 2, "activation": "tanh"} | changes))
    draw = rng(ROOT, "prediction", n)
    x = draw.standard_normal((n, net.input_dim))
    return net, net.initialize(ROOT, range(seeds)), x, draw.standard_normal(n)


@pytest.mark.parametrize(
    ("order", "changes"),
    [(3, {}), (4, {"antisymmetric": True, "bias_variance": 0.2, "parametrization": "standard"})],
    ids=["3", "4-antisymmetric-biases-standard"],
)
def test_both_forms_are_equal(backend: Backend, order: int, changes: dict[str, Any]) -> None:
    net, theta, x, y = setting(n=12, **changes)
    x_test = rng(ROOT, "x_test").standard_normal((3, 4))
    asked = {"order": order, "times": [1.0, 4.0], "x_test": x_test, "tolerance": 1e-11}
    tensors = predict_training(backend, net, theta, x, y, form="tensors", **asked)
    free = predict_training(backend, net, theta, x, y, form="tensor_free", **asked)
    assert_allclose(free.f, tensors.f, rtol=0, atol=1e-10)
    assert_allclose(free.f_test, tensors.f_test, rtol=0, atol=1e-10)


def test_a_small_basis_errs_by_about_what_it_says(backend: Backend) -> None:
    for seed in range(3):
        net, _, x, y = setting(n=16)
        theta = net.initialize(seed, [0])
        asked = {"order": 3, "times": [1.0, 4.0, 16.0]}
        exact = predict_training(backend, net, theta, x, y, form="tensors", tolerance=1e-10, **asked)
        rough = predict_training(backend, net, theta, x, y, form="tensor_free", tolerance=1e-2, **asked)
        assert rough.basis[0] < 16
        true = np.abs(rough.f - exact.f).max()
        assert true / 3 < rough.error[0] < 1000 * true


def test_the_basis_is_as_small_as_the_path_allows(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    net, theta, x, y = setting(seeds=1, n=40)
    sizes: list[int] = []
    contract = backend.contracted_hierarchy

    def counted(*args: Any) -> dict[int, np.ndarray]:
        sizes.append(args[4].shape[1])
        return contract(*args)

    monkeypatch.setattr(backend, "contracted_hierarchy", counted)
    found = predict_training(backend, net, theta, x, y, order=3, times=[16.0], form="tensor_free", tolerance=1e-8)
    assert found.error[0] <= 1e-8 * np.abs(backend.forward(net, theta, x)[0, :, 0] - y).max()
    assert sizes == sorted(sizes)
    assert sizes[-1] == found.basis[0] <= 10  # chosen anew it need not grow: enlarged by 4 at a time it had 18
    assert len(sizes) > 2


def test_outputs_that_are_the_targets_stay(backend: Backend) -> None:
    net, theta, x, _ = setting(seeds=1)
    y = backend.forward(net, theta, x)[0, :, 0]
    for form in ("tensors", "tensor_free"):
        found = predict_training(backend, net, theta, x, y, order=3, times=[1.0, 2.0], form=form)
        assert_allclose(found.f[0], [y, y], rtol=0, atol=1e-12)


def test_higher_orders_come_closer_to_the_network(backend: Backend) -> None:
    net, theta, x, y = setting(seeds=1, n=4, width=256)
    x_test = rng(ROOT, "x_test").standard_normal((3, 4))
    trained = backend.train(
        net, theta, x, y[:, None], times=[2.0], step=0.05, integrator="dop853", observe=("f", "f_test"), x_test=x_test
    )
    errors, errors_test = [], []
    for order in (2, 3, 4, 5):
        predicted = predict_training(backend, net, theta, x, y, order=order, times=[2.0], x_test=x_test)
        errors.append(np.abs(predicted.f[0, 0] - trained.observed("f")[0, 0, :, 0]).max())
        assert predicted.f_test is not None
        errors_test.append(np.abs(predicted.f_test[0, 0] - trained.observed("f_test")[0, 0, :, 0]).max())
    for found in (errors, errors_test):
        assert found[2] < found[0] / 10
        assert found[3] < found[1]


def test_convolutional_networks_are_predicted_in_both_forms(backend: Backend) -> None:
    net, draw = Convolutional((3, 3, 1), 8, 1, "tanh", "zero"), rng(ROOT, "images")
    theta, x, x_test, y = net.initialize(ROOT, [0]), *(draw.standard_normal((n, 9)) for n in (4, 1)), draw.standard_normal(4)
    asked = {"times": [0.5, 2.0], "x_test": x_test, "tolerance": 1e-11}
    tensors = predict_training(backend, net, theta, x, y, order=4, form="tensors", **asked)
    free = predict_training(backend, net, theta, x, y, order=4, **asked)
    assert free.form == "tensor_free"
    assert free.f_test is not None
    assert_allclose(free.f, tensors.f, rtol=0, atol=1e-10)
    assert_allclose(free.f_test, tensors.f_test, rtol=0, atol=1e-10)
    trained = backend.train(net, theta, x, y[:, None], times=[0.5, 2.0], step=0.05, integrator="dop853").observed("f")[..., 0]
    frozen = predict_training(backend, net, theta, x, y, order=2, **asked)
    assert np.abs(free.f - trained).max() < np.abs(frozen.f - trained).max() / 5


def test_seeds_with_points_of_their_own(backend: Backend) -> None:
    net, theta, x, y = setting(n=4)
    both, targets = np.stack([x, x[::-1] * 0.5]), np.stack([y, 2 * y])
    x_test = rng(ROOT, "x_test").standard_normal((2, 4))
    found = predict_training(backend, net, theta, both, targets, order=3, times=[1.0], x_test=x_test)
    for s in range(2):
        own = {name: array[s : s + 1] for name, array in theta.items()}
        alone = predict_training(backend, net, own, both[s], targets[s], order=3, times=[1.0], x_test=x_test)
        assert_allclose(found.f[s], alone.f[0], rtol=0, atol=1e-12)
        assert found.f_test is not None
        assert alone.f_test is not None
        assert_allclose(found.f_test[s], alone.f_test[0], rtol=0, atol=1e-12)


def test_the_cheaper_form_that_fits_is_chosen() -> None:
    net = FullyConnected(4, 64, 2, "tanh")
    assert cost.choose(net, 4, 4, 4, "auto", 2**31) == "tensors"
    assert cost.choose(net, 1000, 2000, 4, "auto", 2**32) == "tensor_free"
    assert cost.choose(net, 4, 4, 6, "auto", 2**31) == "tensors"
    images = Convolutional((8, 8, 1), 16, 2, "tanh")
    assert cost.choose(images, 4, 8, 4, "auto", 2**31) == "tensor_free"
    with pytest.raises(ValueError, match="order 6 with 100 training points"):
        cost.choose(net, 100, 100, 6, "auto", 2**31)
    small, large = (cost.largest_basis(net, 500, 600, 4, budget) for budget in (2**26, 2**32))
    assert 12 <= small < large <= 500


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "magic"}, "form 'magic' is unknown"),
        ({"form": "tensor_free", "order": 5}, "orders 2, 3 and 4"),
        ({"order": 7}, "order must be"),
        ({"times": [2.0, 1.0]}, "increasing"),
        ({"times": []}, "increasing"),
        ({"times": [-1.0]}, "not negative"),
        ({"times": [math.nan]}, "finite"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"y": np.ones(3)}, "y must be finite and of shape"),
        ({"y": np.full(5, math.nan)}, "y must be finite"),
    ],
    ids=str,
)
def test_refusals(backend: Backend, changes: dict[str, Any], message: str) -> None:
    net, theta, x, y = setting()
    asked: dict[str, Any] = {"y": y, "order": 3, "times": [1.0]} | changes
    with pytest.raises(ValueError, match=message):
        predict_training(backend, net, theta, x, asked.pop("y"), **asked)


def test_predictions_at_the_start_are_the_outputs(backend: Backend) -> None:
    net, theta, x, y = setting(n=4)
    found: Prediction = predict_training(backend, net, theta, x, y, order=4, times=[0.0])
    assert_allclose(found.f[:, 0], backend.forward(net, theta, x)[..., 0], rtol=0, atol=0)
    assert (found.error == 0).all()
