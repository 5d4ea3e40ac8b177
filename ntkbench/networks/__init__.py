"""What is studied: network specifications and their initial parameters, as named numpy arrays."""

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

__all__ = [
    "ACTIVATIONS",
    "KERNEL",
    "PADDINGS",
    "PARAMETRIZATIONS",
    "READOUTS",
    "SMOOTH_ACTIVATIONS",
    "Convolutional",
    "FullyConnected",
    "Layer",
    "Network",
    "Parameters",
]
