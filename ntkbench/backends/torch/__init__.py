"""The suite's quantities in torch."""

from ntkbench.backends.torch.backend import TorchBackend


def backend(**settings: object) -> TorchBackend:
    """`TorchBackend(**settings)`; ValueError names a setting that it does not know."""
    known = ("device", "precision", "threads", "memory_bytes")
    if unknown := set(settings) - set(known):
        raise ValueError(f"unknown setting {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return TorchBackend(**settings)  # type: ignore[arg-type]


__all__ = ["TorchBackend", "backend"]
