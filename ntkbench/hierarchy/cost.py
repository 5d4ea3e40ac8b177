"""What a prediction costs with tensors of the hierarchy and without, and which to choose. Leading terms, one seed.

Tensors are there for one output. Without them every output of a point has signals of its own, and counts as a point.
"""

from ntkbench.networks import Network

FORMS = ("auto", "tensors", "tensor_free")

EVALUATIONS = 1000
"""Right-hand sides of a typical integration."""

FIRST_BASIS = 6
"""Vectors of the first basis, which a prediction without tensors cannot do without."""

TYPICAL_BASIS = 12
"""Vectors that a prediction typically ends with."""


def by_tensors(net: Network, n: int, rows: int, order: int) -> tuple[float, float]:
    """Operations and bytes: responses and Gram products of all rows, per direction beyond order 4; then the integration.

    Kernels are built with all rows in every slot, also where the integration asks for the training points alone.
    """
    if not net.rank_one:
        building = _moving_kernels(net, rows, rows, rows, order)
    else:
        products = 4 * rows**2 * net.width**2 + 12 * rows ** min(order, 4) * net.width
        building = net.depth * products * (8 * rows) ** max(0, order - 4)
    return net.copies * building + EVALUATIONS * 2 * rows * n ** (order - 1), 8.0 * 4 * rows**order


def tensor_free(net: Network, n: int, rows: int, order: int, k: int) -> tuple[float, float]:
    """Operations and bytes in a basis of k vectors: of the contracted kernels, then the integration."""
    building, needed = contraction(net, n, rows, order, k)
    return building + EVALUATIONS * 2.0 * rows * n * net.output_dim**2, needed


def contraction(net: Network, n: int, rows: int, order: int, k: int) -> tuple[float, float]:
    """Operations and bytes of kernels in a basis of k vectors: `k^(order-2)` directions through all points, their products.

    Networks whose gradients have no low rank hold one pair of directions at a time, as tangents of the kernel's factors.
    """
    directions = k ** (order - 2)
    n, rows = n * net.output_dim, rows * net.output_dim
    if not net.rank_one:
        building = _moving_kernels(net, n, rows, k, order)
        floats = 2 ** (order - 2) * (net.parameter_count + net.copies * rows * net.positions * net.width * net.depth)
    else:
        building = net.depth * directions * (16 * rows * net.width**2 + 4 * rows * n * net.width)
        floats = directions * net.parameter_count + 6 * k * n * net.width * net.depth
    return float(net.copies * building), 8.0 * (floats + rows * k ** (order - 1))


def _moving_kernels(net: Network, n: int, rows: int, k: int, order: int) -> int:
    """Operations of the NTK of rows and points for every choice of directions, each kernel with its tangents.

    Passes forward and backward and a gradient for every point, `2 p F` operations each, and a product of `F` multiply-adds per
    pair of points, for a layer of p positions and F weights.
    """
    kernel = 0
    for l, layer in enumerate(net.layers, start=1):
        weights, positions = layer.fan_in * layer.fan_out, net.positions if l <= net.depth else 1
        kernel += 2 * weights * (3 * (n + rows) * positions + n * rows)
    return int((2 * k) ** (order - 2)) * kernel


def choose(net: Network, n: int, rows: int, order: int, form: str, memory_bytes: int, highest: int) -> str:
    """The form asked for; for `auto` the one of fewer operations among those that fit the budget.

    Without tensors the first basis decides on what fits, as a prediction goes on from there as far as the budget allows; what
    an estimate of the truncation needs beyond that is in the first basis, always.

    Args:
        n: training points; rows: training and test points; highest: the highest order whose kernels are needed,
            for the estimate of the truncation.

    Raises:
        ValueError: if none fits; names what each needs.
    """
    if form != "auto":
        return form
    costs = {"tensors": by_tensors(net, n, rows, highest)} if net.output_dim == 1 else {}
    if order <= 4:
        first = tensor_free(net, n, rows, highest, min(n * net.output_dim, FIRST_BASIS))
        operations, _ = tensor_free(net, n, rows, order, min(n * net.output_dim, TYPICAL_BASIS))
        costs["tensor_free"] = operations + (first[0] if highest > order else 0.0), first[1]
    fitting = {name: flops for name, (flops, needed) in costs.items() if needed <= memory_bytes}
    if not fitting:
        needs = ", ".join(f"{name} {needed / 2**20:.0f} MiB" for name, (_, needed) in costs.items())
        raise ValueError(
            f"order {order} with {n} training points, {rows} points in all and width {net.width} asks for {needs}; the "
            f"backend's memory_bytes is {memory_bytes / 2**20:.0f} MiB: raise it, or take fewer points or a lower order"
            + (
                f", or leave out the estimate of the truncation, which takes kernels to order {highest}"
                if highest > order
                else ""
            )
        )
    return min(fitting, key=lambda name: fitting[name])


def largest_basis(net: Network, n: int, rows: int, order: int, memory_bytes: int) -> int:
    """Vectors that fit the budget: all outputs of `n` points at most, and those of the first basis at least."""
    whole = n * net.output_dim
    k = min(whole, FIRST_BASIS)
    while k < whole and tensor_free(net, n, rows, order, k + 1)[1] <= memory_bytes:
        k += 1
    return k
