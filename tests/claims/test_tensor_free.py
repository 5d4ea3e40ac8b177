"""Predictions of several orders without tensors are the public ones, and share their contractions."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ntkbench.backends import Backend
from ntkbench.claims import get
from ntkbench.claims.hierarchy.real_data import ORDERS, TOLERANCE
from ntkbench.claims.tensor_free import predictions
from ntkbench.data import Dataset
from ntkbench.hierarchy import predict_training
from tests.claims.tiny import DIGITS, REAL_DATA, case_of


def rows(data: Dataset) -> np.ndarray:
    """Training points, then test points."""
    return np.concatenate([data.x, data.x_test])


@pytest.mark.parametrize("antisymmetric", [True, False])
def test_predictions_are_the_public_ones(backend: Backend, antisymmetric: bool) -> None:
    claim, case = get(REAL_DATA), case_of(REAL_DATA, **DIGITS | {"antisymmetric": antisymmetric})
    data, net = claim.prepare(case, 3), case.network(24)
    theta, y = net.initialize(3, range(2)), data.y[:, 0]
    found = predictions(backend, net, theta, data.x, y, rows(data), case.times, 4, TOLERANCE)
    assert tuple(found) == ORDERS
    for p in ORDERS:
        public = predict_training(
            backend,
            net,
            theta,
            data.x,
            y,
            order=p,
            times=case.times,
            x_test=data.x_test,
            form="tensor_free",
            tolerance=TOLERANCE,
            estimate=False,
        )
        assert public.f_test is not None
        assert_allclose(found[p], np.concatenate([public.f, public.f_test], axis=-1), rtol=0, atol=1e-12)


def test_all_orders_share_the_contractions_of_the_highest(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an antisymmetric initialization K3 vanishes, so that any basis serves order 3."""
    claim, case = get(REAL_DATA), case_of(REAL_DATA, **DIGITS)
    data, net = claim.prepare(case, 3), case.network(24)
    theta, y = net.initialize(3, range(1)), data.y[:, 0]
    asked: list[int] = []
    contracted = backend.contracted_hierarchy

    def counted(*args: Any) -> Any:
        asked.append(args[-1])
        return contracted(*args)

    monkeypatch.setattr(backend, "contracted_hierarchy", counted)
    predict_training(
        backend, net, theta, data.x, y, order=4, times=case.times, form="tensor_free", tolerance=TOLERANCE, estimate=False
    )
    alone, asked[:] = list(asked), []
    predictions(backend, net, theta, data.x, y, data.x, case.times, 4, TOLERANCE)
    assert asked == alone
    assert set(asked) == {4}


def test_predictions_of_what_does_not_move_and_of_times_out_of_reach(backend: Backend) -> None:
    claim, case = get(REAL_DATA), case_of(REAL_DATA, **DIGITS | {"antisymmetric": False})
    data, net = claim.prepare(case, 3), case.network(24)
    theta = net.initialize(3, range(1))
    f0 = backend.forward(net, theta, rows(data))[0, :, 0]
    found = predictions(backend, net, theta, data.x, f0[: len(data.x)], rows(data), case.times, 4, TOLERANCE)
    for p in ORDERS:
        assert_allclose(found[p], np.broadcast_to(f0, (1, len(case.times), len(f0))), rtol=0, atol=1e-15)
    with pytest.raises(ValueError, match="take times up to"):
        predictions(backend, net, theta, data.x, data.y[:, 0], rows(data), (1e9,), 4, TOLERANCE)


def test_the_tolerance_falls_to_the_largest_width_as_the_error_of_order_four() -> None:
    case = case_of(REAL_DATA, **DIGITS | {"widths": (8, 32)})
    assert [case.tolerance_at(width) for width in case.widths] == [16 * TOLERANCE, TOLERANCE]
