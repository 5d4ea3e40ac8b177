"""Specifications of convolutional networks."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ntkbench.networks import KERNEL, Convolutional, FullyConnected

NET = Convolutional(image=(4, 5, 2), width=6, depth=2, activation="tanh", bias_variance=0.1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image", (4, 5)),
        ("image", (4, 0, 1)),
        ("image", (4.0, 5, 1)),
        ("image", 20),
        ("width", 0),
        ("depth", 0),
        ("padding", "same"),
        ("readout", "max"),
        ("output_dim", 0),
        ("activation", "swish"),
        ("weight_variance", -1.0),
    ],
)
def test_impossible_values_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        replace(NET, **{field: value})


def test_fans_and_shapes_follow_from_the_image() -> None:
    assert NET.input_dim == 4 * 5 * 2
    assert NET.fans == ((KERNEL**2 * 2, 6), (KERNEL**2 * 6, 6), (4 * 5 * 6, 1))
    assert replace(NET, readout="global_average").fans[-1] == (6, 1)
    shapes = {name: array.shape for name, array in NET.initialize(0, [1, 2]).items()}
    assert shapes["W1"] == (2, 1, 6, 18)
    assert shapes["W3"] == (2, 1, 1, 120)
    assert shapes["b2"] == (2, 1, 6)
    assert NET.parameter_count == sum(int(np.prod(shape)) for shape in shapes.values()) / 2


def test_specifications_are_equal_by_value_and_can_be_keys() -> None:
    assert replace(NET) == NET
    assert hash(replace(NET)) == hash(NET)
    assert replace(NET, image=[4, 5, 2]) == NET
    assert replace(NET, image=(5, 4, 2)) != NET


def test_scales_are_those_of_the_fans() -> None:
    for net in (NET, FullyConnected(3, 6, 2, "tanh", weight_variance=2.0)):
        for layer, (fan_in, _) in zip(net.layers, net.fans, strict=True):
            assert layer.weight_std * layer.weight_multiplier == pytest.approx((net.weight_variance / fan_in) ** 0.5)
