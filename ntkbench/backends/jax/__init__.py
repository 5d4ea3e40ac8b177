"""The suite's quantities in jax."""

from ntkbench.backends.jax import runtime  # before all else: it sets what XLA reads only once
from ntkbench.backends.jax.backend import JaxBackend


def backend(**settings: object) -> JaxBackend:
    """`JaxBackend(**settings)`; ValueError names a setting that it does not know."""
    known = ("device", "precision", "threads", "memory_bytes")
    if unknown := set(settings) - set(known):
        raise ValueError(f"unknown setting {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return JaxBackend(**settings)  # type: ignore[arg-type]


__all__ = ["JaxBackend", "backend", "runtime"]
