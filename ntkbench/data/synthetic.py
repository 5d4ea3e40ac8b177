"""Synthetic sources: inputs from a distribution, targets from a fixed smooth function.

Targets are divided by their root mean square over the training points. Of few points it is far from that of the distribution,
and what the truncated hierarchy leaves out goes with a high power of the residual: some draws would be lost in rounding.
"""

import math

import numpy as np

from ntkbench.data.dataset import Dataset
from ntkbench.data.source import Source, on_sphere
from ntkbench.seeding import rng

_OURS = "none needed: generated"


def _sphere(root: int, split: int, train_size: int, test_size: int, input_dim: int) -> Dataset:
    """Uniform on the sphere; the teacher `<u, x> + (<v, x>^2 - 1) / sqrt(2)` is common to all splits, but for its scale.

    u and v are orthonormal, uniformly random; linear and quadratic part are uncorrelated and of nearly equal variance.
    """
    u, v = np.linalg.qr(rng(root, "data", "sphere", "teacher", input_dim).standard_normal((input_dim, 2)))[0].T

    def draw(part: str, size: int) -> tuple[np.ndarray, np.ndarray]:
        normal = rng(root, "data", "sphere", "split", split, part, input_dim).standard_normal((size, input_dim))
        x = on_sphere(normal, "sphere")
        return x, (x @ u + ((x @ v) ** 2 - 1) / math.sqrt(2))[:, None]

    return _scaled(*draw("train", train_size), *draw("test", test_size))


def _circle(root: int, split: int, train_size: int, test_size: int, input_dim: int) -> Dataset:
    """Uniform angles; y is `x_1 x_2` up to its scale (the target of Jacot et al. 2018, Figure 1)."""

    def draw(part: str, size: int) -> tuple[np.ndarray, np.ndarray]:
        angles = 2 * math.pi * rng(root, "data", "circle", "split", split, part).random(size)
        x = math.sqrt(input_dim) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return x, x[:, :1] * x[:, 1:]

    return _scaled(*draw("train", train_size), *draw("test", test_size))


def _scaled(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> Dataset:
    """With targets of root mean square 1 over the training points."""
    scale = np.sqrt((y**2).mean())
    return Dataset(x, y / scale, x_test, y_test / scale)


SOURCES = (
    Source(
        name="sphere",
        input_dim=None,
        size=None,
        output_dim=1,
        description="Uniform on the sphere of radius sqrt(d); teacher linear plus quadratic in two directions, training rms 1.",
        licence=_OURS,
        draw=_sphere,
    ),
    Source(
        name="circle",
        input_dim=2,
        size=None,
        output_dim=1,
        description="Uniform on the circle of radius sqrt(2); the product of the two coordinates, training rms 1.",
        licence=_OURS,
        draw=_circle,
    ),
)
