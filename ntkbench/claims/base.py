"""The contract of a claim: what is stated, how it is measured, what is expected.

A claim is one file in `ntkbench/claims/<family>/`. It sees a backend only through `ntkbench.backends.base.Backend`.
"""

import abc
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench.backends.base import Backend, Flow
from ntkbench.claims.calls import Call
from ntkbench.data import SOURCES, Dataset, load
from ntkbench.integrators import steps_between, tableau
from ntkbench.networks import FullyConnected
from ntkbench.verdicts.expectations import Expectation, Rate

PARAMETRIZATIONS = {"mean_field": "mean_field", "unit_rate": "standard"}
"""What controls of these kinds make of `ntk`."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One cell of a study: everything that a measurement depends on, and nothing else. Claims extend it.

    Attributes:
        dataset: name of the data source, see `ntkbench.data`.
        train_size, test_size: points drawn from it.
        input_dim: dimension of the inputs (the data source must agree).
        activation, depth, weight_variance, bias_variance, antisymmetric: of the network, see `FullyConnected`.
        widths: the sweep, increasing.
        seeds: independent initializations per width.
        control: the kind of negative control, None for a regular case; claims narrow the type to their own kinds.

    What a claim fixes for its cases:
        one_output: whether it asks for data with one output.
        test_points: whether it uses any; then there must be some.
        adjustable: fields in which a control may differ from the regular case that it resembles.
    """

    one_output: ClassVar[bool] = False
    test_points: ClassVar[bool] = False
    adjustable: ClassVar[frozenset[str]] = frozenset({"control", "widths", "seeds", "antisymmetric"})

    dataset: str
    train_size: int
    input_dim: int
    activation: str
    depth: int
    widths: tuple[int, ...]
    seeds: int
    test_size: int = 0
    weight_variance: float = 1.0
    bias_variance: float = 0.0
    antisymmetric: bool = False
    control: str | None = None

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or any(b <= a for a, b in zip(self.widths, self.widths[1:], strict=False)):
            raise ValueError(f"widths must be two or more and increase, got {list(self.widths)}")
        if self.seeds < 2:
            raise ValueError(f"seeds must be at least 2 (an interval needs a spread), got {self.seeds}")
        if self.train_size < 2:
            raise ValueError(f"train_size must be at least 2, got {self.train_size}")
        if self.test_size < 0:
            raise ValueError(f"test_size must not be negative, got {self.test_size}")
        if self.test_size > 0 and not self.test_points:
            raise ValueError(f"test_size is {self.test_size}, but the claim uses no test points: leave it out")
        if self.test_points and self.test_size < 1:
            raise ValueError(f"test_size must be at least 1, got {self.test_size}")
        source = SOURCES.get(self.dataset)
        if self.one_output and source is not None and source.output_dim != 1:
            fitting = ", ".join(name for name, known in SOURCES.items() if known.output_dim == 1)
            raise ValueError(
                f"dataset {self.dataset!r} has {source.output_dim} outputs, the claim asks for one: choose one of {fitting}"
            )
        self.network(self.widths[0])

    def load(self, root: int, **how: Any) -> Dataset:
        """The case's data: one draw of the source, which all seeds share; `how` goes to `ntkbench.data.load`."""
        how |= {"train_size": self.train_size, "test_size": self.test_size, "input_dim": self.input_dim}
        return load(self.dataset, root=root, **how)

    def network(self, width: int, **changes: Any) -> FullyConnected:
        """The case's network at one width, with fields changed where a control or several outputs ask for it."""
        fields_ = ("input_dim", "depth", "activation", "weight_variance", "bias_variance", "antisymmetric")
        given = {name: getattr(self, name) for name in fields_}
        if self.control in PARAMETRIZATIONS:
            given["parametrization"] = PARAMETRIZATIONS[self.control]
        return FullyConnected(width=width, **given | changes)

    def seeds_at(self, width: int) -> int:
        """Initializations drawn at one width."""
        return self.seeds

    def resembles(self, other: "Case") -> bool:
        """Whether they differ in adjustable fields only, so that a control speaks of the regular case's setting."""
        return all(getattr(self, f.name) == getattr(other, f.name) for f in fields(self) if f.name not in self.adjustable)

    def as_dict(self) -> dict[str, Any]:
        """Field names and plain values, for hashing and for display."""
        return {f.name: list(v) if isinstance(v := getattr(self, f.name), tuple) else v for f in fields(self)}


@dataclass(frozen=True, kw_only=True)
class TrainingCase(Case):
    """A case in which networks are trained.

    Attributes:
        step: the integrator's fixed step, units of gradient-flow time (the learning rate, for `euler`).
        times: when the trajectory is recorded, whole numbers of steps, increasing, the first after 0.
        integrator: `euler`, `rk4` or `dop853`, see `ntkbench.integrators`.
        feature_strength: of the mean-field parametrization, for controls that use it.

    What a claim fixes for its cases:
        trained_by: what it is about, where one of both alone will do.
    """

    adjustable: ClassVar = Case.adjustable | {"feature_strength"}
    trained_by: ClassVar[Literal["gradient descent", "gradient flow"] | None] = None

    step: float
    times: tuple[float, ...]
    integrator: str
    feature_strength: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        tableau(self.integrator)
        if self.trained_by is not None and (self.trained_by == "gradient descent") != (self.integrator == "euler"):
            fitting = "'euler'" if self.trained_by == "gradient descent" else "'rk4' or 'dop853'"
            raise ValueError(f"integrator {self.integrator!r}: the claim is about {self.trained_by}, choose {fitting}")
        steps_between(self.times, self.step)
        if self.times[0] <= 0:
            raise ValueError(f"times must begin after 0 (t = 0 is always recorded), got {list(self.times)}")
        if self.feature_strength != 1.0 and self.control != "mean_field":
            raise ValueError(f"feature_strength is {self.feature_strength}, which only a mean_field control uses: leave it out")
        FullyConnected(1, 1, 1, "tanh", parametrization="mean_field", feature_strength=self.feature_strength)

    def flow(self, refine: float = 1.0, stretch: float = 1.0) -> Flow:
        """The case's integration, with times and step multiplied by `stretch`, and the step divided by `refine`."""
        times = tuple(stretch * t for t in self.times)
        return {"times": times, "step": stretch * self.step / refine, "integrator": self.integrator}

    def network(self, width: int, **changes: Any) -> FullyConnected:
        """As `Case.network`; the control `mean_field` has its feature strength."""
        if self.control == "mean_field":
            changes = {"feature_strength": self.feature_strength} | changes
        return super().network(width, **changes)


Arrays = dict[str, np.ndarray]
"""What one width yields: named arrays, the seed axis first (or none, for what does not depend on the seed)."""


@dataclass(frozen=True)
class Panel:
    """One panel of the claim's figure, drawn by `ntkbench.figures` where the study has a case of it.

    Attributes:
        title: the message of the panel, a short sentence.
        kind: `rate` (quantity against width, log-log, fit and expected slope), `along` (quantity along the claim's axis,
            log-log, one line per width, or with several quantities one line for each at the largest width), `paired` (paired
            differences against width with intervals around zero), `level` (exponents against width, with the band where
            equivalence expects them), `map` (which of the quantities is smallest, over width and axis; of the first case),
            `difference` (signed quantities along the claim's axis, around zero, one line per case at its largest width, or per
            quantity and case) or `response` (the other quantities against the first, log-log, all along the claim's axis, which
            is the parameter of the curve; one line per case at its largest width).
        quantities: what is drawn, in the order of the legend.
        ylabel: with symbols in matplotlib mathtext.
        where: case fields that select the cases of the panel, as in `Expectation.where`.
        slope: the exponent drawn as the theory's line; None where each quantity has its own, that of its `Rate`.
        xlabel: of `response`, what its first quantity is; by default its name.
    """

    title: str
    kind: Literal["rate", "along", "paired", "level", "map", "difference", "response"]
    quantities: tuple[str, ...]
    ylabel: str
    where: Mapping[str, tuple[Any, ...]]
    slope: float | None = None
    xlabel: str | None = None

    @property
    def drawn(self) -> tuple[str, ...]:
        """The quantities that have lines: all, but for the one that a `response` has as its axis."""
        return self.quantities[1:] if self.kind == "response" else self.quantities

    def selects(self, case: Case) -> bool:
        """Whether the panel shows the case."""
        return all(getattr(case, name) in values for name, values in self.where.items())

    def expected_slope(self, quantity: str, case: Case, expectations: Iterable[Expectation]) -> float | None:
        """The exponent that the theory's line has for a quantity of a case: the panel's, else that of its `Rate`, if any."""
        if self.kind != "rate" or self.slope is not None:
            return self.slope
        rates = (
            e for e in expectations if isinstance(e, Rate) and not e.rival_to and e.quantity == quantity and e.applies(case)
        )
        return next((rate.exponent for rate in rates), None)


class Claim(abc.ABC):
    """One claim of the literature. Subclasses are final and have no state.

    Attributes:
        id: `<family>/<name>`, the file's place below `ntkbench/claims/`.
        title: a few words.
        statement: the claim in one or two sentences, self-contained.
        source: bib key and place of the theorem or figure.
        reference_ids: short ids of the statements that are tested, authors' initials and a number, for instance `HY-6`.
        assumptions: what the source assumes and the measurement satisfies.
        controls: kind of negative control -> what is done to break the claim.
        quantities: name -> what it is, symbols and units included.
        expectations: what is judged.
        limitations: what the measurement does not show.
        figure: panels, and what the reader should see (the caption).
        labels: quantity -> its name in a legend, of all that a panel of several draws. What is taken along the axis (`_path`)
            or the flow (`_flow`), and a power of it (`_power`), has the label of the name without this ending. Quantities of
            one label look alike.
        case_type: the dataclass of its cases.
        axis: what quantities of shape (S, T) are recorded along, as a figure's axis says it.
        growth: observable -> factor on the cross-check's base tolerance (1 where it is not named).
    """

    id: ClassVar[str]
    title: ClassVar[str]
    statement: ClassVar[str]
    source: ClassVar[str]
    reference_ids: ClassVar[tuple[str, ...]]
    assumptions: ClassVar[str]
    controls: ClassVar[Mapping[str, str]]
    quantities: ClassVar[Mapping[str, str]]
    expectations: ClassVar[tuple[Expectation, ...]]
    limitations: ClassVar[str]
    figure: ClassVar[tuple[Panel, ...]]
    caption: ClassVar[str]
    case_type: ClassVar[type[Case]]
    growth: ClassVar[Mapping[str, float]]
    axis: ClassVar[str] = "gradient-flow time t"
    labels: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if missing := [name for name in Claim.__annotations__ if not hasattr(cls, name)]:
            raise TypeError(f"claim {cls.__name__} lacks {', '.join(missing)}; `ntkbench.claims.base.Claim` says what they are")

    @classmethod
    def check_declared(cls) -> None:
        """TypeError where an expectation or a panel names a control or a quantity that the claim does not declare."""
        for expectation in cls.expectations:
            cls._check(f"expectation {expectation.name!r}", "control", [expectation.control], cls.controls)
            judged = [name for name in (expectation.quantity, expectation.control_quantity) if name]
            cls._check(f"expectation {expectation.name!r}", "quantity", judged, cls.quantities)
        for panel in cls.figure:
            cls._check(f"panel {panel.title!r}", "quantity", panel.quantities, cls.quantities)
            if len(panel.drawn) > 1:
                cls._check(f"panel {panel.title!r} of several quantities", "label", map(_unended, panel.drawn), cls.labels)
                if len(set(map(cls.label, panel.drawn))) < len(panel.drawn):
                    raise TypeError(f"claim {cls.__name__}: panel {panel.title!r} draws two quantities of one label")
        cls._check("labels", "quantity", cls.labels, dict.fromkeys(map(_unended, cls.quantities)))

    @classmethod
    def _check(cls, place: str, kind: str, given: Iterable[str], known: Iterable[str]) -> None:
        for name in given:
            if name not in known:
                raise TypeError(f"claim {cls.__name__}: {place} names {kind} {name!r}; the claim declares {', '.join(known)}")

    def prepare(self, case: Any, root: int) -> Dataset:
        """The data that both backends share, in numpy (may have a leading seed axis): those of the case, by default."""
        drawn: Dataset = case.load(root)
        return drawn

    @abc.abstractmethod
    def measure(self, backend: Backend, case: Any, data: Dataset, width: int, root: int) -> Arrays:
        """Observables of all seeds at one width. Everything in it is cross-checked elementwise between the backends."""

    @abc.abstractmethod
    def summarize(self, case: Any, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        """From the observables of one width to quantities: (S,), one scalar per seed, or (S, T) at the places `along(case)`."""

    def calls(self, case: Any, width: int) -> tuple[Call, ...] | None:
        """What `measure` asks of the backend at one width, to foretell a study's cost; None, by default, says nothing."""
        return None

    def preparation(self, case: Any) -> tuple[Call, ...]:
        """What `prepare` asks for besides the data themselves, likewise; nothing by default."""
        return ()

    @classmethod
    def label(cls, quantity: str) -> str:
        """What a quantity is called in a legend: by its label, or by its own name in words."""
        name = _unended(quantity)
        return cls.labels.get(name, name.replace("_", " "))

    def lettered(self) -> dict[str, Panel]:
        """All panels of the figure by their letters, of which a caption speaks."""
        return {chr(ord("a") + k): panel for k, panel in enumerate(self.figure)}

    def shown(self, cases: Iterable[Case]) -> dict[str, Panel]:
        """The panels that show a regular case of these, by their letters: a small study need not have cases for all."""
        regular = [case for case in cases if case.control is None]
        return {letter: panel for letter, panel in self.lettered().items() if any(map(panel.selects, regular))}

    def along(self, case: Any) -> tuple[float, ...]:
        """The places on the claim's `axis` (times, for most) of quantities of shape (S, T); none by default."""
        return ()

    def violations(self, case: Any, summaries: Mapping[int, Mapping[str, np.ndarray]]) -> list[str]:
        """Assumptions that the measurement breaks, each a sentence; they make the verdicts invalid. None by default.

        Args:
            summaries: width -> what `summarize` returned for it.
        """
        return []


def _unended(quantity: str) -> str:
    """Without the ending that says that it was recorded along the claim's axis or the flow, or is a power of these."""
    return re.sub("_(path|power|flow)$", "", quantity)
