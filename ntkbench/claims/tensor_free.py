"""What the claims about the hierarchy without tensors share: a network's predictions of all orders from one basis."""

from collections.abc import Sequence

import numpy as np

from ntkbench.backends.base import Backend
from ntkbench.claims.calls import Call, Forward, Ntk, Predict
from ntkbench.hierarchy.expansion import Expansion
from ntkbench.hierarchy.one_network import OneNetwork, ntk_of_points
from ntkbench.networks import Network, Parameters


def predictions(
    backend: Backend,
    net: Network,
    theta: Parameters,
    x: np.ndarray,
    y: np.ndarray,
    rows: np.ndarray,
    times: Sequence[float],
    top: int,
    tolerance: float,
    shuffle: np.ndarray | None = None,
    beyond: Parameters | None = None,
) -> dict[int, np.ndarray]:
    """What `predict_training` without tensors gives for the orders 2 to `top`, of one basis: order -> (S, T, R).

    For networks of O > 1 outputs the outputs are (S, T, R, O).

    Args:
        x: (n, d); y: (n,), and (n, O) for several outputs.
        rows: (R, d), the points whose outputs are asked for, of which `x` are the first.
        tolerance: of outputs, relative to the largest residual at t = 0.
        shuffle: the order in which K3 and K4 take the training points, a permutation of n; None leaves it as it is.
        beyond: parameters of the networks whose K3 and K4 are taken; None for the networks' own.
    """
    f0, kernels = backend.forward(net, theta, rows), ntk_of_points(backend, net, theta, rows, x)
    taken = x if shuffle is None else x[shuffle]
    found = []
    for s in range(len(f0)):
        taken_from = {name: array[s : s + 1] for name, array in (theta if beyond is None else beyond).items()}
        start = Expansion(np.asarray(f0[s], dtype=float).ravel(), np.asarray(kernels[s], dtype=float), outputs=net.output_dim)
        asked = np.asarray(times, dtype=float)
        one = OneNetwork(backend, net, taken_from, taken, rows, start, y.ravel(), top, asked, tolerance, False)
        found.append(one.by_order())
    by_order = {p: np.stack([outputs[p] for outputs in found]) for p in found[0]}
    if net.output_dim == 1:
        return by_order
    return {p: outputs.reshape(*outputs.shape[:2], -1, net.output_dim) for p, outputs in by_order.items()}


def foretold(net: Network, seeds: int, points: int, rows: int, top: int) -> tuple[Call, ...]:
    """What `predictions` asks for; order 2 alone has a closed form, which costs next to nothing."""
    asked: tuple[Call, ...] = (
        Forward(net=net, seeds=seeds, points=rows),
        Ntk(net=net, seeds=seeds, rows=rows, columns=points, outputs="full"),
    )
    return asked if top == 2 else (*asked, Predict(net=net, seeds=seeds, points=points, rows=rows, order=top))
