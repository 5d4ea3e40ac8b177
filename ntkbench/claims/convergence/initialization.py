"""The NTK at initialization converges to the limiting kernel (Jacot et al. 2018, Theorem 1)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Case, Claim, Panel
from ntkbench.claims.calls import Call, Draw, LimitingKernels, Ntk
from ntkbench.claims.cases import SpecifiedCase
from ntkbench.verdicts.expectations import Rate

CORRELATION = 0.5
"""Of the incoming weights of two units of one layer, in the control."""

PILOT_WIDTH = 8
PILOT_SEEDS = 8192
"""The separate networks from which the direction of the bias is estimated."""


@dataclass(frozen=True, kw_only=True)
class InitializationCase(SpecifiedCase):
    """Adds which statistic the case resolves.

    Attributes:
        statistic: `fluctuation` of single kernels, or `bias` of their mean, which falls faster and is buried in the
            fluctuation unless seeds grow with the width: its relative standard error goes as sqrt(width / seeds).
        seeds_per_width: seeds at width m are max(seeds, seeds_per_width * m).
    """

    adjustable: ClassVar = Case.adjustable | {"seeds_per_width"}

    statistic: Literal["fluctuation", "bias"] = "fluctuation"
    seeds_per_width: int = 0
    control: Literal["correlated_weights"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seeds_per_width < 0:
            raise ValueError(f"seeds_per_width must not be negative, got {self.seeds_per_width}")
        if self.statistic == "bias" and self.depth < 2:
            raise ValueError(
                f"depth {self.depth} has no bias (one hidden layer is a mean over independent units): take depth 2 or more"
            )

    def seeds_at(self, width: int) -> int:
        """Initializations drawn at one width."""
        return max(self.seeds, self.seeds_per_width * width)


class Initialization(Claim):
    """See `statement`."""

    id: ClassVar = "convergence/initialization"
    title: ClassVar = "The NTK converges at initialization"
    statement: ClassVar = (
        "As the width m grows, the NTK of a randomly initialized network converges to a deterministic limiting kernel: "
        "the fluctuation of a single network's kernel falls as m^(-1/2), the bias of the mean kernel as 1/m."
    )
    source: ClassVar = "jacot2018neural, Theorem 1"
    reference_ids: ClassVar = ("JG-2",)
    assumptions: ClassVar = (
        "NTK parametrization, independent Gaussian weights, Lipschitz activation, fixed depth. The theorem states convergence "
        "in probability for sequential widths and gives no rate; the rates follow from the central limit theorem and the "
        "expansion in 1/m."
    )
    controls: ClassVar = {
        "correlated_weights": (
            f"the incoming weights of the units of a hidden layer share a common part (correlation {CORRELATION}), so that a "
            "layer no longer averages over independent units"
        )
    }
    quantities: ClassVar = {
        "deviation": "|K2 - K2_limit|_F / |K2_limit|_F on the training points, one network",
        "bias": (
            "component of (K2 - K2_limit) / |K2_limit|_F along the direction in which mean and limit are told apart best "
            f"(Fisher's discriminant, unit norm, from {PILOT_SEEDS} separate networks of width {PILOT_WIDTH}), signed; its "
            "mean over networks is the bias"
        ),
    }
    expectations: ClassVar = (
        Rate(
            name="fluctuation",
            statement="The deviation of one network's NTK from the limiting kernel falls as m^(-1/2).",
            source="jacot2018neural, Theorem 1 (rate: central limit theorem)",
            quantity="deviation",
            control="correlated_weights",
            where={"statistic": ("fluctuation",)},
            exponent=-0.5,
            margin=0.05,
        ),
        Rate(
            name="bias",
            statement="The bias of the mean NTK falls as 1/m.",
            source="jacot2018neural, Theorem 1 (rate: expansion in 1/m)",
            quantity="bias",
            control="correlated_weights",
            where={"statistic": ("bias",)},
            exponent=-1.0,
            margin=0.2,
            aggregate="mean",
        ),
    )
    limitations: ClassVar = (
        "One draw of the data per case; fully connected networks, some with skips; the bias is measured along one direction, "
        "and needs at least two hidden layers (with one the mean kernel equals the limit exactly). For tanh and erf the bias "
        "is resolved at a weight variance of 4: at 1 it is about a tenth of that, below what these numbers of networks resolve."
    )
    figure: ClassVar = (
        Panel(
            title="One network's kernel: fluctuation",
            kind="rate",
            quantities=("deviation",),
            ylabel=r"$\|K_2 - K_2^\infty\|_F\,/\,\|K_2^\infty\|_F$",
            where={"statistic": ("fluctuation",)},
            slope=-0.5,
        ),
        Panel(
            title="Mean over networks: bias",
            kind="rate",
            quantities=("bias",),
            ylabel=r"$|\mathrm{mean}\,\langle K_2 - K_2^\infty, v\rangle|\,/\,\|K_2^\infty\|_F$",
            where={"statistic": ("bias",)},
            slope=-1.0,
        ),
    )
    caption: ClassVar = (
        "(a) Deviation of a single network's kernel from the limiting kernel, by activation, depth and data set; the line "
        "falls as the square root of the width. (b) Deviation of the mean over many networks; the line falls twice as "
        "fast in the exponent. Grey: the negative control, networks with correlated initial weights."
    )
    case_type: ClassVar = InitializationCase
    growth: ClassVar = {"direction": 1e4}

    def measure(self, backend: Backend, case: InitializationCase, data: data.Dataset, width: int, root: int) -> Arrays:
        _, limit = backend.limiting_kernels(case.architecture(width), data.x)
        arrays = {"K2": _kernels(backend, case, width, range(case.seeds_at(width)), data.x, root), "K2_limit": limit}
        if case.statistic == "bias":
            # Negative seeds: the pilot must share no network with the measurement, or its noise would enter the bias.
            pilot = _kernels(backend, case, PILOT_WIDTH, range(-PILOT_SEEDS, 0), data.x, root)
            arrays["direction"] = _discriminant(pilot - limit)
        return arrays

    def calls(self, case: InitializationCase, width: int) -> tuple[Call, ...]:
        n = case.train_size
        sampled = [(case.architecture(width), case.seeds_at(width))]
        if case.statistic == "bias":
            sampled.append((case.architecture(PILOT_WIDTH), PILOT_SEEDS))
        drawn: list[Call] = []
        for net, seeds in sampled:
            drawn += [Draw(net=net, seeds=seeds, in_blocks=True), Ntk(net=net, seeds=seeds, rows=n)]
        return (LimitingKernels(net=case.architecture(width), rows=n), *drawn)

    def summarize(self, case: InitializationCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        difference = (arrays["K2"] - arrays["K2_limit"]) / np.linalg.norm(arrays["K2_limit"])
        summary = {"deviation": np.linalg.norm(difference, axis=(1, 2))}
        if case.statistic == "bias":
            summary["bias"] = np.einsum("sab,ab->s", difference, arrays["direction"])
        return summary


def _kernels(backend: Backend, case: InitializationCase, width: int, seeds: range, x: np.ndarray, root: int) -> np.ndarray:
    """Kernels of many networks, drawn and measured in blocks: thousands of them do not fit into memory at once."""
    net = case.architecture(width)
    correlation = CORRELATION if case.control == "correlated_weights" else 0.0
    blocks = backend.seed_blocks(len(seeds), bytes_per_seed=8 * net.parameter_count)
    return np.concatenate([backend.ntk(net, net.initialize(root, seeds[block], correlation), x) for block in blocks])


def _discriminant(differences: np.ndarray) -> np.ndarray:
    """Fisher's direction `covariance^-1 mean` of symmetric matrices (S, n, n), as a matrix (n, n) of unit Frobenius norm."""
    n = differences.shape[-1]
    upper = np.triu_indices(n)
    entries = differences[:, *upper]
    direction = np.zeros((n, n))
    direction[upper] = np.linalg.solve(np.cov(entries.T), entries.mean(axis=0))
    direction = (direction + direction.T) / 2
    return direction / np.linalg.norm(direction)


CLAIM = Initialization()
