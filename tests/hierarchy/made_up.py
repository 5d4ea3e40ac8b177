"""Hierarchies of numbers drawn at random."""

import numpy as np

from ntkbench.seeding import rng

ROOT = 20190918


def made_up(n: int, order: int, name: str) -> tuple[np.ndarray, dict[int, np.ndarray], np.ndarray]:
    """Outputs, kernels without any symmetry but a K2 that lets the residual decay, targets."""
    draw = rng(ROOT, "expansion", n, order, name)
    factor = draw.standard_normal((n, 2 * n))
    kernels = {2: factor @ factor.T / 2}
    kernels |= {r: 0.3 * draw.standard_normal((n,) * r) for r in range(3, order + 1)}
    return draw.standard_normal(n), kernels, draw.standard_normal(n)
