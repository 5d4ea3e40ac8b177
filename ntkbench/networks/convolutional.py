"""Convolutional networks of 3 x 3 kernels and stride 1."""

from dataclasses import dataclass, field

from ntkbench import names
from ntkbench.networks.network import Network
from ntkbench.scalars import is_whole

KERNEL = 3
"""Side of every convolution's window, centred at its output position."""

PADDINGS = ("circular", "zero")
READOUTS = ("flatten", "global_average")


@dataclass(frozen=True)
class Convolutional(Network):
    """`depth` convolutions of `width` channels, 3 x 3 windows, stride 1, images of one size throughout, and a linear readout.

    An input row holds an image in the order (height, width, channel), as `array.reshape(n, -1)` leaves images of shape
    (n, height, width, channels). Weights of a convolution are (fan_out, fan_in) matrices, `fan_in = 9 * channels` in the order
    (row offset, column offset, channel): `z(p) = c W patch(p) + e b` with one bias per channel. Scalings as in `Network`.

    Args:
        image: (height, width, channels) of the inputs.
        width: channels of every hidden layer.
        padding: `circular`, or `zero` around the image.
        readout: `flatten`, one weight per position and channel in the order of the input; or `global_average`, one per channel,
            on the mean over positions (Novak et al. 2019; Arora et al. 2019).

    Raises:
        ValueError: naming the field, its value and what would be accepted.
    """

    image: tuple[int, int, int]
    width: int
    depth: int
    activation: str
    padding: str = "circular"
    readout: str = "flatten"
    output_dim: int = 1
    parametrization: str = "ntk"
    weight_variance: float = 1.0
    bias_variance: float = 0.0
    feature_strength: float = 1.0
    antisymmetric: bool = False
    input_dim: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sides = self.image if isinstance(self.image, tuple | list) else ()
        if len(sides) != 3 or not all(is_whole(side) and side >= 1 for side in sides):
            raise ValueError(f"image must be (height, width, channels), whole numbers of at least 1, got {self.image!r}")
        object.__setattr__(self, "image", tuple(int(side) for side in sides))
        names.check("padding", self.padding, PADDINGS)
        names.check("readout", self.readout, READOUTS)
        object.__setattr__(self, "input_dim", self.positions * self.image[2])
        self.check()

    @property
    def positions(self) -> int:
        """Pixels of an image, at each of which a convolution is applied."""
        return self.image[0] * self.image[1]

    @property
    def fans(self) -> tuple[tuple[int, int], ...]:
        """(fan_in, fan_out) of the `depth + 1` layers, readout last."""
        channels = [self.image[2], *[self.width] * (self.depth - 1)]
        readout = self.width * (self.positions if self.readout == "flatten" else 1)
        return (*((KERNEL**2 * c, self.width) for c in channels), (readout, self.output_dim))
