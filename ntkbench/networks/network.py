"""What all networks share: scales of each layer, copies, mobility, initialization."""

import abc
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from ntkbench import names
from ntkbench.scalars import is_finite, is_whole
from ntkbench.seeding import rng

SMOOTH_ACTIVATIONS = ("tanh", "erf", "gelu", "softplus", "identity")
ACTIVATIONS = ("relu", *SMOOTH_ACTIVATIONS)
DEEPEST = 10_000
PARAMETRIZATIONS = ("ntk", "standard", "mean_field")

Parameters = dict[str, np.ndarray]
"""`W1`..`W{depth+1}` of shape (seeds, copies, fan_out, fan_in) and, with biases, `b1`.. of shape (seeds, copies, fan_out)."""


@dataclass(frozen=True)
class Layer:
    """One affine map `z = weight_multiplier * W h + bias_multiplier * b`, `W ~ N(0, weight_std^2)`, `b ~ N(0, bias_std^2)`."""

    fan_in: int
    fan_out: int
    weight_std: float
    weight_multiplier: float
    bias_std: float
    bias_multiplier: float


class Network(abc.ABC):
    """A network with `depth` hidden layers of `width` units (channels) each and a linear readout.

    Members are frozen dataclasses whose `__post_init__` calls `check`. Inputs of every network are rows of
    `input_dim` numbers. The scalings are those of the field, fan_in being the number of inputs that a unit of the layer sums:

    - `ntk` (Jacot et al. 2018; Huang & Yau 2019 is this one without biases, for inputs of norm sqrt(d)):
      `z = sqrt(weight_variance / fan_in) W h + sqrt(bias_variance) b`, all entries N(0, 1), mobility 1;
    - `standard` (Lee et al. 2019): the same function at initialization with the scales inside the parameters,
      and mobility 1 / width;
    - `mean_field` (Bordelon & Pehlevan 2022): `ntk` with the output divided by `feature_strength * sqrt(width)` and
      mobility `feature_strength^2 * width`.

    The mobility multiplies the gradient in the flow, `d theta / dt = -mobility * grad L`, and so the kernels:
    `K_{r+1} = mobility * <grad K_r, grad f>`.

    With `antisymmetric` initialization the network is `f = (g(theta_1) - g(theta_2)) / sqrt(2)` with equal copies at t = 0
    (Chizat et al. 2019), so that `f_0 = 0` and every odd kernel of the hierarchy vanishes at t = 0.
    """

    rank_one: ClassVar[bool] = False
    """Whether the gradient of every layer at one point has rank one, on which fast ways rest: K5, K6 and several outputs."""

    input_dim: int
    width: int
    depth: int
    activation: str
    output_dim: int
    parametrization: str
    weight_variance: float
    bias_variance: float
    feature_strength: float
    antisymmetric: bool

    @property
    @abc.abstractmethod
    def fans(self) -> tuple[tuple[int, int], ...]:
        """(fan_in, fan_out) of the `depth + 1` layers, readout last."""

    @property
    def positions(self) -> int:
        """Places at which every hidden layer is applied to one point."""
        return 1

    def check(self, *counts: str) -> None:
        """ValueError, naming the field, its value and what is accepted; `counts` are sizes besides those of all networks."""
        for field in (*counts, "width", "depth", "output_dim"):
            value = getattr(self, field)
            if not is_whole(value) or value < 1:
                raise ValueError(f"{field} must be a whole number of at least 1, got {value!r}")
            object.__setattr__(self, field, int(value))
        if self.depth > DEEPEST:
            raise ValueError(f"depth must be at most {DEEPEST}, got {self.depth}: every layer is a step of each program")
        names.check("activation", self.activation, ACTIVATIONS)
        names.check("parametrization", self.parametrization, PARAMETRIZATIONS)
        if not (is_finite(self.weight_variance) and self.weight_variance > 0):
            raise ValueError(f"weight_variance must be positive and finite, got {self.weight_variance!r}")
        if not (is_finite(self.bias_variance) and self.bias_variance >= 0):
            raise ValueError(f"bias_variance must be non-negative and finite, got {self.bias_variance!r}")
        if not (is_finite(self.feature_strength) and self.feature_strength > 0):
            raise ValueError(f"feature_strength must be positive and finite, got {self.feature_strength!r}")
        if self.feature_strength != 1.0 and self.parametrization != "mean_field":
            raise ValueError(
                f"feature_strength {self.feature_strength!r} needs parametrization 'mean_field', got {self.parametrization!r}"
            )
        if not isinstance(self.antisymmetric, bool):
            raise ValueError(f"antisymmetric must be True or False, got {self.antisymmetric!r}")

    @property
    def copies(self) -> int:
        """2 with antisymmetric initialization, else 1."""
        return 2 if self.antisymmetric else 1

    @property
    def copy_weights(self) -> tuple[float, ...]:
        """`f = sum_c copy_weights[c] g(theta_c)`; then `K_r(f) = sum_c copy_weights[c]^r K_r(g(theta_c))`."""
        return (math.sqrt(0.5), -math.sqrt(0.5)) if self.antisymmetric else (1.0,)

    @property
    def mobility(self) -> float:
        """The factor of the gradient in `d theta / dt = -mobility * grad L`."""
        match self.parametrization:
            case "standard":
                return 1.0 / self.width
            case "mean_field":
                return self.feature_strength**2 * self.width
            case _:
                return 1.0

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The `depth + 1` affine maps, readout last (any output scale is inside the readout's multipliers)."""
        layers = []
        for l, (fan_in, fan_out) in enumerate(self.fans):
            weight_scale = math.sqrt(self.weight_variance / fan_in)
            bias_scale = math.sqrt(self.bias_variance)
            output_scale = 1.0
            if self.parametrization == "mean_field" and l == self.depth:
                output_scale = 1.0 / (self.feature_strength * math.sqrt(self.width))
            if self.parametrization == "standard":
                layers.append(Layer(fan_in, fan_out, weight_scale, 1.0, bias_scale, float(self.bias_variance > 0)))
            else:
                layers.append(Layer(fan_in, fan_out, 1.0, output_scale * weight_scale, 1.0, output_scale * bias_scale))
        return tuple(layers)

    @property
    def parameter_count(self) -> int:
        """Parameters of one seed, all copies counted."""
        per_copy = sum(l.fan_out * l.fan_in + (l.fan_out if self.bias_variance > 0 else 0) for l in self.layers)
        return self.copies * per_copy

    def initialize(self, root: int, seeds: Iterable[int], correlation: float = 0.0) -> Parameters:
        """Draw the parameters of several seeds.

        The draw of a seed depends on `root`, the seed and the shapes alone: networks that differ in activation or
        parametrization start from the same standard normals.

        Args:
            root: the study's seed, a non-negative integer.
            seeds: the seeds to draw, in order: integers, one at least.
            correlation: in [0, 1); each hidden unit's incoming weights are `sqrt(1 - c) w + sqrt(c) v` with `v` common to
                the units of the layer. 0 is the initialization of the literature; anything else violates its independence.

        Returns:
            `Parameters` in float64; equal copies for antisymmetric initialization.

        Raises:
            ValueError: if `correlation` lies outside [0, 1), or for roots and seeds of another kind.
        """
        if not (is_finite(correlation) and 0 <= correlation < 1):
            raise ValueError(f"correlation must lie in [0, 1), got {correlation!r}")
        seeds = _seeds(seeds)
        theta: Parameters = {}
        for l, layer in enumerate(self.layers, start=1):
            weights = np.empty((len(seeds), self.copies, layer.fan_out, layer.fan_in))
            biases = np.zeros((len(seeds), self.copies, layer.fan_out))
            for s, seed in enumerate(seeds):
                draw = rng(root, "parameters", layer.fan_in, layer.fan_out, "layer", l, "seed", seed)
                normal = draw.standard_normal(out=weights[s, 0])
                if self.bias_variance > 0:
                    draw.standard_normal(out=biases[s, 0])
                if correlation > 0 and l <= self.depth:
                    common = draw.standard_normal((1, layer.fan_in))
                    normal *= math.sqrt(1 - correlation)
                    normal += math.sqrt(correlation) * common
            if layer.weight_std != 1.0:
                weights[:, 0] *= layer.weight_std
            biases[:, 0] *= layer.bias_std
            for values in (weights, biases):
                values[:, 1:] = values[:, :1]
            theta[f"W{l}"] = weights
            if self.bias_variance > 0:
                theta[f"b{l}"] = biases
        return theta


def _seeds(seeds: Iterable[int]) -> list[int]:
    found = list(seeds) if isinstance(seeds, Iterable) else []
    if not found or not all(map(is_whole, found)):
        raise ValueError(f"seeds must be a sequence of integers, one at least, got {found or seeds!r}")
    return found
