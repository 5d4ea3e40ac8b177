"""Random streams that depend on what is drawn, never on when it is drawn."""

import hashlib

import numpy as np

from ntkbench.scalars import is_whole


def rng(root: int, *axes: str | int) -> np.random.Generator:
    """A counter-based generator for one named cell of a study.

    The stream is a function of `root` and of the named axes alone, so that adding a width, a seed or a case to a study
    leaves every other draw as it was.

    Args:
        root: the study's seed, a non-negative integer.
        axes: the names of the cell, for instance `"parameters", "width", 256, "seed", 3`; an integer of numpy names the
            same stream as Python's.

    Returns:
        A `numpy.random.Generator` on Philox (Salmon et al. 2011).

    Raises:
        ValueError: if `root` is no integer or negative, or an axis neither text nor integer.
    """
    if not is_whole(root) or root < 0:
        raise ValueError(f"root must be a non-negative integer, got {root!r}")
    name = "/".join(map(_axis, axes))
    digest = hashlib.sha256(name.encode()).digest()
    words = np.frombuffer(digest, dtype=np.uint32).tolist()
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([int(root), *words])))


def _axis(axis: str | int) -> str:
    if isinstance(axis, str):
        return f"str:{axis}"
    if not is_whole(axis):
        raise ValueError(f"a stream is named by text and integers, got {axis!r}")
    return f"int:{int(axis)}"
