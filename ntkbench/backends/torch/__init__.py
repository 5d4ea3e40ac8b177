"""The suite's quantities in torch."""

from ntkbench.backends.torch.any_model import empirical_ntk
from ntkbench.backends.torch.backend import TorchBackend

backend = TorchBackend
"""What `ntkbench.backends.load` makes."""

__all__ = ["TorchBackend", "backend", "empirical_ntk"]
