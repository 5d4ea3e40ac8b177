"""What cases of several claims have: nested training sets, networks of other architectures, splits of real data."""

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, ClassVar, Literal

from ntkbench import names
from ntkbench.claims.base import Case, TrainingCase
from ntkbench.data import SOURCES, Dataset
from ntkbench.networks import SPECIFICATIONS, Convolutional, FullyConnected, Network


@dataclass(frozen=True, kw_only=True)
class NestedCase(TrainingCase):
    """A case of several numbers of training points, the smaller sets nested in the larger.

    Attributes:
        smaller: numbers of training points below `train_size`, increasing; each takes the first points of one draw.
    """

    smaller: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.smaller or self.smaller[0] < 2 or any(b <= a for a, b in pairwise(self.sizes)):
            raise ValueError(f"smaller must increase from at least 2 to below {self.train_size}, got {list(self.smaller)}")

    @property
    def sizes(self) -> tuple[int, ...]:
        """All numbers of training points."""
        return (*self.smaller, self.train_size)


@dataclass(frozen=True, kw_only=True)
class SpecifiedCase(Case):
    """A case of fully connected networks, or of others of the same sizes.

    Attributes:
        specification: which networks, a name of `ntkbench.networks.SPECIFICATIONS`.
    """

    specification: str = "fully_connected"

    def __post_init__(self) -> None:
        names.check("specification", self.specification, SPECIFICATIONS)
        super().__post_init__()

    def architecture(self, width: int, **changes: Any) -> Network:
        """The case's network at one width: `network`, or what has its sizes and scalings."""
        dense = self.network(width, **changes)
        return SPECIFICATIONS[self.specification](**{f.name: getattr(dense, f.name) for f in fields(dense)})


@dataclass(frozen=True, kw_only=True)
class ArchitectureCase(SpecifiedCase, TrainingCase):
    """A case of such networks or, where there is an image, of convolutional ones.

    Attributes:
        image: (height, width, channels) of the inputs of convolutional networks; None for others.
        readout, padding: of convolutional networks, see `Convolutional`.
    """

    image: tuple[int, int, int] | None = None
    readout: Literal["flatten", "global_average"] = "flatten"
    padding: Literal["circular", "zero"] = "circular"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, usual in (("readout", "flatten"), ("padding", "circular")):
            if self.image is None and (value := getattr(self, name)) != usual:
                raise ValueError(f"{name} {value!r} is of convolutional networks: say the image's (height, width, channels)")
        if self.image is not None and self.specification != "fully_connected":
            raise ValueError(f"specification {self.specification!r} has no image, which makes networks convolutional")
        if (found := self.architecture(self.widths[0]).input_dim) != self.input_dim:
            raise ValueError(f"image {list(self.image or ())} has {found} numbers, input_dim is {self.input_dim}")

    def architecture(self, width: int, **changes: Any) -> Network:
        """As the base, or the convolutional network of the image; changes may be of its readout and padding."""
        if self.image is None:
            return super().architecture(width, **changes)
        form = {name: changes.pop(name, getattr(self, name)) for name in ("readout", "padding")}
        dense = self.network(width, **changes)
        own = {f.name: getattr(dense, f.name) for f in fields(dense) if f.name != "input_dim"}
        return Convolutional(self.image, **form, **own)


@dataclass(frozen=True, kw_only=True)
class SplitCase(TrainingCase):
    """Networks on real data, every seed with a split of its own."""

    test_points: ClassVar = True

    def __post_init__(self) -> None:
        super().__post_init__()
        source = SOURCES.get(self.dataset)
        # Of an unknown one the configuration speaks.
        if source is not None and source.size is None:
            real = ", ".join(name for name, known in SOURCES.items() if known.size is not None)
            raise ValueError(f"dataset {self.dataset!r} is synthetic, the claim is about real data: choose one of {real}")

    def load(self, root: int, **how: Any) -> Dataset:
        """A split for each seed."""
        return super().load(root, splits=self.seeds, **how)


@dataclass(frozen=True, kw_only=True)
class ValidationCase(SplitCase, ArchitectureCase):
    """Networks, and what they are compared with, of which validation points choose one candidate (`generalization.chosen`).

    Attributes:
        validation_size: how many of the `test_size` held-out points, the first of them, are for the choice of candidates; the
            rest are for the result alone.
    """

    validation_size: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.validation_size < self.test_size:
            raise ValueError(
                f"validation_size must be at least 1 and below test_size {self.test_size} (the rest are the test points), got "
                f"{self.validation_size}"
            )


@dataclass(frozen=True, kw_only=True)
class StrengthCase(ValidationCase):
    """Networks in the NTK parametrization or, with a `strength`, in the mean-field one.

    Attributes:
        strength: feature strength of the mean-field parametrization; None for the NTK parametrization.
    """

    strength: float | None = None

    def network(self, width: int, **changes: Any) -> FullyConnected:
        """As `Case.network`; a `strength` makes it mean-field."""
        if self.strength is not None:
            changes = {"parametrization": "mean_field", "feature_strength": self.strength} | changes
        return super().network(width, **changes)
