"""What is studied: network specifications and their initial parameters, as named numpy arrays."""

from collections.abc import Mapping

from ntkbench.networks.convolutional import KERNEL, PADDINGS, READOUTS, Convolutional
from ntkbench.networks.fully_connected import FullyConnected
from ntkbench.networks.network import (
    ACTIVATIONS,
    PARAMETRIZATIONS,
    SMOOTH_ACTIVATIONS,
    Layer,
    Network,
    Parameters,
)
from ntkbench.networks.residual import Residual

SPECIFICATIONS: Mapping[str, type[FullyConnected | Residual]] = {"fully_connected": FullyConnected, "residual": Residual}
"""Names by which a case asks for networks that have an input dimension, a width and a depth, and no other sizes."""

__all__ = [
    "ACTIVATIONS",
    "KERNEL",
    "PADDINGS",
    "PARAMETRIZATIONS",
    "READOUTS",
    "SMOOTH_ACTIVATIONS",
    "SPECIFICATIONS",
    "Convolutional",
    "FullyConnected",
    "Layer",
    "Network",
    "Parameters",
    "Residual",
]
