"""Infinite width: the NNGP kernel and the limiting NTK of a network specification, for numpy, torch and jax arrays alike."""

from ntkbench.limits.recursion import kernels

__all__ = ["kernels"]
