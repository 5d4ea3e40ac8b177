"""Activation functions and their derivatives up to the fifth, in closed form."""

import math
from collections.abc import Callable, Iterator
from itertools import islice

import torch

Tensor = torch.Tensor


def derivatives(name: str, z: Tensor, highest: int) -> tuple[Tensor, ...]:
    """`(sigma(z), sigma'(z), ...)` up to the derivative of order `highest` (at most 5), each of the shape of `z`.

    ReLU has derivatives to order 1, with `sigma'(0) = 0`; gelu is `z Phi(z)`, without the tanh approximation.

    Raises:
        ValueError: if the activation has no derivative of that order.
    """
    found = tuple(islice(_DERIVATIVES[name](z), highest + 1))
    if len(found) <= highest:
        raise ValueError(f"{name} has no derivative of order {highest}")
    return found


# Generators, so that no derivative is computed that was not asked for.


def _relu(z: Tensor) -> Iterator[Tensor]:
    h = torch.relu(z)
    yield h
    yield torch.sign(h)


def _tanh(z: Tensor) -> Iterator[Tensor]:
    t = torch.tanh(z)
    yield t
    slope = torch.addcmul(t.new_ones(()), t, t, value=-1)
    yield slope
    yield -2 * t * slope
    yield (6 * t * t - 2) * slope
    square = t * t
    yield slope * t * (16 - 24 * square)
    yield slope * (16 - 120 * square * slope)


def _erf(z: Tensor) -> Iterator[Tensor]:
    yield torch.erf(z)
    slope = torch.exp(-z * z).mul_(2 / math.sqrt(math.pi))
    yield slope
    yield -2 * z * slope
    yield (4 * z * z - 2) * slope
    square = z * z
    yield slope * z * (12 - 8 * square)
    yield slope * (16 * square * square - 48 * square + 12)


def _gelu(z: Tensor) -> Iterator[Tensor]:
    cumulative = torch.special.ndtr(z)
    yield z * cumulative
    density = torch.exp(-0.5 * z * z).mul_(1 / math.sqrt(2 * math.pi))
    yield cumulative + z * density
    yield (2 - z * z) * density
    yield (z * z - 4) * z * density
    square = z * z
    yield density * (7 * square - square * square - 4)
    yield density * z * (square * square - 11 * square + 18)


def _softplus(z: Tensor) -> Iterator[Tensor]:
    # torch's own softplus turns linear above 20, an error of 2e-9 that float64 would show.
    yield torch.logaddexp(z, z.new_zeros(()))
    logistic = torch.sigmoid(z)
    yield logistic
    curvature = logistic * torch.sigmoid(-z)
    yield curvature
    third = curvature * (1 - 2 * logistic)
    yield third
    yield curvature * (1 - 6 * curvature)
    yield third * (1 - 12 * curvature)


def _identity(z: Tensor) -> Iterator[Tensor]:
    yield z
    yield torch.ones_like(z)
    for _ in range(4):
        yield torch.zeros_like(z)


_DERIVATIVES: dict[str, Callable[[Tensor], Iterator[Tensor]]] = {
    "relu": _relu,
    "tanh": _tanh,
    "erf": _erf,
    "gelu": _gelu,
    "softplus": _softplus,
    "identity": _identity,
}
