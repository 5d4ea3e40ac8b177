"""Generalisation measures of the limiting kernel, from training points alone, and the test errors that they should rank.

With K the limiting NTK on n training points, scaled to a mean diagonal of 1, and labels y = +-1:

    complexity   sqrt(y^T K^-1 y / n)                bounds the error of the fully trained network (Arora et al. 2019)
    alignment    y^T K y / (n |K|_F)                 kernel-target alignment, y y^T being of norm n (Cristianini et al. 2001)
    dimension    tr K (K + n ridge)^-1               effective dimension (Zhang 2005; Caponnetto & De Vito 2007)

A replicate is a split of the data with a grid of architectures, tasks (ways to divide the classes into two halves) and shares
of random labels. Along one axis of the grid at a time, the others fixed, a measure and the test error have a rank correlation;
its mean over the places of the others is the replicate's one number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Claim, Panel
from ntkbench.claims.calls import Call, Draw, KernelDescent, Solve, Train
from ntkbench.claims.cases import ValidationCase
from ntkbench.claims.generalization import STOPS, descent, learning_rate, limiting_calls, limiting_ntks
from ntkbench.claims.ranks import spearman
from ntkbench.networks import Network
from ntkbench.seeding import rng
from ntkbench.verdicts.expectations import Paired

RIDGE = 0.01
"""Of the effective dimension, in units of the mean of the kernel's diagonal, for K / n."""
RANKS = 0.3
"""Smallest mean rank correlation that counts as ranking: Cohen's medium size."""
SOURCES = {
    "complexity": "arora2019fine, Theorem 5.1",
    "alignment": "cristianini2001kernel",
    "dimension": "caponnetto2007optimal",
}
SIGNS: Mapping[str, Literal[-1, 1]] = {"complexity": 1, "alignment": -1, "dimension": 1}
AXES = {
    "noise": "shares of random labels",
    "tasks": "divisions of one data set's classes",
    "architectures": "architectures",
}
QUESTIONS = tuple((m, a) for a in AXES for m in SIGNS if m != "dimension" or a == "architectures")
"""The effective dimension knows no labels, and has nothing to say along the other axes."""


@dataclass(frozen=True, kw_only=True)
class MeasuresCase(ValidationCase):
    """A population of architectures and label tasks, the same for all seeds but for what is drawn.

    `depth` is the deepest of the population, which has every depth from 1 on; `step` and `times` are in units of n over the
    largest eigenvalue of each architecture's limiting kernel.

    Attributes:
        other_activations: the population has each depth with `activation` and with each of these.
        tasks: how many divisions of the classes into two halves each seed draws.
        noise: shares of training and validation labels that are replaced by coins, increasing from 0.
    """

    trained_by: ClassVar = "gradient descent"

    other_activations: tuple[str, ...]
    tasks: int
    noise: tuple[float, ...]
    control: Literal["shuffled"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.antisymmetric:
            raise ValueError(
                "a plain f at t = 0, as large as the architecture says, stays in test errors: make it antisymmetric"
            )
        activations = (self.activation, *self.other_activations)
        if len(set(activations)) < len(activations):
            raise ValueError(f"other_activations {list(self.other_activations)} name one twice, or {self.activation!r} again")
        if self.depth * len(activations) < 3:
            raise ValueError("three architectures at least: take a larger depth or more of other_activations")
        if "identity" in activations:
            raise ValueError("activation 'identity' has a singular kernel, of which y^T K^-1 y takes the inverse: leave it out")
        if len(self.noise) < 3 or self.noise[0] != 0 or self.noise[-1] > 1 or any(b <= a for a, b in pairwise(self.noise)):
            raise ValueError(f"noise must be three shares or more and increase from 0 to at most 1, got {list(self.noise)}")
        source = data.SOURCES.get(self.dataset)
        if source is not None and not 3 <= self.tasks <= len(_halves(source.output_dim)):
            raise ValueError(
                f"tasks must be 3 to {len(_halves(source.output_dim))}, the divisions into two halves of the "
                f"{source.output_dim} outputs of dataset {self.dataset!r}, got {self.tasks}"
            )
        for depth, activation in self.members:
            self.architecture(self.widths[0], depth=depth, activation=activation)

    @property
    def members(self) -> tuple[tuple[int, str], ...]:
        """Depth and activation of each architecture; the networks of the first see labels with noise, too."""
        activations = (self.activation, *self.other_activations)
        return tuple((depth, activation) for depth in range(1, self.depth + 1) for activation in activations)


def _halves(classes: int) -> list[tuple[int, ...]]:
    """The ways to divide classes into two halves (one larger, if they are odd in number), each by the part of class 0."""
    if classes < 2:
        return []
    return [(0, *others) for others in combinations(range(1, classes), classes // 2 - 1)]


def _labels(case: MeasuresCase, root: int, s: int, classes: np.ndarray, trusted: int) -> np.ndarray:
    """Labels +-1 of one seed, (tasks, shares of noise, points); the last `trusted` points are without noise.

    A share's random labels are among those of every larger share, so that shares differ in as little as they can.
    """
    draw = rng(root, "tasks", case.dataset, "seed", s)
    halves = _halves(data.SOURCES[case.dataset].output_dim)
    picked = draw.choice(len(halves), case.tasks, replace=False)
    true = np.stack([np.where(np.isin(classes, halves[k]), 1.0, -1.0) for k in picked])
    order, coins = draw.random(true.shape), draw.choice([-1.0, 1.0], true.shape)
    order[:, len(classes) - trusted :] = 1.0
    noisy = order[:, None] < np.array(case.noise)[:, None]
    return np.where(noisy, coins[:, None], true[:, None])


def of_kernel(backend: Backend, kernel: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Complexity, alignment and dimension: kernel (S, n, n) and labels (S, n, J) to (S, 3, J)."""
    n = kernel.shape[-1]
    kernel = kernel / (np.trace(kernel, axis1=1, axis2=2) / n)[:, None, None]
    complexity = np.sqrt((y * backend.solve(kernel, y)).sum(axis=1) / n)
    alignment = (y * (kernel @ y)).sum(axis=1) / (n * np.linalg.norm(kernel, axis=(1, 2)))[:, None]
    spectrum = np.linalg.eigvalsh(kernel) / n
    dimension = (spectrum / (spectrum + RIDGE)).sum(axis=1)[:, None]
    return np.stack([complexity, alignment, np.broadcast_to(dimension, alignment.shape)], axis=1)


def _expectation(measure: str, axis: str, network: bool) -> Paired:
    error = "a trained network" if network else "NTK regression"
    words = {"complexity": "sqrt(y^T K^-1 y / n)", "alignment": "kernel-target alignment", "dimension": "effective dimension"}
    way = "grows" if SIGNS[measure] > 0 else "falls"
    name = f"{measure}_{axis}" + "_network" * network
    return Paired(
        name=name,
        statement=f"Among {AXES[axis]} the {words[measure]} {way} with the test error of {error}, by rank.",
        source=SOURCES[measure],
        quantity=name,
        control="shuffled",
        sign=SIGNS[measure],
        size=RANKS,
    )


def _panel(title: str, axis: str) -> Panel:
    quantities = tuple(f"{m}_{axis}" + end for end in ("", "_network") for m, a in QUESTIONS if a == axis)
    return Panel(title=title, kind="paired", quantities=quantities, ylabel="rank correlation", where={})


class Measures(Claim):
    """See `statement`."""

    id: ClassVar = "gap/measures"
    title: ClassVar = "Generalisation measures of the kernel rank tasks and architectures"
    statement: ClassVar = (
        "Computed from the limiting kernel and the training labels alone, the complexity sqrt(y^T K^-1 y / n), kernel-target "
        "alignment and effective dimension rank tasks (divisions of one data set's classes into halves), shares of random "
        "labels, and architectures as the test errors of NTK regression and of trained networks do."
    )
    source: ClassVar = "arora2019fine, Theorem 5.1; cristianini2001kernel; caponnetto2007optimal"
    reference_ids: ClassVar = ("AF-1", "CR-1", "CV-1")
    assumptions: ClassVar = (
        "Square loss on labels of +-1, full-batch gradient descent from an antisymmetric initialization, since a plain one "
        "has an output at t = 0 whose variance the architecture decides and which stays at test points; the step of each "
        "architecture is a fixed share of n over the largest eigenvalue of its limiting kernel. Networks and kernels see the "
        "same points and stop where the same validation points say. Arora et al. prove their bound for one wide ReLU layer "
        "whose hidden weights alone are trained; that the measures rank anything is a reading of the bounds, which only "
        "bound."
    )
    controls: ClassVar = {
        "shuffled": "the measures are computed with permuted labels, another permutation for each architecture and labelling, "
        "and then dealt to the architectures at random"
    }
    quantities: ClassVar = {
        **{f"{m}_{a}": f"rank correlation of {m} and mse of NTK regression along {AXES[a]}" for m, a in QUESTIONS},
        **{f"{m}_{a}_network": f"the same with the mse of trained networks, {m} along {AXES[a]}" for m, a in QUESTIONS},
        "mse_kernel": "mean squared error of NTK regression on test points, mean over architectures and tasks without noise",
        "mse_network": "the same of trained networks",
    }
    expectations: ClassVar = tuple(_expectation(m, a, network) for network in (False, True) for m, a in QUESTIONS)
    limitations: ClassVar = (
        "Mean squared error, not error rates, against true test labels. Few architectures, tasks and shares in a population, "
        "all of one family and data set; the same architectures for all seeds, so that intervals speak of splits, tasks and "
        "initializations and not of other architectures. Networks see noisy labels in the population's first architecture "
        "only. Errors are those of early stopping, measures those of the kernel; the effective dimension is taken at one "
        "ridge. Intervals are over splits of one pool of images, which overlap, so that they speak of the average over "
        "splits of this pool. Sizes were settled on trials with other draws. Networks began from a plain initialization "
        "until results were seen."
    )
    figure: ClassVar = (
        _panel("Shares of random labels", "noise"),
        _panel("Tasks", "tasks"),
        _panel("Architectures", "architectures"),
    )
    caption: ClassVar = (
        "Rank correlations of generalisation measures with the test errors of NTK regression and of trained networks, "
        "means over splits with intervals, all else fixed: (a) along shares of random labels, (b) along tasks, (c) along "
        "architectures. Complexity and dimension should lie above the band, alignment below. Grey: measures of shuffled "
        "labels and architectures."
    )
    labels: ClassVar = {
        f"{measure}_{axis}{ending}": f"{measure}, {errs}"
        for measure in ("complexity", "alignment", "dimension")
        for axis in ("noise", "tasks", "architectures")
        for ending, errs in (("", "NTK"), ("_network", "network"))
        if measure != "dimension" or axis == "architectures"
    }
    case_type: ClassVar = MeasuresCase
    growth: ClassVar = {"measures": 1e4, "kernel_mse": 1e4, "network_mse": 1e4, "noisy_network_mse": 1e4}

    def prepare(self, case: MeasuresCase, root: int) -> data.Dataset:
        """Labels have a column for each task and share of noise, the shares running fastest."""
        drawn = case.load(root)
        classes = np.concatenate([drawn.y, drawn.y_test], axis=1).argmax(axis=-1)
        trusted = case.test_size - case.validation_size
        labels = np.stack([_labels(case, root, s, row, trusted) for s, row in enumerate(classes)])
        columns = np.moveaxis(labels.reshape(case.seeds, -1, labels.shape[-1]), 1, 2)
        return data.Dataset(drawn.x, columns[:, : case.train_size], drawn.x_test, columns[:, case.train_size :])

    def measure(self, backend: Backend, case: MeasuresCase, data: data.Dataset, width: int, root: int) -> Arrays:
        shuffle = rng(root, "shuffled measures", case.dataset, width) if case.control == "shuffled" else None
        found: dict[str, list[np.ndarray]] = {"measures": [], "kernel_mse": [], "network_mse": []}
        for k, (depth, activation) in enumerate(case.members):
            net = case.architecture(width, depth=depth, activation=activation)
            kernel, held_out = limiting_ntks(backend, net, data)
            y = data.y if shuffle is None else shuffle.permuted(data.y, axis=1)
            found["measures"].append(of_kernel(backend, kernel, y))
            found["kernel_mse"].append(_errors(case, descent(backend, kernel, held_out, data.y), data.y_test))
            columns = slice(None) if k == 0 else slice(None, None, len(case.noise))
            found["network_mse"].append(_networks(backend, case, net, data, columns, learning_rate(kernel), root))
        noisy = found["network_mse"][0]
        found["network_mse"][0] = noisy[..., :: len(case.noise)]
        arrays = {name: np.stack(values, axis=1) for name, values in found.items()} | {"noisy_network_mse": noisy}
        if shuffle is not None:
            arrays["measures"] = shuffle.permuted(arrays["measures"], axis=1)
        return arrays

    def calls(self, case: MeasuresCase, width: int) -> tuple[Call, ...]:
        columns = case.tasks * len(case.noise)
        found: list[Call] = []
        n, h, seeds = case.train_size, case.test_size, case.seeds
        for k, (depth, activation) in enumerate(case.members):
            net = case.architecture(width, depth=depth, activation=activation)
            nets = seeds * (columns if k == 0 else case.tasks)
            found += [
                *limiting_calls(case, net, width, h),
                Solve(batch=seeds, points=n, sides=columns),
                KernelDescent(batch=seeds, points=n, test_points=h, outputs=columns, records=len(STOPS)),
                Draw(net=net, seeds=nets),
                Train.along(case.flow(), net=net, seeds=nets, points=n, observe=("f_test",), test_points=h),
            ]
        return tuple(found)

    def summarize(self, case: MeasuresCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        seeds, grid = case.seeds, (case.tasks, len(case.noise))
        measures = dict(zip(SIGNS, np.moveaxis(arrays["measures"], 2, 0), strict=True))
        measures = {name: values.reshape(seeds, -1, *grid) for name, values in measures.items()}
        kernel = _chosen(arrays["kernel_mse"]).reshape(seeds, -1, *grid)
        network = _chosen(arrays["network_mse"])
        noisy = _chosen(arrays["noisy_network_mse"]).reshape(seeds, 1, *grid)
        found: dict[str, np.ndarray] = {}
        for name, axis in QUESTIONS:
            values = measures[name]
            if axis == "noise":
                found[f"{name}_noise"] = spearman(values, kernel).mean(axis=(1, 2))
                found[f"{name}_noise_network"] = spearman(values[:, :1], noisy).mean(axis=(1, 2))
                continue
            along = 2 if axis == "tasks" else 1
            found[f"{name}_{axis}"] = spearman(values[..., 0], kernel[..., 0], axis=along).mean(axis=1)
            found[f"{name}_{axis}_network"] = spearman(values[..., 0], network, axis=along).mean(axis=1)
        found["mse_kernel"] = kernel[..., 0].mean(axis=(1, 2))
        found["mse_network"] = network.mean(axis=(1, 2))
        return found


def _errors(case: MeasuresCase, outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean squared errors on validation and on test points: (S, C, h, J) and (S, h, J) to (S, 2, C, J)."""
    squares = (outputs - y[:, None]) ** 2
    v = case.validation_size
    return np.stack([squares[:, :, :v].mean(axis=2), squares[:, :, v:].mean(axis=2)], axis=1)


def _chosen(errors: np.ndarray) -> np.ndarray:
    """The test error of the candidate of least validation error: (..., 2, C, J) to (..., J)."""
    validation, test = np.moveaxis(errors, -3, 0)
    best = np.where(np.isfinite(validation), validation, np.inf).argmin(axis=-2, keepdims=True)
    found: np.ndarray = np.take_along_axis(test, best, axis=-2)[..., 0, :]
    return found


def _networks(
    backend: Backend, case: MeasuresCase, net: Network, drawn: data.Dataset, columns: slice, unit: float, root: int
) -> np.ndarray:
    """Errors of a network of its own for each seed and labelling: (S, 2, T, J)."""
    y = drawn.y[..., columns]
    labellings = y.shape[-1]
    nets = case.seeds * labellings
    theta = net.initialize(root, range(nets))
    x, x_test = (np.repeat(points, labellings, axis=0) for points in (drawn.x, drawn.x_test))
    targets = np.moveaxis(y, 2, 1).reshape(nets, -1, 1)
    trained = backend.train(net, theta, x, targets, **case.flow(stretch=unit), observe=("f_test",), x_test=x_test)
    outputs = trained.observed("f_test")[..., 0].reshape(case.seeds, labellings, len(case.times), -1)
    return _errors(case, np.moveaxis(outputs, 1, 3), drawn.y_test[..., columns])


CLAIM = Measures()
