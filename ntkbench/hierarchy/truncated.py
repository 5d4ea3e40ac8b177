"""The right-hand side of the hierarchy with its top kernel frozen."""

from typing import Any

Array = Any
State = tuple[Array, ...]


def right_hand_side(state: State, top: Array, y: Array) -> State:
    """Slopes of the hierarchy truncated at order p, the frozen kernel being `top`.

    `df_a/dt = -(1/n) sum_b K2_ab (f_b - y_b)` and `dK_r/dt = -(1/n) sum_b K_{r+1,..b} (f_b - y_b)` for 2 <= r < p (Huang & Yau
    2019, eq. 2.7 and Theorem 2.6). Time is gradient-flow time for the loss `(1/2n) sum_a (f_a - y_a)^2`; a network's mobility
    is inside its kernels.

    Args:
        state: `(f, K2, ..., K_{p-1})`, of shapes (S, n), (S, n, n), ..., (S,) + (n,) * (p - 1); for p = 2 only `(f,)`.
        top: `K_p`, shape (S,) + (n,) * p.
        y: targets, (n,) or (S, n).

    Returns:
        The slopes, shaped as `state`.

    Raises:
        ValueError: if a kernel's shape does not fit its order, or `y` does not fit `f`.
    """
    f = state[0]
    seeds, n = f.shape
    if tuple(y.shape) not in ((n,), (seeds, n)):
        raise ValueError(f"y has shape {tuple(y.shape)}; outputs of shape {(seeds, n)} ask for {(n,)} or {(seeds, n)}")
    residual = (f - y)[:, :, None]
    slopes = []
    for order, kernel in enumerate((*state[1:], top), start=2):
        shape = (seeds,) + (n,) * order
        if tuple(kernel.shape) != shape:
            raise ValueError(f"K{order} has shape {tuple(kernel.shape)}, outputs of shape {(seeds, n)} ask for {shape}")
        contracted = kernel.reshape((seeds, n ** (order - 1), n)) @ residual
        slopes.append(contracted.reshape(shape[:-1]) * (-1.0 / n))
    return tuple(slopes)
