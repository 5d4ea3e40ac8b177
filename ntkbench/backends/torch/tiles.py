"""How kernel matrices are cut: tiles under the memory budget, stripes that stay in the processor's cache."""

from collections.abc import Callable, Iterator

import torch

from ntkbench.backends.torch.network import Tensor

Tile = tuple[slice, slice]


def cache_bytes(device: torch.device) -> int:
    """What temporaries of one stripe may take: a share of a processor's cache, or enough to keep a GPU busy."""
    return 2**22 if device.type == "cpu" else 2**28


def tiles(rows1: int, rows2: int | None, bytes_of: Callable[[int, int], int], budget: int) -> Iterator[Tile]:
    """Tiles of a kernel matrix whose temporaries fit the budget (one entry at least).

    Args:
        rows1, rows2: its sides; `rows2` None for a symmetric one, of which the upper triangle of tiles is given.
        bytes_of: temporaries of a tile of two sides.
    """
    sides = [rows1, rows1 if rows2 is None else rows2]
    while max(sides) > 1 and bytes_of(*sides) > budget:
        larger = sides[1] > sides[0]
        sides[larger] = (sides[larger] + 1) // 2
        if rows2 is None:
            sides = [min(sides)] * 2
    for i in range(0, rows1, sides[0]):
        for j in range(i if rows2 is None else 0, rows1 if rows2 is None else rows2, sides[1]):
            yield slice(i, i + sides[0]), slice(j, j + sides[1])


def stripes(rows1: int, rows2: int, groups: int, symmetric: bool, device: torch.device) -> Iterator[Tile]:
    """Stripes of rows of a matrix of `groups` x `groups` blocks (rows1, rows2), those of the upper triangle if it is symmetric.

    Narrower stripes spare more of the lower triangle and stay in the cache, wider ones make faster products.
    """
    narrowest = max(1, (64 if device.type == "cpu" else 512) // groups)
    side = max(narrowest, min(-(-rows1 // 8), 4 * narrowest))
    for i in range(0, rows1, side):
        yield slice(i, min(rows1, i + side)), slice(i if symmetric else 0, rows2)


def mirror(matrices: Tensor, side: int = 64) -> None:
    """Copy the upper triangle of matrices (B, G, n, G, n) onto the lower one, the groups of outputs changing places as well."""
    n = matrices.shape[2]
    for i in range(0, n, side):
        stop = min(n, i + side)
        corner = matrices[:, :, i:stop, :, i:stop].transpose(2, 3)
        corner.copy_(corner.triu() + corner.triu(1).permute(0, 2, 1, 4, 3))
        matrices[:, :, stop:, :, i:stop] = matrices[:, :, i:stop, :, stop:].permute(0, 3, 4, 1, 2)
