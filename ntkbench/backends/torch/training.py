"""Gradient flow and gradient descent of a batch of networks by explicit Runge-Kutta methods of fixed step.

All parameters of all networks lie in one flat buffer, so that a stage of the method is one operation on one vector, and
the layers are views of it.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from ntkbench.backends.base import Progress
from ntkbench.backends.torch import ntk, within_budget
from ntkbench.backends.torch.architectures import architecture
from ntkbench.backends.torch.network import Tensor, Tensors
from ntkbench.integrators import Tableau
from ntkbench.networks import Network, Parameters


def layer_views(net: Network, flat: Tensor, batch: int) -> Tensors:
    """The parameters of `batch` networks as views of a flat buffer, `W1, b1, W2, ...` one after the other.

    Layers that widen lie there transposed if the architecture has them so.
    """
    views: Tensors = {}
    start = 0
    for l, layer in enumerate(net.layers, start=1):
        shapes: dict[str, tuple[int, ...]] = {f"W{l}": (batch, layer.fan_out, layer.fan_in)}
        if net.bias_variance > 0:
            shapes[f"b{l}"] = (batch, layer.fan_out)
        for name, shape in shapes.items():
            size = math.prod(shape)
            views[name] = flat[start : start + size].view(shape)
            start += size
        if layer.fan_out > layer.fan_in and architecture(net).turned:
            views[f"W{l}"] = views[f"W{l}"].view(batch, layer.fan_in, layer.fan_out).mT
    return views


class _Buffer(NamedTuple):
    flat: Tensor
    views: Tensors


class Stepper:
    """Steps the parameters of a block of seeds along the flow; holds every buffer it needs.

    Args:
        theta: parameters at t = 0, copied. x: (B, n, d). y: (S, n, O) or (n, O).
    """

    def __init__(self, net: Network, theta: Tensors, x: Tensor, y: Tensor, tableau: Tableau, step: float):
        self.net = net
        self._write_slope = partial(architecture(net).write_slope, net)
        self.x = x.contiguous()
        self.y = y.expand(len(x) // net.copies, -1, -1)
        size = sum(array.numel() for array in theta.values())
        self.now, self.point = (self._buffer(x.new_empty(size)) for _ in range(2))
        for name, view in self.now.views.items():
            view.copy_(theta[name])
        self.slots = slope_slots(tableau)
        slopes = x.new_empty((max(self.slots) + 1, size))
        self.slopes = [self._buffer(row).views for row in slopes]
        self.sums = [_Sum(slopes, row) for row in _coefficients(tableau, self.slots, step)]

    def _buffer(self, flat: Tensor) -> _Buffer:
        return _Buffer(flat, layer_views(self.net, flat, self.x.shape[0]))

    @property
    def theta(self) -> Tensors:
        """The parameters now, as views: they change with the next step."""
        return self.now.views

    def advance(self) -> None:
        """One step."""
        self._write_slope(self.now.views, self.x, self.y, self.slopes[0])
        for slot, terms in zip(self.slots[1:], self.sums[:-1], strict=True):
            self._move_point(terms)
            self._write_slope(self.point.views, self.x, self.y, self.slopes[slot])
        self._move_point(self.sums[-1])
        self.now, self.point = self.point, self.now

    def _move_point(self, terms: "_Sum") -> None:
        terms.add_to(self.now.flat, self.point.flat)


class _Sum:
    """A combination of slopes: `slopes` (slots, P), one coefficient per slot."""

    def __init__(self, slopes: Tensor, coefficients: Sequence[float]):
        used = [slot for slot, coefficient in enumerate(coefficients) if coefficient != 0]
        self.only = coefficients[used[0]] if len(used) == 1 else None
        self.slopes = slopes[used[0] : used[-1] + 1]
        self.coefficients = slopes.new_tensor(coefficients[used[0] : used[-1] + 1])

    def add_to(self, start: Tensor, out: Tensor) -> None:
        """Write `start` and the combination into `out`."""
        if self.only is not None:
            torch.add(start, self.slopes[0], alpha=self.only, out=out)
        else:
            torch.addmv(start, self.slopes.T, self.coefficients, out=out)


def slope_slots(tableau: Tableau) -> list[int]:
    """The row of the slope buffer of each stage: a row is taken again once no later sum asks for its slope."""
    rows = [*tableau.stages, tableau.weights]
    last_use = [max((i for i in range(j + 1, len(rows)) if rows[i][j] != 0), default=j) for j in range(len(tableau.stages))]
    slots: list[int] = []
    for i in range(len(tableau.stages)):
        taken = {slots[j] for j in range(i) if last_use[j] > i}
        slots.append(min(set(range(i + 1)) - taken))
    return slots


def _coefficients(tableau: Tableau, slots: list[int], step: float) -> list[list[float]]:
    """`step` times the coefficients of every stage but the first, then of the step, ordered by slot, trailing zeros left out.

    Slots are filled from the lowest, so that what a row reaches has been written.
    """
    table = []
    for row in [*tableau.stages[1:], tableau.weights]:
        by_slot = {slots[j]: step * coefficient for j, coefficient in enumerate(row) if coefficient != 0}
        table.append([by_slot.get(slot, 0.0) for slot in range(max(by_slot) + 1)])
    return table


@dataclass(frozen=True)
class Observer:
    """Observes a block of seeds in training.

    Attributes:
        names: of `ntkbench.backends.base.OBSERVABLES`; parameters are no array and left to `snapshot`.
        start: parameters at t = 0. points: (B, n, d). test_points: (B, n_test, d), or None.
        budget: bytes for the temporaries of one observable.
    """

    names: Sequence[str]
    net: Network
    start: Tensors
    points: Tensor
    test_points: Tensor | None
    budget: int

    def __call__(self, now: Tensors) -> dict[str, np.ndarray]:
        """By name, seeds first."""
        return {name: self._observe(name, now) for name in self.names if name != "theta"}

    def _observe(self, name: str, now: Tensors) -> np.ndarray:
        match name:
            case "f":
                return within_budget.outputs(self.net, now, self.points, self.budget)
            case "f_test" if self.test_points is not None:
                return within_budget.outputs(self.net, now, self.test_points, self.budget)
            case "K2":
                return within_budget.kernel(self.net, now, self.points, None, "one", self.budget)
            case _:
                return movement(self.net, now, self.start).cpu().numpy()


def snapshot(net: Network, now: Tensors) -> Parameters:
    """A copy on the host, seeds and copies in two axes, rows of fan_in numbers however they lie in the buffer."""
    rows = {name: view.contiguous().cpu().numpy() for name, view in now.items()}
    return {name: np.array(array.reshape(-1, net.copies, *array.shape[1:])) for name, array in rows.items()}


def record(
    stepper: Stepper, counts: Sequence[int], observer: Observer, tick: Callable[[], None]
) -> tuple[dict[str, np.ndarray], list[Parameters]]:
    """Take `counts[0]` steps and observe, `counts[1]` more and observe, and so on; calls `tick` after each step.

    Returns:
        What was observed, the times stacked as second axis, and the parameters at each time if they were asked for.
    """
    found, parameters = [], []
    for count in counts:
        for _ in range(count):
            stepper.advance()
            tick()
        found.append(observer(stepper.theta))
        if "theta" in observer.names:
            parameters.append(snapshot(observer.net, stepper.theta))
    return {name: np.stack([values[name] for values in found], axis=1) for name in found[0]}, parameters


def ticker(progress: Progress | None, total: int) -> Callable[[], None]:
    """Tells `progress`, if there is one, of one step more of `total` with each call."""
    done = itertools.count(1)
    return lambda: progress(next(done), total) if progress else None


def movement(net: Network, theta: Tensors, start: Tensors) -> Tensor:
    """`|W_l - W_l(0)| / |W_l(0)|` over all copies, (S, L)."""
    moved = []
    for l in range(1, net.depth + 2):
        first, now = (weights[f"W{l}"].reshape(-1, net.copies * weights[f"W{l}"][0].numel()) for weights in (start, theta))
        moved.append(torch.linalg.vector_norm(now - first, dim=1) / torch.linalg.vector_norm(first, dim=1))
    return torch.stack(moved, dim=1)


def bytes_per_seed(net: Network, points: int, test_points: int, method: Tableau, observe: Sequence[str], itemsize: int) -> int:
    """Of training one seed: buffers, parameters and their initial values among them, and the largest of the observables."""
    of, buffers = architecture(net), 4 + max(slope_slots(method)) + 1
    training = itemsize * (buffers * net.parameter_count + points * of.floats_per_point(net, arrays=5))
    kernel = ntk.bytes_per_seed(net, points, points, "one", itemsize) if "K2" in observe else 0
    test = itemsize * test_points * of.floats_per_point(net, arrays=2)
    copied = itemsize * net.parameter_count if "theta" in observe else 0
    return training + max(kernel, test, copied)
