"""The suite's quantities in torch."""

from ntkbench.backends.torch.backend import TorchBackend

backend = TorchBackend
"""What `ntkbench.backends.load` makes."""

__all__ = ["TorchBackend", "backend"]
