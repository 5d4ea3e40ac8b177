"""The suite's quantities in jax."""

from ntkbench.backends.jax import runtime  # before all else: it sets what XLA reads only once
from ntkbench.backends.jax.any_model import empirical_ntk
from ntkbench.backends.jax.backend import JaxBackend

backend = JaxBackend
"""What `ntkbench.backends.load` makes."""

__all__ = ["JaxBackend", "backend", "empirical_ntk", "runtime"]
