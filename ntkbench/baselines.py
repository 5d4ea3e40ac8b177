"""Classifiers of other families, and support vector machines on any kernel, under one protocol.

A set is cut into `PARTS` parts, each held out once, with a model that is trained on all the others. The held-out points of
part 0 choose among candidates, those of the other parts give the result: no candidate is chosen by how well it predicts a
point of the result. Such points have a say as training points alone, of the models that are compared on part 0, and every
model has as many training points as the one that was chosen by. (In the protocol of Fernandez-Delgado et al. 2014, which Arora
et al. 2020 follow, half of the points choose, and are test points afterwards.) The Gaussian process chooses on its training
points, anew for every part.

These are scikit-learn's estimators, which know neither torch nor jax; they run once, before anything is measured.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from ntkbench.data.tabular import PARTS, standardized

COSTS = tuple(10.0**k for k in range(-2, 5))
"""C of the support vector machines (Arora et al. 2020)."""
STEPS = 100_000
"""Of a machine's solver, at most: with costs far too large for overlapping classes it would take millions, to no better end."""
RATES = tuple(10.0 ** (k / 2) for k in range(-4, 3))
"""gamma d of the Gaussian kernel `exp(-gamma |x - x'|^2)`; with standardized features `|x - x'|^2` is about 2 d."""
FEATURES = ("sqrt", 0.5)
"""Share of the features among which a tree's split is chosen."""

Fit = Callable[[int], np.ndarray]
"""A candidate: from the number of a part to the classes of its points, as predicted by a model trained on the other parts."""
Kernels = Sequence[Sequence[np.ndarray]]
"""Part by part, since features are standardized by its training points: the kernels to choose from, each (n, n)."""


def part_of(points: int) -> np.ndarray:
    """The part of each point, (n,)."""
    return np.arange(points) % PARTS


def features(x: np.ndarray) -> list[np.ndarray]:
    """`x` (n, d), standardized anew for every part by the points outside of it."""
    return [standardized(x, part_of(len(x)) != part) for part in range(PARTS)]


def held_out(candidates: Sequence[Fit], labels: np.ndarray) -> np.ndarray:
    """The class of every point as predicted while it is held out, by the candidate most accurate on part 0 (the first of them).

    Args:
        labels: (n,), the true classes.

    Returns:
        (n,), classes.
    """
    parts = part_of(len(labels))
    tried = [fit(0) for fit in candidates]
    best = int(np.argmax([(guess == labels[parts == 0]).mean() for guess in tried]))
    predicted = np.empty_like(labels)
    predicted[parts == 0] = tried[best]
    for part in range(1, PARTS):
        predicted[parts == part] = candidates[best](part)
    return predicted


def support_vector_machines(kernels: Kernels, labels: np.ndarray) -> list[Fit]:
    """Candidates: every kernel with every cost, hinge loss, one class against one.

    Args:
        labels: (n,), the classes that are learnt.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import SVC

    parts = part_of(len(labels))

    def fit(kernel: int, cost: float, part: int) -> np.ndarray:
        train, test = parts != part, parts == part
        gram = kernels[part][kernel]
        machine = SVC(C=cost, kernel="precomputed", max_iter=STEPS, cache_size=500)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            machine.fit(gram[np.ix_(train, train)], labels[train])
        return np.asarray(machine.predict(gram[np.ix_(test, train)]))

    return [_bind(fit, kernel, cost) for kernel in range(len(kernels[0])) for cost in COSTS]


def gaussian_kernels(x: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    """`Kernels` of all `RATES`, from the features of every part."""
    distances = [np.maximum((z**2).sum(axis=1)[:, None] + (z**2).sum(axis=1) - 2 * z @ z.T, 0.0) for z in x]
    return [[np.exp(-rate / z.shape[1] * d) for rate in RATES] for z, d in zip(x, distances, strict=True)]


def forests(x: Sequence[np.ndarray], labels: np.ndarray, trees: int, seed: int) -> list[Fit]:
    """Candidates: random forests with every share of `FEATURES`."""
    from sklearn.ensemble import RandomForestClassifier

    parts = part_of(len(labels))

    def fit(share: str | float, _: float, part: int) -> np.ndarray:
        forest = RandomForestClassifier(trees, max_features=share, random_state=seed)
        return np.asarray(forest.fit(x[part][parts != part], labels[parts != part]).predict(x[part][parts == part]))

    return [_bind(fit, share, 0.0) for share in FEATURES]


def gaussian_process(x: Sequence[np.ndarray], labels: np.ndarray) -> Fit:
    """Regression on the coded classes; for each part amplitude, length and noise of greatest marginal likelihood without it."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    parts, y = part_of(len(labels)), coded(labels)
    begin = ConstantKernel(1.0, (1e-2, 1e3)) * RBF(x[0].shape[1] ** 0.5, (1e-1, 1e3)) + WhiteKernel(0.1, (1e-4, 1e1))

    def fit(part: int) -> np.ndarray:
        process = GaussianProcessRegressor(begin)
        with warnings.catch_warnings():
            # A length at the edge of its range is a linear model, and no failure.
            warnings.simplefilter("ignore", ConvergenceWarning)
            process.fit(x[part][parts != part], y[parts != part])
        return decoded(process.predict(x[part][parts == part]).reshape(int((parts == part).sum()), -1))

    return fit


def coded(labels: np.ndarray) -> np.ndarray:
    """Targets (n, O): +1 and -1 for two classes (+1 the second), else 1 for the true one, less 1/O (Arora et al. 2020)."""
    classes = int(labels.max()) + 1
    if classes == 2:
        return np.where(labels == 1, 1.0, -1.0)[:, None]
    targets: np.ndarray = np.eye(classes)[labels] - 1 / classes
    return targets


def decoded(outputs: np.ndarray) -> np.ndarray:
    """The classes that outputs (..., O) stand for."""
    found: np.ndarray = (outputs[..., 0] > 0).astype(int) if outputs.shape[-1] == 1 else outputs.argmax(axis=-1)
    return found


def _bind(fit: Callable[..., np.ndarray], *choice: object) -> Fit:
    return lambda part: fit(*choice, part)
