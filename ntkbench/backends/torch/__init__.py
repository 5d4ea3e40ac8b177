"""The suite's quantities in torch."""

from ntkbench.backends.torch.backend import TorchBackend
from ntkbench.backends.torch.functional import empirical_ntk

backend = TorchBackend
"""What `ntkbench.backends.load` makes."""

__all__ = ["TorchBackend", "backend", "empirical_ntk"]
