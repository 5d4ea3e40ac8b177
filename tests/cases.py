"""The one list of networks that all tests share: every activation, depth, parametrization and initialization at least once."""

from dataclasses import dataclass

import numpy as np

from ntkbench.networks import Convolutional, FullyConnected, Network, Parameters, Residual
from ntkbench.seeding import rng

ROOT = 20190918
SEEDS = 2
POINTS = 3


@dataclass(frozen=True)
class Case:
    """A small network with parameters for `SEEDS` seeds and `POINTS` inputs of norm about sqrt(d)."""

    name: str
    net: Network
    shared_inputs: bool = True

    @property
    def theta(self) -> Parameters:
        """Parameters as drawn; the copies of antisymmetric networks are moved apart, or odd kernels would vanish."""
        theta = self.net.initialize(ROOT, range(SEEDS))
        if self.net.antisymmetric:
            for array_name, array in theta.items():
                array[:, 1] += 0.1 * rng(ROOT, "apart", self.name, array_name).standard_normal(array[:, 1].shape)
        return theta

    @property
    def x(self) -> np.ndarray:
        """(n, d), or (S, n, d) where the case gives each seed its own points."""
        shape = (POINTS, self.net.input_dim)
        return rng(ROOT, "x", self.name).standard_normal(shape if self.shared_inputs else (SEEDS, *shape))

    @property
    def y(self) -> np.ndarray:
        """Targets, (n, O) or (S, n, O)."""
        shape = (*self.x.shape[:-1], self.net.output_dim)
        return rng(ROOT, "y", self.name).standard_normal(shape)

    def points(self, seed: int) -> np.ndarray:
        """The inputs of one seed, (n, d)."""
        return self.x if self.shared_inputs else self.x[seed]

    def targets(self, seed: int) -> np.ndarray:
        """The targets of one seed, (n, O)."""
        return self.y if self.shared_inputs else self.y[seed]

    def __str__(self) -> str:
        return self.name


CASES = (
    Case("tanh-1", FullyConnected(3, 5, 1, "tanh")),
    Case("tanh-3-biases-antisymmetric", FullyConnected(3, 4, 3, "tanh", bias_variance=0.3, antisymmetric=True)),
    Case("erf-2-standard-biases", FullyConnected(2, 5, 2, "erf", parametrization="standard", bias_variance=0.5), False),
    Case(
        "gelu-2-mean-field",
        FullyConnected(3, 4, 2, "gelu", parametrization="mean_field", feature_strength=0.7, bias_variance=0.2),
    ),
    Case("softplus-2-variance", FullyConnected(4, 3, 2, "softplus", weight_variance=1.7)),
    Case("identity-1-antisymmetric", FullyConnected(2, 4, 1, "identity", antisymmetric=True), False),
    Case("relu-2-biases", FullyConnected(3, 6, 2, "relu", weight_variance=2.0, bias_variance=0.1)),
    Case("tanh-2-outputs", FullyConnected(3, 5, 2, "tanh", output_dim=2, bias_variance=0.1), False),
    Case(
        "relu-1-outputs-standard", FullyConnected(3, 5, 1, "relu", output_dim=3, parametrization="standard", antisymmetric=True)
    ),
    Case(
        "erf-3-outputs-mean-field-antisymmetric",
        FullyConnected(
            2,
            4,
            3,
            "erf",
            output_dim=2,
            parametrization="mean_field",
            feature_strength=1.3,
            bias_variance=0.4,
            antisymmetric=True,
        ),
        False,
    ),
)
ONE_OUTPUT = tuple(case for case in CASES if case.net.output_dim == 1)
SMOOTH = tuple(case for case in ONE_OUTPUT if case.net.activation != "relu")

CONVOLUTIONAL = (
    Case("conv-tanh-1", Convolutional((3, 4, 2), 3, 1, "tanh")),
    Case(
        "conv-relu-2-zero-average-biases", Convolutional((4, 3, 1), 3, 2, "relu", "zero", "global_average", bias_variance=0.2)
    ),
    Case(
        "conv-erf-2-average-antisymmetric",
        Convolutional((2, 3, 2), 3, 2, "erf", "circular", "global_average", antisymmetric=True),
        False,
    ),
    Case(
        "conv-gelu-2-zero-mean-field",
        Convolutional((3, 3, 1), 4, 2, "gelu", "zero", parametrization="mean_field", feature_strength=0.7, bias_variance=0.3),
        False,
    ),
    Case("conv-softplus-1-one-pixel", Convolutional((1, 1, 3), 3, 1, "softplus", parametrization="standard")),
    Case(
        "conv-tanh-3-outputs-standard",
        Convolutional((3, 2, 1), 3, 3, "tanh", output_dim=2, parametrization="standard", bias_variance=0.5),
    ),
    Case(
        "conv-relu-1-outputs-zero-antisymmetric",
        Convolutional((2, 4, 2), 3, 1, "relu", "zero", output_dim=3, weight_variance=2.0, antisymmetric=True),
    ),
    Case("conv-identity-2-outputs-average", Convolutional((3, 3, 2), 2, 2, "identity", "zero", "global_average", 2), False),
)
"""Every activation, padding, readout and parametrization at least once; maps that are no squares, or smaller than a window."""

RESIDUAL = (
    Case("residual-tanh-3-biases-antisymmetric", Residual(3, 4, 3, "tanh", bias_variance=0.3, antisymmetric=True)),
    Case(
        "residual-erf-2-mean-field",
        Residual(2, 4, 2, "erf", parametrization="mean_field", feature_strength=0.7, weight_variance=1.3),
        False,
    ),
    Case("residual-relu-2-outputs-standard", Residual(3, 4, 2, "relu", 2, "standard", bias_variance=0.5), False),
)
"""Of an architecture that backends know by its forward pass alone."""
