"""Residual networks as specifications."""

import numpy as np
import pytest

from ntkbench.networks import SPECIFICATIONS, FullyConnected, Residual


def test_sizes_and_draws_are_those_of_fully_connected_networks() -> None:
    net, dense = (kind(3, 5, 2, "tanh", 2, bias_variance=0.3) for kind in (Residual, FullyConnected))
    assert net.layers == dense.layers
    assert net != dense
    drawn, expected = net.initialize(0, range(2)), dense.initialize(0, range(2))
    assert list(drawn) == list(expected)
    for name, array in drawn.items():
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize(("field", "value"), [("input_dim", 0), ("width", 2.5), ("depth", 0), ("activation", "swish")])
def test_what_no_network_has_is_refused(field: str, value: object) -> None:
    given = {"input_dim": 3, "width": 5, "depth": 2, "activation": "tanh"}
    with pytest.raises(ValueError, match=f"^{field} "):
        Residual(**{**given, field: value})  # type: ignore[arg-type]


def test_names_of_specifications_are_of_classes_that_differ() -> None:
    assert len(set(SPECIFICATIONS.values())) == len(SPECIFICATIONS)
