"""The NTK of any torch model, of which nothing is known but what it computes.

`ntk` sums it up, parameter by parameter; `routes` finds by trial how the gradients of each are had, from what its module saw
(`modules`) or by automatic differentiation (`function`); `per_example` takes products of single examples' gradients.
"""

from ntkbench.backends.torch.any_model.ntk import empirical_ntk

__all__ = ["empirical_ntk"]
