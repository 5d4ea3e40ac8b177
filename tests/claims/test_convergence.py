"""The NTK at initialization: planted kernels give the quantities, and the measurement draws what it says."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.claims.convergence import initialization
from ntkbench.networks import SPECIFICATIONS, FullyConnected, Parameters
from tests.claims.tiny import CONVERGENCE, case_of

CLAIM = get(CONVERGENCE)


def test_deviation_and_signed_bias() -> None:
    case = case_of(CONVERGENCE, activation="relu", depth=2, statistic="bias")
    limit = np.array([[2.0, 1.0], [1.0, 2.0]])
    kernels = np.stack([limit + np.array([[0.0, -0.2], [-0.2, 0.0]]), limit + np.array([[0.5, 0.1], [0.1, 0.5]])])
    direction = np.array([[0.0, 1.0], [1.0, 0.0]]) / np.sqrt(2)
    summary = CLAIM.summarize(case, {"K2": kernels, "K2_limit": limit, "direction": direction}, 8)
    np.testing.assert_allclose(summary["bias"], np.array([-0.4, 0.2]) / np.sqrt(20))
    np.testing.assert_allclose(summary["deviation"], np.sqrt([0.08, 0.52]) / np.sqrt(10))


def test_the_direction_of_the_bias_avoids_the_noise() -> None:
    noise = np.random.default_rng(0).standard_normal(4000)
    differences = np.zeros((4000, 2, 2))
    differences[:, 0, 0] = 5 * noise
    differences[:, 1, 1] = 0.1 + 0.1 * np.random.default_rng(1).standard_normal(4000)
    differences[:, 0, 1] = differences[:, 1, 0] = 0.1 * np.random.default_rng(2).standard_normal(4000)
    direction = initialization._discriminant(differences)
    assert direction[1, 1] > 0.95
    assert np.isclose(np.linalg.norm(direction), 1)
    np.testing.assert_array_equal(direction, direction.T)


def test_the_pilot_shares_no_network_with_the_measurement(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initialization, "PILOT_SEEDS", 64)
    case = case_of(CONVERGENCE, depth=2, statistic="bias", widths=(initialization.PILOT_WIDTH, 16), seeds_per_width=8)
    drawn: list[tuple[int, bytes]] = []
    draw = FullyConnected.initialize

    def recorded(net: FullyConnected, root: int, seeds: Any, correlation: float = 0.0) -> Parameters:
        theta = draw(net, root, seeds, correlation)
        drawn.extend((seed, w.tobytes()) for seed, w in zip(seeds, theta["W1"], strict=True))
        return theta

    monkeypatch.setattr(FullyConnected, "initialize", recorded)
    # Only at the pilot's own width would equal seeds be equal networks.
    CLAIM.measure(backend, case, CLAIM.prepare(case, 1), initialization.PILOT_WIDTH, 1)
    for count in map(Counter, zip(*drawn, strict=True)):
        assert len(count) == 64 + 8 * initialization.PILOT_WIDTH
        assert set(count.values()) == {1}


def test_seeds_grow_in_proportion_to_width(backend: Backend) -> None:
    case = case_of(CONVERGENCE, depth=2, statistic="bias", seeds_per_width=3)
    assert case.seeds_at(16) == 48
    arrays = CLAIM.measure(backend, case, CLAIM.prepare(case, 1), 16, 1)
    assert arrays["K2"].shape == (48, 3, 3)


@pytest.mark.parametrize("specification", SPECIFICATIONS)
def test_correlated_weights_keep_the_kernel_away_from_its_limit(backend: Backend, specification: str) -> None:
    deviations = {}
    for control in (None, "correlated_weights"):
        case = case_of(CONVERGENCE, depth=2, seeds=16, control=control, specification=specification)
        arrays = CLAIM.measure(backend, case, CLAIM.prepare(case, 1), 256, 1)
        deviations[control] = np.median(CLAIM.summarize(case, arrays, 256)["deviation"])
    assert deviations["correlated_weights"] > 3 * deviations[None]
