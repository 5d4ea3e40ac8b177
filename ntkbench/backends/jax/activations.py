"""Activations with their derivatives."""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array

Derivatives = tuple[Array, ...]
"""`(sigma, sigma', sigma'', sigma''')`; `(sigma, sigma')` for ReLU, whose second derivative is no function."""


def _relu(z: Array) -> Derivatives:
    """The derivative at 0 is taken as 0."""
    positive = z > 0
    return jnp.where(positive, z, 0), positive.astype(z.dtype)


def _tanh(z: Array) -> Derivatives:
    h = jnp.tanh(z)
    slope = 1 - h * h
    return h, slope, -2 * h * slope, slope * (6 * h * h - 2)


def _erf(z: Array) -> Derivatives:
    slope = (2 / math.sqrt(math.pi)) * jnp.exp(-z * z)
    return jax.scipy.special.erf(z), slope, -2 * z * slope, (4 * z * z - 2) * slope


def _gelu(z: Array) -> Derivatives:
    """`z Phi(z)`, with Phi the standard normal distribution function (no tanh approximation)."""
    distribution = 0.5 * jax.scipy.special.erfc(-z / math.sqrt(2))
    density = jnp.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return z * distribution, distribution + z * density, (2 - z * z) * density, (z * z - 4) * z * density


def _softplus(z: Array) -> Derivatives:
    slope = jax.nn.sigmoid(z)
    curvature = slope * jax.nn.sigmoid(-z)
    return jnp.logaddexp(z, 0), slope, curvature, curvature * (1 - 2 * slope)


def _identity(z: Array) -> Derivatives:
    zero = jnp.zeros_like(z)
    return z, jnp.ones_like(z), zero, zero


DERIVATIVES: Mapping[str, Callable[[Array], Derivatives]] = {
    "relu": _relu,
    "tanh": _tanh,
    "erf": _erf,
    "gelu": _gelu,
    "softplus": _softplus,
    "identity": _identity,
}
"""By the names of `ntkbench.networks.ACTIVATIONS`; what a caller does not use, the compiler drops."""
