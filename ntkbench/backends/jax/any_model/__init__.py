"""The NTK of any jax function of a pytree of parameters, of which nothing is known but what it computes.

`ntk` sums it up; `function` differentiates single examples, `per_example` takes the products of their gradients.
"""

from ntkbench.backends.jax.any_model.ntk import empirical_ntk

__all__ = ["empirical_ntk"]
