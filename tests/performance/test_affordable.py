"""The table of what can be afforded, and the ratios to the naive way, on planted curves; part of the ordinary tests."""

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from ntkbench.claims import calls
from ntkbench.hierarchy import cost
from ntkbench.networks import FullyConnected
from ntkbench.performance import affordable, costs, scaling, workloads
from ntkbench.performance.workloads import Workload

RATE = 1e-9
Row = dict[str, Any]


def row(w: Workload, backend: str = "torch", seconds: float | None = None, peak: float = 0.0, **more: Any) -> Row:
    """A timing: `RATE` seconds for each counted operation unless said otherwise."""
    flops = workloads.flops(w.products)
    timed = {"curve": w.quantity, "axis": "points", "size": w.points, "seconds": RATE * flops if seconds is None else seconds}
    run = {"precision": "float64", "device": "cpu", "threads": 1}
    return asdict(w) | timed | run | {"backend": backend, "flops": flops, "peak_bytes": peak} | more


def fast(points: int, order: int, width: int = 16) -> Workload:
    return Workload("ntk" if order == 2 else "hierarchy", points, width, order=order)


def curves(orders: tuple[int, ...] = (2, 3, 4, 5, 6), **more: Any) -> list[Row]:
    return [row(fast(n, order), **more) for order in orders for n in (2, 4)]


def by_hand(cost_of: Callable[[int], float], budget: float) -> int:
    """Upwards, point by point."""
    n = 0
    while cost_of(n + 1) <= budget:
        n += 1
    return n


def found(rows: list[Row], order: int, way: str = "tensors", **size: int) -> Row:
    (only,) = [entry for entry in affordable.table(rows, **size) if (entry["order"], entry["way"]) == (order, way)]
    return only


def integration(n: int, order: int) -> float:
    """Eigenvectors at 20 GFLOP/s; 1000 times 8 bytes of each entry of K2 to K_order at 10 GB/s."""
    read = {2: 0, 3: n**2 + n**3, 4: n**2 + n**3 + n**4}.get(order, sum(n**r for r in range(2, order + 1)))
    return 25 * n**3 / 2e10 + 1000 * 8 * read / 1e10


@pytest.mark.parametrize("order", [2, 3, 4, 5, 6])
def test_most_points_are_those_whose_kernels_and_integration_keep_the_time(order: int) -> None:
    entry = found(curves(input_dim=48), order, width=64, depth=3)

    def seconds(n: int) -> float:
        large = net(64, 3, 48)
        counted = workloads.ntk(large, n) if order == 2 else workloads.hierarchy(large, n, order)
        return RATE * workloads.flops(counted) + integration(n, order)

    assert entry["time"][0] == by_hand(seconds, 1)
    for n, budget in zip(entry["time"], affordable.SECONDS, strict=True):
        assert [seconds(k) <= budget for k in (n, n + 1)] == [True, False]


@pytest.mark.parametrize(("way", "most"), [("tensors", 421), ("tensor_free", 3424)])
def test_the_integration_takes_its_time_where_kernels_take_none(way: str, most: int) -> None:
    """In a minute `1.25e-9 n^3 + 8e-7 (n^2 + n^3)` s; without tensors n^3 gives way to `12^2 n` in the latter."""
    assert found([row(fast(4, 3), seconds=1e-30)], 3, way)["time"][1] == most


def net(width: int, depth: int, input_dim: int = 32) -> FullyConnected:
    return FullyConnected(input_dim, width, depth, "tanh")


def test_with_a_power_law_a_thousandfold_time_is_a_tenfold_of_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of counts that are n^3 exactly, at 1e-6 s for each: 100 points in a second, 391 in a minute, 1532 in an hour."""
    monkeypatch.setattr(affordable, "OPERATIONS", float("inf"))
    monkeypatch.setattr(affordable, "BANDWIDTH", float("inf"))
    monkeypatch.setattr(workloads, "hierarchy", lambda net, points, order, seeds=1: [(points**3, 1, 1, 1)])
    assert workloads.flops(fast(5, 3).products) == 2 * 5**3
    rows = [row(fast(n, 3), seconds=1e-6 * n**3) for n in (2, 4)]
    assert found(rows, 3)["time"] == [100, 391, 1532]


def test_the_largest_size_counts_and_the_faster_backend() -> None:
    rows = [row(fast(2, 3), seconds=99.0), row(fast(4, 3)), row(fast(4, 3), "jax", seconds=1e9)]
    assert found(rows, 3) == found(curves((3,)), 3) | {"backend": "torch"}
    slow = [row(fast(4, 3), name, seconds=2 * RATE * workloads.flops(fast(4, 3).products)) for name in ("torch", "jax")]
    assert found(slow, 3)["time"][0] < found(curves((3,)), 3)["time"][0]
    mixed = [row(fast(4, 3)), row(fast(4, 3), "jax", seconds=1e-12)]
    assert found(mixed, 3)["backend"] == "jax"


@pytest.mark.parametrize("excess", [0.5, 1.0, 3.0])
def test_memory_is_what_is_counted_or_as_many_times_as_was_measured(excess: float) -> None:
    def held(points: int, width: int) -> float:
        return costs.load(calls.Hierarchy(net=net(width, 2), seeds=1, points=points, order=4)).held

    for precision, itemsize in (("float64", 8), ("float32", 4)):
        entry = found([row(fast(4, 4), peak=excess * itemsize * held(4, 16), precision=precision)], 4)
        assert entry["memory"][:2] == [
            by_hand(lambda n: max(1.0, excess) * itemsize * held(n, affordable.WIDTH), gib * 2**30)  # noqa: B023
            for gib in (1, 8)
        ]


@pytest.mark.parametrize(("order", "read"), [(3, 12**2), (4, 12**2 + 12**3)])
def test_without_tensors_two_bases_are_counted_with_the_kernel_and_the_integration(order: int, read: int) -> None:
    entry = found(curves(), order, "tensor_free")
    wide = net(affordable.WIDTH, affordable.DEPTH)
    for n, kept in ((entry["time"][1], True), (entry["time"][1] + 1, False)):
        first, last = (cost.contraction(wide, n, n, order, k)[0] for k in (6, 12))
        kernels = RATE * (first + last + workloads.flops(workloads.ntk(wide, n)))
        assert (kernels + integration(n, 2) + 1000 * 8 * (n**2 + read * n) / 1e10 <= 60) is kept
    for n, kept in ((entry["memory"][0], True), (entry["memory"][0] + 1, False)):
        _, needed = cost.contraction(wide, n, n, order, 12)
        kernel = costs.load(calls.Ntk(net=wide, seeds=1, rows=n)).held
        assert (needed + 8 * kernel <= 2**30) is kept


def test_where_growth_is_not_known_memory_is_what_is_counted() -> None:
    """On a GPU."""
    unknown, none = (found([row(fast(4, 4), peak=peak)], 4) for peak in (math.nan, 0.0))
    assert unknown == none


def test_only_orders_that_were_timed_against_points_have_a_line() -> None:
    assert [entry["order"] for entry in affordable.table(curves((2, 5)))] == [2, 5]
    assert affordable.table([row(fast(4, 3), axis="width"), row(Workload("limiting", 4))]) == []
    assert affordable.table([row(Workload("ntk", 4, 16, outputs=3))]) == []


def test_what_fits_nowhere_has_no_points() -> None:
    assert (affordable.most(lambda n: False), affordable.most(lambda n: n <= 1), affordable.most(lambda n: n < 1000)) == (
        0,
        1,
        999,
    )
    assert found([row(fast(4, 3), seconds=1e9)], 3)["time"] == [0, 0, 0]


def naive(points: int, backend: str, seconds: float, peak: float = 0.0) -> Row:
    return row(Workload("naive_hierarchy", points, 16, order=3), backend, seconds, peak)


def test_the_naive_way_is_set_against_the_fast_one_at_the_largest_size_that_all_have() -> None:
    rows = [row(fast(n, 3), backend, seconds=1.0, peak=2.0**20) for n in (2, 4, 8) for backend in ("torch", "jax")]
    rows += [naive(n, "torch", 10.0 * n, 5 * 2.0**20) for n in (2, 3, 4, 8)] + [naive(n, "jax", 7.0, 2.0**19) for n in (2, 4)]
    (only,) = scaling.against_naive(rows)
    assert (only["curve"], only["order"], only["size"], only["width"]) == ("naive_hierarchy", 3, 4, 16)
    assert only["backends"] == [
        {"backend": "torch", "times": 40.0, "memory": 5.0},
        {"backend": "jax", "times": 7.0, "memory": None},
    ]


@pytest.mark.parametrize("change", [{"width": 17}, {"order": 4}, {"activation": "erf"}, {"axis": "width"}, {"threads": 2}])
def test_another_network_is_no_comparison(change: Row) -> None:
    assert scaling.against_naive([row(fast(4, 3)) | change, naive(4, "torch", 1.0)]) == []


def test_operations_of_the_naive_way_are_not_counted_and_its_exponents_are_theory_s_own() -> None:
    assert workloads.theory("naive_hierarchy", 4) == ({"points": 4, "depth": 1, "width": 2},)
    spans = [workloads.exponents(workloads.theory_of_memory("naive_hierarchy", 4), axis) for axis in ("points", "width")]
    assert spans == [(3, 4), (1, 2)]
    fitted = scaling.table([naive(n, "torch", 1e-3 * n**3, 1e6 * n**2) for n in (2, 4, 8)])
    assert {r["measure"]: (round(r["exponent"], 6), r["theory_low"], r["theory_high"]) for r in fitted} == {
        "seconds": (3.0, 3, 3),
        "peak_bytes": (2.0, 2, 3),
    }
