"""Which order can be afforded: the most points whose hierarchy truncated at order p keeps a budget of time, or of memory.

What the curves of K_p against points took is carried on along counts: `t(n) = t(n_0) F(n, m, H) / F(n_0, m_0, H_0)` with F the
operations of the matrix products (`ntkbench.performance.workloads`) and n_0 the largest size that was timed. Fitted exponents
are not carried on: at sizes that are quickly timed they are below those of large ones, and would promise too much. Without
tensors (orders 3 and 4) K2 and contracted kernels (`ntkbench.hierarchy.cost`) are counted, at the speed of K_p.

To the kernels comes one integration, which is numpy's on the host wherever the kernels are computed: eigenvectors of K2, and
beyond order 2 evaluations that each read all kernels once, at speeds that are assumed and not measured.

Numbers held at a time are counted as for a plan (`ntkbench.performance.costs`); with tensors, as many times as a process
whose growth is known grew by more than its count at n_0.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ntkbench.hierarchy import cost
from ntkbench.networks import FullyConnected
from ntkbench.performance import costs, workloads
from ntkbench.performance.scaling import Row
from ntkbench.performance.workloads import Workload

WIDTH, DEPTH = 512, 2
SECONDS = (1, 60, 3600)
GIB = (1, 8, 64)
OPERATIONS, BANDWIDTH = 2e10, 1e10
"""Floating-point operations and bytes read, in a second of the host."""
BASES = (cost.FIRST_BASIS, cost.TYPICAL_BASIS)
"""Vectors of the bases that a prediction without tensors contracts its kernels with, one after the other."""
ORDERS = range(2, 7)
TENSOR_FREE = (3, 4)


def table(timings: Iterable[Row], width: int = WIDTH, depth: int = DEPTH) -> list[dict[str, Any]]:
    """Per order that was timed against points the most points, with tensors and, where there is a way, without.

    Args:
        timings: rows of the table `performance`.
        width, depth: of the network.

    Returns:
        `order`, `way` (`tensors` or `tensor_free`), `backend` (the faster one, whose numbers these are), `time` and `memory` (a
        number of points for each of `SECONDS` and `GIB`; 0 where one point is too much).
    """
    timings, found = list(timings), []
    for order in ORDERS:
        if largest := _largest(timings, order):
            first = min(largest, key=lambda row: float(row["seconds"] / row["flops"]))
            found.append(_with_tensors(first, order, width, depth))
            if order in TENSOR_FREE:
                found.append(_without(first, order, width, depth))
    return found


def _largest(timings: Sequence[Row], order: int) -> list[Row]:
    """Of each backend the largest size of the curves of K_order against points."""
    quantity = "ntk" if order == 2 else "hierarchy"
    found: dict[str, Row] = {}
    for row in timings:
        same = (row["quantity"], row["axis"], row["order"], row["outputs"]) == (quantity, "points", order, 1)
        if same and row["size"] >= found.get(row["backend"], row)["size"]:
            found[row["backend"]] = row
    return list(found.values())


def _with_tensors(first: Row, order: int, width: int, depth: int) -> dict[str, Any]:
    names = ("quantity", "points", "width", "depth", "order", "input_dim", "activation")
    there = Workload(**{name: first[name] for name in names})
    asked = replace(there, width=width, depth=depth)
    rate, precision = first["seconds"] / first["flops"], first["precision"]
    excess = max(1.0, first["peak_bytes"] / _held(there, precision))  # 1 where it is not a number

    def seconds(n: int) -> float:
        read = sum(n**r for r in range(2, order + 1)) if order > 2 else 0
        return float(rate * workloads.flops(asked.at("points", n).products)) + _integration(n, read)

    return _row(first, order, "tensors", seconds, lambda n: excess * _held(asked.at("points", n), precision))


def _without(first: Row, order: int, width: int, depth: int) -> dict[str, Any]:
    net, rate = FullyConnected(first["input_dim"], width, depth, first["activation"]), first["seconds"] / first["flops"]

    def seconds(n: int) -> float:
        contracted = sum(cost.contraction(net, n, n, order, min(n, k))[0] for k in BASES)
        read = n**2 + sum(n * min(n, BASES[-1]) ** (r - 1) for r in range(3, order + 1))
        return float(rate * (contracted + workloads.flops(workloads.ntk(net, n)))) + _integration(n, read)

    def held(n: int) -> float:
        _, needed = cost.contraction(net, n, n, order, min(n, BASES[-1]))
        return needed + _held(Workload("ntk", n, width, depth, input_dim=first["input_dim"]), first["precision"])

    return _row(first, order, "tensor_free", seconds, held)


def _integration(n: int, read: int) -> float:
    """Seconds.

    Args:
        read: numbers that one evaluation reads; 0 for the frozen NTK, whose path has a closed form.
    """
    return costs.EIGENVECTORS * n**3 / OPERATIONS + cost.EVALUATIONS * costs.FLOAT64 * read / BANDWIDTH


def _row(first: Row, order: int, way: str, seconds: Callable[[int], float], held: Callable[[int], float]) -> dict[str, Any]:
    return {
        "order": order,
        "way": way,
        "backend": first["backend"],
        "time": [most(lambda n, budget=budget: seconds(n) <= budget) for budget in SECONDS],  # type: ignore[misc]
        "memory": [most(lambda n, budget=budget: held(n) <= budget * 2**30) for budget in GIB],  # type: ignore[misc]
    }


def _held(workload: Workload, precision: str) -> float:
    """Bytes that one network's kernels hold at a time, counted."""
    return np.dtype(precision).itemsize * costs.load(costs.call_of(workload)).held


def most(fits: Callable[[int], bool]) -> int:
    """The largest n that fits, of a cost that grows with n; 0 if there is none."""
    low, high = 0, 1
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
