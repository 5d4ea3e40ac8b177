"""Infinite width: the NNGP kernel and the limiting NTK of a network specification.

The mathematics is array-API code that the frameworks run on their own arrays, one tile of the kernels at a time.
"""

from ntkbench.limits.kernels import kernels
from ntkbench.limits.limit import Limit
from ntkbench.limits.tiles import CACHE_BYTES, Run

__all__ = ["CACHE_BYTES", "Limit", "Run", "kernels"]
