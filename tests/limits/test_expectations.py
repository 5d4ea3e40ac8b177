"""Gaussian expectations of every activation against independent quadrature and Monte Carlo."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import dblquad, quad

from ntkbench.limits import expectations, hermite, recursion
from ntkbench.limits.expectations import EXPECTATIONS, Pairs
from ntkbench.limits.limit import Limit, NoWindow
from ntkbench.networks import ACTIVATIONS
from tests.limits.oracles import FUNCTIONS, expectation_by_grid

SMOOTH = [name for name in ACTIVATIONS if name != "relu"]
COVARIANCES = [
    (1.0, 1.0, 0.3),
    (0.4, 1.7, -0.6),
    (1.3, 1.3, 1.3),
    (1.3, 1.3, -1.3),
    (2.5, 0.9, 1.5),
    (1e-3, 0.7, 0.02),
    (1.0, 1.0, 0.0),
]


class Found(NamedTuple):
    product: np.ndarray
    derivative: np.ndarray


def expectation(activation: str, q1: float, q2: float, c: float) -> Found:
    """For ReLU from a network of one hidden layer, whose NTK without the readout's term is `c E[sigma' sigma']`."""
    variances = np.array([[q1]]), np.array([[q2]])
    if activation != "relu":
        terms = hermite.terms(activation, max(q1, q2)) if activation in hermite.ACTIVATIONS else 0
        return Found(*EXPECTATIONS[activation](np, Pairs(*variances, np.array([[c]]), terms)))
    limit = Limit("relu", 1, 1.0, 0.0, first=1.0, gains=(0.0,), constant=0.0, terms=(0,))
    cosine = np.array([[c / math.sqrt(q1 * q2)]])
    root = 0.5 * np.sqrt(np.maximum(0.0, 1 - cosine**2))
    product, tangent = recursion.relu(np, limit, [variances[0]], [variances[1]], (1 - cosine) / 2, root, NoWindow())
    return Found(product, tangent / c if c else np.full((1, 1), np.nan))


def square(activation: str, q: float) -> float:
    terms = hermite.terms(activation, q) if activation in hermite.ACTIVATIONS else 0
    return float(expectations.square(activation, np, np.array([[q]]), terms).item())


def test_every_activation_has_expectations() -> None:
    assert {*EXPECTATIONS, "relu"} == set(ACTIVATIONS)


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize(("q1", "q2", "c"), COVARIANCES)
def test_smooth_activations_against_a_grid(activation: str, q1: float, q2: float, c: float) -> None:
    found = expectation(activation, q1, q2, c)
    function, slope = FUNCTIONS[activation]
    scale = math.sqrt(expectation_by_grid(function, q1, q1, q1) * expectation_by_grid(function, q2, q2, q2))
    assert found.product.item() == pytest.approx(expectation_by_grid(function, q1, q2, c), abs=2e-15 + 2e-14 * scale)
    assert found.derivative.item() == pytest.approx(expectation_by_grid(slope, q1, q2, c), abs=2e-14)


@pytest.mark.parametrize("activation", [name for name in SMOOTH if name != "identity"])
def test_smooth_activations_against_adaptive_quadrature(activation: str) -> None:
    """scipy's dblquad on the joint density itself, which shares no change of variables with the code or the grid."""
    q1, q2, c = 0.8, 1.4, 0.5
    determinant = q1 * q2 - c**2
    norm = 1 / (2 * math.pi * math.sqrt(determinant))
    found = expectation(activation, q1, q2, c)
    for function, value in zip(FUNCTIONS[activation], (found.product, found.derivative), strict=True):

        def integrand(v: float, u: float, function: object = function) -> float:
            density = norm * math.exp(-(q2 * u * u - 2 * c * u * v + q1 * v * v) / (2 * determinant))
            return float(function(u) * function(v)) * density  # type: ignore[operator]

        expected, _ = dblquad(integrand, -8, 8, -10, 10, epsabs=1e-9, epsrel=1e-9)
        assert value.item() == pytest.approx(expected, abs=2e-8)


@pytest.mark.parametrize(
    ("q1", "q2", "c"), [(1.0, 1.0, 0.3), (0.4, 1.7, -0.6), (2.0, 0.5, 0.99), (1.0, 1.0, 1e-3), (0.5, 0.5, -0.5)]
)
def test_relu_in_polar_coordinates(q1: float, q2: float, c: float) -> None:
    """With independent normals of radius r and angle phi, E[r^2] = 2 leaves one integral over the angle, between the kinks."""
    angle = math.acos(c / math.sqrt(q1 * q2))
    low, high = angle - math.pi / 2, math.pi / 2
    product, _ = quad(lambda phi: math.cos(phi) * math.cos(phi - angle), low, high, epsabs=1e-14)
    found = expectation("relu", q1, q2, c)
    assert found.product.item() == pytest.approx(math.sqrt(q1 * q2) / math.pi * product, abs=1e-14)
    assert found.derivative.item() == pytest.approx((high - low) / (2 * math.pi), abs=1e-14)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_against_monte_carlo(activation: str) -> None:
    """Five standard errors of 200,000 samples."""
    q1, q2, c = 0.8, 1.4, 0.5
    z1, z2 = np.random.default_rng(5).standard_normal((2, 200_000))
    u, v = math.sqrt(q1) * z1, c / math.sqrt(q1) * z1 + math.sqrt(q2 - c**2 / q1) * z2
    found = expectation(activation, q1, q2, c)
    for function, value in zip(FUNCTIONS[activation], (found.product, found.derivative), strict=True):
        samples = function(u) * function(v)
        assert abs(samples.mean() - value.item()) <= 5 * samples.std() / math.sqrt(samples.size)


@given(st.sampled_from(ACTIVATIONS), st.floats(1e-6, 5.0))
def test_square_is_the_product_on_the_diagonal(activation: str, q: float) -> None:
    assert expectation(activation, q, q, q).product.item() == pytest.approx(square(activation, q), rel=3e-14)


@given(st.sampled_from(ACTIVATIONS), st.floats(0.01, 4.0), st.floats(0.01, 4.0), st.floats(-1.0, 1.0))
def test_cauchy_schwarz_and_symmetry(activation: str, q1: float, q2: float, rho: float) -> None:
    c = rho * math.sqrt(q1 * q2)
    found, mirrored = expectation(activation, q1, q2, c), expectation(activation, q2, q1, c)
    assert found.product.item() == pytest.approx(mirrored.product.item(), rel=1e-13, abs=1e-15)
    squares = (square(activation, q) for q in (q1, q2))
    assert abs(found.product.item()) <= math.sqrt(math.prod(squares)) * (1 + 1e-13)


@given(st.sampled_from(["tanh", "erf", "gelu", "softplus"]), st.floats(0.05, 3.0), st.floats(0.05, 3.0), st.floats(-0.95, 0.95))
def test_the_second_expectation_is_the_derivative_of_the_first(activation: str, q1: float, q2: float, rho: float) -> None:
    """Price's theorem: `d E[sigma(u) sigma(v)] / dc = E[sigma'(u) sigma'(v)]`, by a central difference of fourth order."""
    c, h = rho * math.sqrt(q1 * q2), 1e-3 * math.sqrt(q1 * q2)
    value = [expectation(activation, q1, q2, c + k * h).product.item() for k in (-2, -1, 1, 2)]
    difference = (value[0] - 8 * value[1] + 8 * value[2] - value[3]) / (12 * h)
    assert expectation(activation, q1, q2, c).derivative.item() == pytest.approx(difference, abs=1e-8)


@pytest.mark.parametrize("activation", ["tanh", "softplus"])
@pytest.mark.parametrize("q", [1e-8, 0.01, 0.3, 1.0, 3.0, 10.0, 19.0])
def test_series_meets_parseval_at_every_variance(activation: str, q: float) -> None:
    """At correlation 1 the series is a sum of squares, whose tail bounds its error at every other correlation."""
    function, slope = FUNCTIONS[activation]
    z = 1e-3 * np.arange(-14_000, 14_001)
    weight = 1e-3 * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    variance = np.array([[q]])
    product, derivative = hermite.pair_expectations(activation, np, variance, variance, variance, hermite.terms(activation, q))
    assert product.item() == pytest.approx(weight @ function(math.sqrt(q) * z) ** 2, rel=1e-14)
    assert derivative.item() == pytest.approx(weight @ slope(math.sqrt(q) * z) ** 2, rel=1e-14)


def test_very_different_variances_share_one_series() -> None:
    found = expectation("tanh", 0.02, 9.0, 0.3)
    assert found.product.item() == pytest.approx(expectation_by_grid(np.tanh, 0.02, 9.0, 0.3), abs=1e-14)


def test_a_series_that_would_be_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="lower weight_variance"):
        expectation("tanh", 40.0, 40.0, 1.0)
