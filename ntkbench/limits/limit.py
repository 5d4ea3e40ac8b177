"""What infinite width keeps of a network specification, and the variances of its preactivations layer by layer."""

from dataclasses import dataclass
from typing import Any, Protocol

from ntkbench.limits import hermite
from ntkbench.limits.expectations import square
from ntkbench.networks import Network

Array = Any


@dataclass(frozen=True)
class Limit:
    """All that the recursions need of a network; hashable, so that a compiler may specialize on it.

    Attributes:
        first: factor of `Sigma^(1)` in `Theta^(1)`.
        gains: factor of the averaged `E[sigma sigma]` in the NTK, for every layer after the first.
        constant: what the gradients of a layer's biases add to the NTK.
        terms: lengths of the Hermite series of each hidden layer; 0 for closed forms.
        fold: how these are summed; frameworks that compile put a loop of theirs here.
    """

    activation: str
    depth: int
    weight_variance: float
    bias_variance: float
    first: float
    gains: tuple[float, ...]
    constant: float
    terms: tuple[int, ...]
    fold: hermite.Fold = hermite.fold


class Window(Protocol):
    """What a layer averages over besides its units: nothing (fully connected), or the positions of a patch (convolutional).

    Attributes:
        single: whether the window is a single position.
    """

    single: bool

    def keep(self, f: Array) -> Array:
        """`f` with zeros at positions outside the image."""

    def average(self, xp: Any, f: Array) -> Array:
        """The mean over the window around every position, in a new array or in that of `f`."""

    def neighbours(self, xp: Any, f: Array) -> list[Array]:
        """Arrays `g_o` with `sum_o g_o(1) g_o(2) = average(f(1) f(2))`."""


class NoWindow:
    """A layer that sums over its units alone."""

    single = True

    def keep(self, f: Array) -> Array:
        """All of `f`."""
        return f

    def average(self, xp: Any, f: Array) -> Array:
        """`f` itself."""
        return f

    def neighbours(self, xp: Any, f: Array) -> list[Array]:
        """`f` itself."""
        return [f]


def limit(net: Network, largest_variance: float, skips: bool = False) -> Limit:
    """The limit of `net` for inputs whose first preactivations have variances up to `largest_variance`.

    The mean square of tanh and of softplus grows with the variance, so that the largest variance bounds every layer's.

    Args:
        skips: whether hidden layers add to what they see.

    Raises:
        ValueError: if a Hermite series would be too long.
    """
    standard = net.parametrization == "standard"
    terms, variance = [], largest_variance
    for _ in range(net.depth):
        terms.append(hermite.terms(net.activation, variance) if net.activation in hermite.ACTIVATIONS else 0)
        if terms[-1]:
            mean_square = float(hermite.mean_square(net.activation, variance, terms[-1]))
            variance = (variance if skips else 0.0) + net.weight_variance * mean_square + net.bias_variance
    return Limit(
        activation=net.activation,
        depth=net.depth,
        weight_variance=float(net.weight_variance),
        bias_variance=float(net.bias_variance),
        first=0.0 if standard else 1.0,
        gains=tuple(l.fan_in / net.width if standard else float(net.weight_variance) for l in net.layers[1:]),
        constant=0.0 if standard else float(net.bias_variance),
        terms=tuple(terms),
    )


def variances(xp: Any, limit: Limit, q: Array, window: Window) -> list[Array]:
    """Preactivation variances of every hidden layer, each shaped as those of the first, `q`."""
    found = [q]
    for terms in limit.terms[:-1]:
        mean = window.average(xp, window.keep(square(limit.activation, xp, found[-1], terms)))
        found.append(window.keep(limit.weight_variance * mean + limit.bias_variance))
    return found
