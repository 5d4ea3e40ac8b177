"""Training predicted from initialization: both forms against each other, against networks, and what is claimed of errors."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ntkbench import data
from ntkbench.backends import BACKENDS, Backend, load
from ntkbench.hierarchy import Prediction, cost, predict_training
from ntkbench.hierarchy.expansion import ROUNDING, Expansion, snapshots
from ntkbench.hierarchy.truncation_error import estimate, horizon
from ntkbench.networks import Convolutional, FullyConnected
from ntkbench.seeding import rng
from tests.hierarchy.made_up import ROOT, made_up


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return load(request.param, device="cpu")


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
    asked = {"order": order, "times": [0.5, 1.0], "x_test": x_test, "tolerance": 1e-11}
    tensors = predict_training(backend, net, theta, x, y, form="tensors", **asked)
    free = predict_training(backend, net, theta, x, y, form="tensor_free", **asked)
    assert_allclose(free.f, tensors.f, rtol=0, atol=1e-10)
    assert_allclose(free.f_test, tensors.f_test, rtol=0, atol=1e-10)
    assert_allclose(free.truncation, tensors.truncation, rtol=1e-3 if order == 4 else 0.1)
    assert_allclose(free.horizon, tensors.horizon)


def test_a_small_basis_errs_by_about_what_it_says(backend: Backend) -> None:
    for seed in range(3):
        net, _, x, y = setting(n=16)
        theta = net.initialize(seed, [0])
        asked = {"order": 3, "times": [1.0, 4.0, 16.0], "estimate": False}
        exact = predict_training(backend, net, theta, x, y, form="tensors", tolerance=1e-10, **asked)
        rough = predict_training(backend, net, theta, x, y, form="tensor_free", tolerance=1e-2, **asked)
        assert rough.basis[0] < 16
        true = np.abs(rough.f - exact.f).max()
        assert true / 3 < rough.error[0] < 1000 * true


def test_the_basis_is_chosen_along_what_changed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of directions, which are what order 4 costs: 651 here, and 2,573 with bases chosen along the paths alone."""
    given = data.load("fashion_mnist_pullover_coat", train_size=80, test_size=1, input_dim=196, root=0)
    net, torch = FullyConnected(196, 128, 2, "tanh"), load("torch", device="cpu")
    whole, vectors = torch.contracted_hierarchy, []

    def counted(*arguments: Any) -> dict[int, np.ndarray]:
        vectors.append(arguments[4].shape[1])
        return whole(*arguments)

    monkeypatch.setattr(torch, "contracted_hierarchy", counted)
    asked = {"order": 4, "times": [1000.0], "form": "tensor_free", "tolerance": 1e-3, "estimate": False}
    found = predict_training(torch, net, net.initialize(1, [0]), given.x, given.y[:, 0], **asked)
    assert found.basis[0] == vectors[-1]
    assert sum(k**2 for k in vectors) < 1300


NETWORKS = [
    # activation, depth, width, biases, antisymmetric, order, last time, tolerance
    ("tanh", 2, 22, 0.0, True, 3, 3.0, 1e-2),
    ("softplus", 2, 41, 0.3, False, 3, 0.5, 1e-3),
    ("gelu", 1, 26, 0.0, False, 3, 10.0, 1e-3),
    ("erf", 3, 30, 0.3, False, 3, 20.0, 1e-5),
    ("identity", 2, 12, 0.0, True, 4, 2.0, 1e-4),
    ("tanh", 1, 40, 0.3, False, 4, 4.0, 1e-2),
]


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_what_is_claimed_is_about_the_error_or_more(backend: Backend, case: tuple[Any, ...]) -> None:
    activation, depth, width, biases, antisymmetric, order, last, tolerance = case
    net = FullyConnected(3, width, depth, activation, bias_variance=biases, antisymmetric=antisymmetric)
    draw = rng(ROOT, "claimed", activation, width)
    theta, x, y = net.initialize(ROOT, [0]), draw.standard_normal((10, 3)), draw.standard_normal(10)
    asked = {"order": order, "times": [last / 10, last], "estimate": False}
    exact = predict_training(backend, net, theta, x, y, form="tensors", tolerance=1e-11, **asked)
    rough = predict_training(backend, net, theta, x, y, form="tensor_free", tolerance=tolerance, **asked)
    assert rough.basis[0] < 10
    assert rough.error[0] > 0
    assert np.abs(rough.f - exact.f).max() <= 3 * rough.error[0]


def test_the_integrator_is_in_the_error_of_a_basis(backend: Backend) -> None:
    net, theta, x, y = setting(seeds=1, n=12, antisymmetric=True)  # K3 vanishes: the frozen NTK is order 3 exactly
    asked: dict[str, Any] = {"times": [4.0, 40.0], "tolerance": 1e-2, "estimate": False}
    exact = predict_training(backend, net, theta, x, y, order=2, **asked)
    found = predict_training(backend, net, theta, x, y, order=3, form="tensor_free", **asked)
    assert found.basis[0] == cost.FIRST_BASIS
    assert 1e-12 < np.abs(found.f - exact.f).max() <= found.error[0] < 1e-2


@pytest.mark.parametrize("order", [2, 3])
def test_no_error_is_below_rounding(backend: Backend, order: int) -> None:
    net, theta, x, y = setting(seeds=1)
    found = predict_training(backend, net, theta, x, y, order=order, times=[1.0], tolerance=1e-15)
    assert ROUNDING * np.abs(found.f).max() <= found.error[0] < 1e-11


class Given:
    """Stands in for a backend whose kernels are given."""

    memory_bytes = 2**31

    def __init__(self, f0: np.ndarray, kernels: dict[int, np.ndarray]):
        self.f0, self.kernels = f0, kernels

    def forward(self, *_: Any) -> np.ndarray:
        return self.f0[None, :, None]

    def ntk(self, *_: Any) -> np.ndarray:
        return self.kernels[2][None]

    def hierarchy(self, *_: Any) -> dict[int, np.ndarray]:
        return {r: kernel[None] for r, kernel in self.kernels.items()}

    def contracted_hierarchy(self, *args: Any) -> dict[int, np.ndarray]:
        return {3: np.einsum("abc,bi,cj->aij", self.kernels[3], args[4], args[4])[None]}


def predicted(f0: np.ndarray, kernels: dict[int, np.ndarray], y: np.ndarray, **asked: Any) -> Prediction:
    net = FullyConnected(1, 1, 1, "tanh")
    given: Any = Given(f0, kernels)
    return predict_training(given, net, net.initialize(ROOT, [0]), np.zeros((len(y), 1)), y, order=3, estimate=False, **asked)


def frozen_flow(n: int, last: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Outputs, K2, targets; left singular vectors and values of the frozen path."""
    turned = np.linalg.qr(rng(ROOT, "departs").standard_normal((n, n)))[0]
    f0, y, K2 = np.zeros(n), turned @ np.ones(n), n * (turned * np.logspace(0, -1.5, n)) @ turned.T
    frozen = Expansion(f0, K2).integrate(y, snapshots(K2, last), 1e-6)
    vectors, values, _ = np.linalg.svd((frozen - y).T)
    return f0, K2, y, vectors, values


def test_weak_directions_of_a_strong_kernel_are_in_the_error() -> None:
    f0, K2, y, vectors, values = frozen_flow(10, 5.0)
    last = cost.FIRST_BASIS - 1  # all of the correction is along the basis's last vector and the next one: little lies outside
    w = vectors[:, last] + 0.3 * values[last] / values[last + 1] * vectors[:, last + 1]
    K3 = 1e7 * np.einsum("a,b,c->abc", vectors[:, 0], w, w)
    exact = predicted(f0, {2: K2, 3: K3}, y, form="tensors", times=[1.0, 5.0], tolerance=1e-10)
    found = predicted(f0, {2: K2, 3: K3}, y, form="tensor_free", times=[1.0, 5.0], tolerance=1e-4)
    assert found.basis[0] == cost.FIRST_BASIS
    assert 1e-7 < np.abs(found.f - exact.f).max() <= 3 * found.error[0]


def test_a_path_that_departs_from_its_basis_is_followed() -> None:
    last = 5.0
    f0, K2, y, vectors, _ = frozen_flow(10, last)
    u, v = (
        vectors[:, 0],
        vectors[:, cost.FIRST_BASIS],
    )  # in the first basis, and outside: dropping its last vectors tells nothing
    K3 = 5.0 * sum(np.einsum("a,b,c->abc", *three) for three in ((v, u, u), (u, v, u), (u, u, v)))
    asked: dict[str, Any] = {"times": [1.0, last], "tolerance": 1e-4}
    exact = predicted(f0, {2: K2, 3: K3}, y, form="tensors", times=asked["times"], tolerance=1e-10)
    found = predicted(f0, {2: K2, 3: K3}, y, form="tensor_free", **asked)
    assert found.error[0] <= 1e-4 * np.abs(y).max()
    assert np.abs(found.f - exact.f).max() <= found.error[0]


@pytest.mark.parametrize("form", ["tensors", "tensor_free"])
def test_blow_ups_that_come_at_other_times_leave_an_infinite_error(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    f0, kernels, y = made_up(8, 3, "other times")
    kernels[3] *= 1e-3
    integrate = Expansion.integrate

    def coarser_blows_up(self: Expansion, y: np.ndarray, times: np.ndarray, tolerance: float, coarsening: float = 1.0) -> Any:
        outputs = integrate(self, y, times, tolerance, coarsening)
        outputs[1:] += np.nan if coarsening > 1 else 0.0
        return outputs

    assert np.isfinite(predicted(f0, kernels, y, form=form, times=[1.0, 2.0]).error).all()
    monkeypatch.setattr(Expansion, "integrate", coarser_blows_up)
    found = predicted(f0, kernels, y, form=form, times=[1.0, 2.0])
    assert np.isfinite(found.f).all()
    assert found.error[0] == np.inf


@pytest.mark.parametrize("form", ["tensors", "tensor_free"])
def test_what_blows_up_alike_is_left_aside(form: str) -> None:
    f0, kernels, y = made_up(8, 3, "alike")
    kernels[3] *= 30
    found = predicted(f0, kernels, y, form=form, times=[20.0])
    assert np.isnan(found.f).all()
    assert 0 < found.error[0] < np.inf


def test_order_two_needs_no_integrator(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scipy.integrate.solve_ivp", None)
    net, theta, x, y = setting(seeds=1)
    x_test = rng(ROOT, "x_test").standard_normal((3, 4))
    found = predict_training(backend, net, theta, x, y, order=2, times=[1e6], x_test=x_test, estimate=False)
    start, start_test = (backend.forward(net, theta, points)[0, :, 0] for points in (x, x_test))
    limit = start_test - backend.ntk(net, theta, x_test, x)[0] @ np.linalg.solve(backend.ntk(net, theta, x)[0], start - y)
    assert found.f_test is not None
    assert_allclose(found.f[0, 0], y, rtol=0, atol=1e-10)
    assert_allclose(found.f_test[0, 0], limit, rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", ["tensors", "tensor_free"])
def test_times_that_steps_would_not_reach_are_refused(form: str) -> None:
    f0, kernels, y = made_up(8, 3, "alike")
    fastest = np.linalg.eigvalsh(kernels[2])[-1] / 8
    with pytest.raises(ValueError, match="take times up to .*, or order=2 with estimate=False"):
        predicted(f0, kernels, y, form=form, times=[1.0, 1.01e6 / fastest])


def test_the_basis_is_as_small_as_the_path_allows(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    net, theta, x, y = setting(seeds=1, n=40)
    sizes: list[int] = []
    contract = backend.contracted_hierarchy

    def counted(*args: Any) -> dict[int, np.ndarray]:
        sizes.append(args[4].shape[1])
        return contract(*args)

    monkeypatch.setattr(backend, "contracted_hierarchy", counted)
    asked: dict[str, Any] = {"times": [16.0], "form": "tensor_free", "tolerance": 1e-8, "estimate": False}
    found = predict_training(backend, net, theta, x, y, order=3, **asked)
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
        predicted = predict_training(backend, net, theta, x, y, order=order, times=[2.0], x_test=x_test, estimate=False)
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
    frozen = predict_training(backend, net, theta, x, y, order=2, estimate=False, **asked)
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
    assert cost.choose(net, 4, 4, 4, "auto", 2**31, 4) == "tensors"
    assert cost.choose(net, 1000, 2000, 4, "auto", 2**32, 4) == "tensor_free"
    assert cost.choose(net, 4, 4, 6, "auto", 2**31, 6) == "tensors"
    images = Convolutional((8, 8, 1), 16, 2, "tanh")
    assert cost.choose(images, 4, 8, 4, "auto", 2**31, 4) == "tensor_free"
    with pytest.raises(ValueError, match="order 6 with 100 training points"):
        cost.choose(net, 100, 100, 6, "auto", 2**31, 6)
    wide = FullyConnected(4, 300, 2, "tanh")
    assert cost.choose(wide, 60, 60, 4, "auto", 80 * 2**20, 4) == "tensor_free"  # its first basis fits, a typical one does not
    assert cost.tensor_free(wide, 60, 60, 4, 12)[1] > 80 * 2**20
    small, large = (cost.largest_basis(net, 500, 600, 4, budget) for budget in (2**26, 2**32))
    assert cost.FIRST_BASIS <= small < large <= 500


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
        ({"y": np.ones(3)}, "y must be of shape"),
        ({"y": np.full(5, math.nan)}, "y has entries that are not finite"),
        ({"y": np.full(5, 1j)}, "y has dtype complex128"),
        ({"x": np.full((5, 4), 1e200)}, "outputs or NTK of seed 0 overflow"),
        ({"x": np.ones(4)}, r"x has shape \(4,\)"),
        ({"x_test": np.ones((3, 5))}, r"x_test has shape \(3, 5\)"),
        ({"x_test": np.full((3, 4), math.nan)}, "x_test has entries"),
        ({"x_test": np.ones((0, 4))}, "x_test has shape .* empty"),
        ({"order": "3"}, "order must be .* got '3'"),
        ({"order": None}, "order must be .* got None"),
        ({"order": 2.5, "form": "tensor_free"}, "order must be .* got 2.5"),
        ({"order": 3.0}, "order must be an integer from 2 to 6, got 3.0"),
        ({"order": True}, "order must be .* got True"),
        ({"order": 1, "times": [0.0]}, "order must be .* got 1"),
        ({"times": [[1.0], [1.0, 2.0]]}, "times must be a list"),
        ({"y": np.ones((5, 1))}, r"take y\[:, 0\]"),
        ({"times": 1.0}, "times must be a list"),
    ],
    ids=str,
)
def test_refusals(backend: Backend, changes: dict[str, Any], message: str) -> None:
    net, theta, x, y = setting()
    asked: dict[str, Any] = {"x": x, "y": y, "order": 3, "times": [1.0]} | changes
    with pytest.raises(ValueError, match=message):
        predict_training(backend, net, theta, **asked)


def test_networks_without_the_order_are_refused_at_the_start_too(backend: Backend) -> None:
    net, theta, x, y = setting(activation="relu")
    with pytest.raises(ValueError, match="relu has no K3"):
        predict_training(backend, net, theta, x, y, order=3, times=[0.0])


def test_predictions_at_the_start_are_the_outputs(backend: Backend) -> None:
    net, theta, x, y = setting(n=4)
    found: Prediction = predict_training(backend, net, theta, x, y, order=4, times=[0.0])
    assert_allclose(found.f[:, 0], backend.forward(net, theta, x)[..., 0], rtol=0, atol=0)
    assert (found.error < 1e-12).all()


def test_inside_of_the_horizon_the_estimate_covers_all_orders_that_are_left_out() -> None:
    """Steps two orders apart that shrink by a ratio r leave r^2 / (1 - r) of the first: 1.5 r^2 is enough to r = 1/3 alone."""
    ratios, covers, inside = np.array([0.1, 0.2, 0.29, 0.31, 0.34, 0.4, 0.5]), [], []
    for r in ratios:
        outputs = {p: np.array([[0.0], [step]]) for p, step in ((2, 1.0), (3, 1.0), (4, 1.0 + r))}
        estimated, ratio = estimate(outputs, 4, 1.0)
        assert_allclose(ratio, [0.0, r])
        covers.append(estimated[1] >= r**2 / (1 - r))
        inside.append(math.isinf(horizon(np.array([0.0, 1.0]), ratio)))
    assert_allclose(np.array(covers), ratios < 1 / 3)
    assert_allclose(np.array(inside), ratios < 0.3)
