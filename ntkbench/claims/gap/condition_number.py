"""The condition number of the NTK at initialization and what small architectures reach when trained (Chen et al. 2021, TE-NAS).

As TE-NAS has it: the kernel is that of the sum of the logits, `sum_oo' <grad f_o, grad f_o'>`, on one batch (here the training
points), weights only, from He's initialization in the standard parametrization; kappa = largest over smallest eigenvalue, mean
over three initializations. A replicate is a split of the data, with initializations of its own, of one population of
architectures, drawn at random; its one number is the rank correlation, over the population, of kappa and test accuracy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Claim, Panel
from ntkbench.claims.calls import Call, Draw, Ntk, Train
from ntkbench.claims.cases import ValidationCase
from ntkbench.claims.generalization import chosen_scores
from ntkbench.claims.ranks import spearman
from ntkbench.networks import Network
from ntkbench.seeding import rng
from ntkbench.verdicts.expectations import Paired

SOURCE = "chen2021neural, section 3.1.1"
INITIALIZATIONS = 3
"""Over which kappa is averaged."""
UNITS = {"dense": (4, 5, 6, 8, 10, 12, 16), "flatten": (1, 2), "global_average": (1, 2)}
"""Units of fully connected layers and channels of convolutional ones, by readout, in multiples of the width."""
PADDINGS: tuple[Literal["circular", "zero"], ...] = ("circular", "zero")
"""Of convolutional layers."""
DEALS = 200
"""How often the control deals condition numbers to architectures, whose correlations are averaged."""
RESOLVED = 0.1
"""Largest kappa that counts, in units of the one at which the smallest eigenvalue is rounding."""
ONE_POPULATION = "In one population of architectures drawn at random"
ANY, USEFUL = 0.1, 0.3
"""Cohen's small and medium correlations: of the expected sign at all, and of use to a search."""


class Member(NamedTuple):
    """An architecture: its family and units are a key and an entry of `UNITS`; a dense one has no padding."""

    family: str
    depth: int
    units: int
    padding: Literal["circular", "zero"] | None


@dataclass(frozen=True, kw_only=True)
class ConditionNumberCase(ValidationCase):
    """A population of architectures, the same for all seeds and widths; half of it is fully connected.

    `step` and `times` are in units of n over the largest eigenvalue of an architecture's mean kernel of one logit.

    Attributes:
        population: how many architectures are drawn at random, without repetition, from all families, units, paddings and
            depths from 1 to `depth`.
    """

    trained_by: ClassVar = "gradient descent"

    population: int
    control: Literal["dealt"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bias_variance:
            raise ValueError(f"bias_variance {self.bias_variance}: the kernel is that of the weights only, leave it out")
        if self.image is None:
            raise ValueError("image is missing: half of the population is convolutional, say the (height, width, channels)")
        for name, usual in (("specification", "fully_connected"), ("readout", "flatten"), ("padding", "circular")):
            if (value := getattr(self, name)) != usual:
                raise ValueError(f"{name} {value!r}: the population has both, leave it out")
        most = 2 * min(map(len, self._space()))
        if not 4 <= self.population <= most:
            raise ValueError(
                f"population must lie between 4 and {most} for architectures to depth {self.depth}, got {self.population}"
            )

    def _space(self) -> tuple[list[Member], list[Member]]:
        """All architectures, fully connected and convolutional."""
        depths = range(1, self.depth + 1)
        dense = [Member("dense", depth, units, None) for units in UNITS["dense"] for depth in depths]
        convolutional = [
            Member(readout, depth, units, padding)
            for readout in ("flatten", "global_average")
            for units in UNITS[readout]
            for padding in PADDINGS
            for depth in depths
        ]
        return dense, convolutional

    def drawn(self, root: int) -> tuple[Member, ...]:
        """The population of a study with this root."""
        half = self.population // 2
        found: list[Member] = []
        for name, members, size in zip(("dense", "convolutional"), self._space(), (half, self.population - half), strict=True):
            chosen = rng(root, "condition_number", name).permutation(len(members))[:size]
            found += [members[k] for k in sorted(chosen)]
        return tuple(found)

    def architecture_of(self, member: Member, width: int, outputs: int) -> Network:
        """A member's network at one width."""
        scales: dict[str, Any] = {"depth": member.depth, "output_dim": outputs, "parametrization": "standard"}
        if member.padding is None:
            return self.network(member.units * width, **scales)
        return self.architecture(member.units * width, **scales, readout=member.family, padding=member.padding)


class ConditionNumber(Claim):
    """See `statement`."""

    id: ClassVar = "gap/condition_number"
    title: ClassVar = "The NTK's condition number at initialization foretells accuracy"
    statement: ClassVar = (
        "Without any training, the condition number of the NTK at initialization ranks architectures by the test accuracy that "
        "they reach when trained: the smaller, the more accurate. Contested: kernels at initialization are said to be no "
        "reliable measure."
    )
    source: ClassVar = f"{SOURCE}; mok2022demystifying, abstract (against it)"
    reference_ids: ClassVar = ("TE-1", "MK-1")
    assumptions: ClassVar = (
        "ReLU without biases, He's initialization in the standard parametrization, kernel of the sum of the logits on the "
        "training points, mean of the condition number over three initializations. Checked: the smallest eigenvalue is well "
        "above rounding, which it is not where images are duplicates or the weights fewer than the points. All architectures "
        "are trained by gradient descent on the square loss, at the same share of their critical step, and stop where "
        "validation says."
    )
    controls: ClassVar = {
        "dealt": (
            f"the condition numbers are dealt to the architectures at random, mean of {DEALS} deals. That is near zero by "
            "arithmetic: it shows that no correlation is found where there is none, not that other numbers would rank worse"
        )
    }
    quantities: ClassVar = {
        "correlation": "rank correlation of the condition number and test accuracy over architectures",
        "correlation_dense": "the same among fully connected architectures",
        "correlation_convolutional": "the same among convolutional architectures",
        "correlation_size": "rank correlation of the number of parameters and test accuracy",
        "advantage": "minus the correlation of the condition number, less the magnitude of that of the number of parameters",
        "accuracy_spread": "largest less smallest test accuracy of the population",
        "resolution": "largest condition number, in units of the one at which the smallest eigenvalue is rounding",
    }
    expectations: ClassVar = (
        Paired(
            name="negative",
            statement=f"{ONE_POPULATION} the condition number and test accuracy are negatively correlated, by rank.",
            source=SOURCE,
            quantity="correlation",
            control="dealt",
            sign=-1,
            size=ANY,
        ),
        Paired(
            name="useful",
            statement=f"{ONE_POPULATION} the rank correlation is strong enough for a search: beyond -0.3.",
            source=SOURCE,
            quantity="correlation",
            control="dealt",
            sign=-1,
            size=USEFUL,
        ),
        Paired(
            name="useful_convolutional",
            statement=(
                f"{ONE_POPULATION} the rank correlation is beyond -0.3 among convolutional architectures alone, the family of "
                "the source."
            ),
            source=SOURCE,
            quantity="correlation_convolutional",
            control="dealt",
            sign=-1,
            size=USEFUL,
        ),
        Paired(
            name="more_than_size",
            statement=f"{ONE_POPULATION} the condition number says more of test accuracy than the number of parameters does.",
            source=f"{SOURCE} (a search by it would else be one by size)",
            quantity="advantage",
            control="dealt",
            sign=1,
            size=ANY,
        ),
    )
    limitations: ClassVar = (
        "Few, small architectures without normalization or skip connections, drawn at random but not from the cells of the "
        "source's search spaces; the same for all seeds, so that intervals speak of splits and initializations and not of "
        "other populations: of M architectures drawn at random a rank correlation has a standard error of up to 1 / sqrt(M - "
        "1), 0.26 for 16, 0.19 for 28 and, within a family of half as many, 0.38 and 0.28, which is not in the intervals. "
        "Splits are of one pool of images and overlap: intervals speak of the average over splits of this pool. Small "
        "training sets and full-batch training without tuning. Number of linear regions, the source's second measure, and "
        "kernels later in training, which the counter-claim recommends, are left out. Size is given the sign that suits it "
        "in each replicate. Sizes were settled on trials with other draws and a grid of twelve architectures. Paddings and "
        "more units joined the space after a result from a smaller one, of which a population was nearly all, had been seen; "
        "layers of twice the width, tried on another draw, were dead at an image or two, which leaves the smallest "
        "eigenvalue to rounding."
    )
    figure: ClassVar = (
        Panel(
            title="Condition number and number of parameters",
            kind="paired",
            quantities=("correlation", "correlation_size"),
            ylabel="rank correlation with accuracy",
            where={},
        ),
        Panel(
            title="Within families",
            kind="paired",
            quantities=("correlation_dense", "correlation_convolutional"),
            ylabel="rank correlation with accuracy",
            where={},
        ),
    )
    caption: ClassVar = (
        "Rank correlation of test accuracy after training, mean over replicates with intervals, by width (of which "
        "channels and units are multiples), (a) with the condition number of the NTK at initialization and with the "
        "number of parameters, over a population of architectures, (b) with the condition number within its two families. "
        "If small condition numbers made accurate networks, points would lie below the bands. Grey: condition numbers "
        "dealt to the architectures at random."
    )
    labels: ClassVar = {
        "correlation": "condition number",
        "correlation_size": "number of parameters",
        "correlation_dense": "condition number, fully connected",
        "correlation_convolutional": "condition number, convolutional",
    }
    case_type: ClassVar = ConditionNumberCase
    growth: ClassVar = {"log_kappa": 1e4, "outputs": 1e4}

    def measure(self, backend: Backend, case: ConditionNumberCase, data: data.Dataset, width: int, root: int) -> Arrays:
        # The smallest eigenvalue of a matrix of n rows is known to about n roundings of the largest.
        rounding = case.train_size * float(np.finfo(backend.precision).eps)
        kappas, outputs = [], []
        members = case.drawn(root)
        population = [case.architecture_of(member, width, data.y.shape[-1]) for member in members]
        for net in population:
            log_kappa, largest = _at_initialization(backend, net, data.x, root, rounding)
            flow = case.flow(stretch=case.train_size / largest)
            theta = net.initialize(root, range(case.seeds))
            trained = backend.train(net, theta, data.x, data.y, **flow, observe=("f_test",), x_test=data.x_test)
            kappas.append(log_kappa)
            outputs.append(trained.observed("f_test"))
        arrays = {
            "log_kappa": np.stack(kappas, axis=1),
            "outputs": np.stack(outputs, axis=1),
            "y_test": data.y_test,
            "parameters": np.tile([float(net.parameter_count) for net in population], (case.seeds, 1)),
            "dense": np.tile([member.family == "dense" for member in members], (case.seeds, 1)),
            "rounding": np.full(case.seeds, rounding),
        }
        if case.control == "dealt":
            deals = np.tile(np.arange(len(population)), (case.seeds, DEALS, 1))
            arrays["deals"] = rng(root, "dealt", case.dataset, width).permuted(deals, axis=2)
        return arrays

    def calls(self, case: ConditionNumberCase, width: int) -> tuple[Call, ...]:
        """Of the population of root 0: a study's own is drawn by its seed, which is not known here, and about as large."""
        asked: list[Call] = []
        sizes: dict[str, Any] = {"seeds": case.seeds, "points": case.train_size, "test_points": case.test_size}
        trained = partial(Train.along, case.flow(), **sizes, observe=("f_test",))
        for member in case.drawn(0):
            net = case.architecture_of(member, width, data.SOURCES[case.dataset].output_dim)
            asked += [
                Draw(INITIALIZATIONS + 1, net=net, seeds=case.seeds),
                Ntk(INITIALIZATIONS, net=net, seeds=case.seeds, rows=case.train_size, outputs="full", kept=False),
                trained(net=net),
            ]
        return tuple(asked)

    def summarize(self, case: ConditionNumberCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        kappa = arrays["log_kappa"]
        reached, _ = chosen_scores(case, arrays["outputs"], arrays["y_test"])
        if "deals" in arrays:
            kappa = np.take_along_axis(kappa[:, None], arrays["deals"], axis=2)
        else:
            kappa = kappa[:, None]
        dense = arrays["dense"][0]

        def correlation(among: np.ndarray) -> np.ndarray:
            mean: np.ndarray = spearman(kappa[..., among], reached[:, None, among]).mean(axis=1)
            return mean

        of_all, of_size = correlation(np.full(len(dense), True)), spearman(arrays["parameters"], reached)
        return {
            "correlation": of_all,
            "correlation_dense": correlation(dense),
            "correlation_convolutional": correlation(~dense),
            "correlation_size": of_size,
            "advantage": -of_all - np.abs(of_size),
            "accuracy_spread": np.ptp(reached, axis=1),
            "resolution": np.exp(arrays["log_kappa"].max(axis=1)) * arrays["rounding"],
        }

    def violations(self, case: ConditionNumberCase, summaries: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
        return [
            f"at width {width} the smallest eigenvalue of a kernel is within {1 / RESOLVED:g} times of rounding: look for "
            "duplicate images, take fewer training points, wider networks or a higher precision"
            for width, summary in summaries.items()
            if not (summary["resolution"] <= RESOLVED).all()
        ]


def _at_initialization(backend: Backend, net: Network, x: np.ndarray, root: int, rounding: float) -> tuple[np.ndarray, float]:
    """Log of the mean condition number of each seed, and the largest eigenvalue of a seed's kernel of one logit."""
    seeds = len(x)
    conditions, largest = np.empty((INITIALIZATIONS, seeds)), 0.0
    for k in range(INITIALIZATIONS):
        # The first of the initializations is the one that is trained.
        theta = net.initialize(root, range(k * seeds, (k + 1) * seeds))
        kernel = backend.ntk(net, theta, x, outputs="full")
        spectrum = np.linalg.eigvalsh(kernel.sum(axis=(-2, -1)))
        conditions[k] = spectrum[:, -1] / np.maximum(spectrum[:, 0], rounding * spectrum[:, -1])
        one = np.trace(kernel, axis1=-2, axis2=-1) / net.output_dim
        largest = max(largest, float(np.linalg.eigvalsh(one)[:, -1].max()))
    return np.log(conditions.mean(axis=0)), largest


CLAIM = ConditionNumber()
