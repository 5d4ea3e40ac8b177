"""The naive way computes what the fast way does, in both frameworks; part of the ordinary tests."""

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ntkbench.backends import BACKENDS, load
from ntkbench.config.performance import PerformanceSection, performance
from ntkbench.networks import SMOOTH_ACTIVATIONS, FullyConnected
from ntkbench.performance import costs
from ntkbench.performance.workloads import Workload

COMPARED = [(name, activation, 3) for name in BACKENDS for activation in SMOOTH_ACTIVATIONS]
COMPARED += [(name, "tanh", order) for name in BACKENDS for order in (2, 4)]
AGREEMENT = 1e-10


@pytest.mark.parametrize(("name", "activation", "order"), COMPARED)
def test_nested_forward_mode_gives_the_same_kernel(name: str, activation: str, order: int) -> None:
    backend = load(name, device="cpu", threads=1)
    net, x = FullyConnected(3, 6, 2, activation), np.random.default_rng(2).standard_normal((3, 3))
    theta = net.initialize(5, range(2))
    naive = importlib.import_module(f"ntkbench.backends.{name}.naive").hierarchy(net, theta, x, order, "cpu")
    found, expected = np.asarray(naive()), backend.hierarchy(net, theta, x, order)[order][0]
    assert np.abs(found - expected).max() <= AGREEMENT * max(np.abs(expected).max(), np.abs(found).max())


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_naive_workload_is_of_the_network_and_points_of_its_fast_twin(name: str, precision: str) -> None:
    backend = load(name, device="cpu", precision=precision, threads=1)
    fast = Workload("hierarchy", points=3, width=5, order=3)
    naive = Workload("naive_hierarchy", points=3, width=5, order=3)
    expected, found = fast.bind(backend)()[3][0], np.asarray(naive.bind(backend)())  # type: ignore[index]
    assert found.dtype == np.dtype(precision)
    tolerance = AGREEMENT if precision == "float64" else 1e-4
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    assert naive.products == fast.products


HIERARCHY = {"quantity": "hierarchy", "axis": "points", "sizes": [2, 4], "order": 3, "width": 16}


def section(**naive: Any) -> PerformanceSection:
    return PerformanceSection(curves={"k3": HIERARCHY, "naive": HIERARCHY | {"quantity": "naive_hierarchy"} | naive})  # type: ignore[dict-item]


def test_a_naive_curve_beside_its_twin_is_a_curve() -> None:
    found, problems = performance(section(sizes=[1, 4]))
    assert problems == []
    assert [curve.start.quantity for curve in found.curves] == ["hierarchy", "naive_hierarchy"]
    assert found.curves[1].workloads[1].at("points", 2) == Workload("naive_hierarchy", 2, 16, order=3)


@pytest.mark.parametrize(
    "change",
    [{"order": 4}, {"width": 8}, {"depth": 3}, {"activation": "erf"}, {"sizes": [1, 3]}, {"axis": "width", "points": 2}],
)
def test_a_naive_curve_that_is_compared_with_nothing_is_refused_with_the_mend(change: dict[str, Any]) -> None:
    _, (problem,) = performance(section(**change))
    assert problem.key == "performance.curves.naive"
    assert "a curve of hierarchy must have the same axis" in problem.mend


def test_a_naive_curve_is_refused_what_its_twin_is() -> None:
    _, problems = performance(section(activation="relu"))
    assert [problem.key for problem in problems] == ["performance.curves.naive.activation"]
    _, problems = performance(section(axis="outputs"))
    assert [problem.key for problem in problems] == ["performance.curves.naive.axis"]


@pytest.mark.parametrize("order", [3, 4])
def test_a_plan_counts_what_the_naive_way_takes(order: int) -> None:
    call = costs.NaiveHierarchy(net=FullyConnected(8, 64, 2, "tanh"), seeds=1, points=8, order=order)
    once, twice = costs.load(call), costs.load(replace(call, points=16))
    growth = twice.work.flops / once.work.flops
    assert growth == pytest.approx(2**order)
    assert 2 ** (order - 1) < twice.held / once.held < 2**order
