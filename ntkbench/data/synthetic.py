"""Synthetic sources: inputs from a distribution, targets from a fixed smooth function."""

import math

import numpy as np

from ntkbench.data.dataset import Dataset
from ntkbench.data.source import Source, on_sphere
from ntkbench.seeding import rng

_OURS = "none needed: generated"


def _sphere(root: int, split: int, train_size: int, test_size: int, input_dim: int) -> Dataset:
    """Uniform on the sphere; the teacher `(<u, x> + (<v, x>^2 - 1) / sqrt(2)) / sqrt(2)` is common to all splits.

    u and v are orthonormal, uniformly random; linear and quadratic part are uncorrelated, each of variance close to 1/2.
    """
    u, v = np.linalg.qr(rng(root, "data", "sphere", "teacher", input_dim).standard_normal((input_dim, 2)))[0].T

    def draw(part: str, size: int) -> tuple[np.ndarray, np.ndarray]:
        normal = rng(root, "data", "sphere", "split", split, part, input_dim).standard_normal((size, input_dim))
        x = on_sphere(normal, "sphere")
        y = (x @ u + ((x @ v) ** 2 - 1) / math.sqrt(2)) / math.sqrt(2)
        return x, y[:, None]

    return Dataset(*draw("train", train_size), *draw("test", test_size))


def _circle(root: int, split: int, train_size: int, test_size: int, input_dim: int) -> Dataset:
    """Uniform angles; `y = sqrt(2) x_1 x_2` with |x|^2 = 2, of variance 1 (the target of Jacot et al. 2018, Figure 1)."""

    def draw(part: str, size: int) -> tuple[np.ndarray, np.ndarray]:
        angles = 2 * math.pi * rng(root, "data", "circle", "split", split, part).random(size)
        x = math.sqrt(input_dim) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return x, math.sqrt(2) * x[:, :1] * x[:, 1:]

    return Dataset(*draw("train", train_size), *draw("test", test_size))


SOURCES = (
    Source(
        name="sphere",
        input_dim=None,
        size=None,
        output_dim=1,
        description="Uniform on the sphere of radius sqrt(d); a fixed teacher, linear plus quadratic in two directions.",
        licence=_OURS,
        draw=_sphere,
    ),
    Source(
        name="circle",
        input_dim=2,
        size=None,
        output_dim=1,
        description="Uniform on the circle of radius sqrt(2); the product of the two coordinates, scaled to unit variance.",
        licence=_OURS,
        draw=_circle,
    ),
)
