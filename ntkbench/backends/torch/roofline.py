"""Bare matrix products, which a primitive is measured against."""

from collections.abc import Callable, Sequence

import torch


def matrix_products(shapes: Sequence[tuple[int, int, int, int]], dtype: torch.dtype, device: str) -> Callable[[], None]:
    """A function that does `count` products (rows, inner) @ (inner, columns) for each shape, into memory that is there."""
    draw = torch.Generator(device).manual_seed(0)
    triples = []
    for count, rows, inner, columns in shapes:
        left, right = (
            torch.randn(count, *shape, generator=draw, dtype=dtype, device=device)
            for shape in ((rows, inner), (inner, columns))
        )
        triples.append((left, right, left.new_empty(count, rows, columns)))

    def run() -> None:
        for left, right, out in triples:
            torch.bmm(left, right, out=out)

    return run
