"""What is studied: network specifications and their initial parameters, as named numpy arrays."""

from ntkbench.networks.fully_connected import (
    ACTIVATIONS,
    PARAMETRIZATIONS,
    SMOOTH_ACTIVATIONS,
    FullyConnected,
    Layer,
    Parameters,
)

__all__ = ["ACTIVATIONS", "PARAMETRIZATIONS", "SMOOTH_ACTIVATIONS", "FullyConnected", "Layer", "Parameters"]
