"""Gradients of single examples with respect to one parameter, and their inner products.

A weight that acts on T positions of an example (time steps, pixels, calls of its module) has the gradient
`G = sum_t delta_t a_t^T` with inputs a and signals delta. Inner products of two such gradients follow either from G itself or
from Gram matrices over positions,

    <G, G'> = sum_ts (a_t . a'_s) (delta_t . delta'_s),

which is the rank-one rule of dense layers for T = 1 (Novak et al. 2022, section 3). `Outer.by_gram` tells which is cheaper.

    n examples    O outputs    T positions    P entries of the parameter
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

Tensor = torch.Tensor

CHUNK_BYTES = 2**25
"""Temporaries of the Gram route at a time: a size from which larger matrix products gain nothing."""

STRIPS = 8
"""Strips of a symmetric kernel, each computed from its diagonal on: 9/16 of the work of the full square."""


@dataclass(frozen=True)
class Outer:
    """The gradients `sum_t signals_t inputs_t^T` of a matrix.

    Attributes:
        inputs: (n, T, width), or the places of the ones in one-hot inputs, (n, T) integers, for a matrix (width, out).
        signals: (n, O, T, out).
        width: entries of one input.
    """

    inputs: Tensor
    signals: Tensor
    width: int

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, rows: slice) -> "Outer":
        return Outer(self.inputs[rows], self.signals[rows], self.width)

    @property
    def one_hot(self) -> bool:
        """Whether `inputs` are places."""
        return not self.inputs.is_floating_point()

    def dense(self) -> Tensor:
        """(n, O, P), entries in the order of the matrix: (out, width), or (width, out) for one-hot inputs."""
        n, outputs, positions, out = self.signals.shape
        if not self.one_hot:
            return torch.matmul(self.signals.mT, self.inputs.unsqueeze(1)).flatten(2)
        found = self.signals.new_zeros(n, outputs, self.width, out)
        places = self.inputs.view(n, 1, positions, 1).expand_as(self.signals)
        return found.scatter_add_(2, places, self.signals).flatten(2)

    def by_gram(self, rows1: int, rows2: int, outputs: int, together: bool) -> bool:
        """Whether Gram matrices take less work than dense gradients, for a kernel of that many rows and outputs.

        Counted in multiply-adds, an elementwise pass as ten; the signals here are of one output.
        """
        _, _, positions, out = self.signals.shape
        entries, squares = self.width * out, 1 if together else outputs**2
        if positions**2 * squares * self.signals.element_size() > CHUNK_BYTES:
            return False
        pairs = rows1 * rows2
        width = out * (outputs if together else 1)
        gram = pairs * positions**2 * (squares * (width + 10) + self.width)
        contraction = pairs * entries * (outputs if together else squares)
        return gram <= contraction + (rows1 + rows2) * outputs * (positions + 10) * entries


Gradient = Outer | Tensor
"""Of n examples: an `Outer`, or dense, (n, O, P)."""


def total(gradients: Sequence[Gradient]) -> Gradient:
    """The gradient of a parameter that is used several times: positions side by side where that is possible, else dense."""
    first = gradients[0]
    if len(gradients) == 1:
        return first
    if all(isinstance(g, Outer) for g in gradients):
        outers = [g for g in gradients if isinstance(g, Outer)]
        if len({g.one_hot for g in outers}) == 1:
            inputs, signals = torch.cat([g.inputs for g in outers], 1), torch.cat([g.signals for g in outers], 2)
            return Outer(inputs, signals, outers[0].width)
    return sum((dense(g) for g in gradients[1:]), dense(first))


def dense(gradient: Gradient) -> Tensor:
    """(n, O, P)."""
    return gradient.dense() if isinstance(gradient, Outer) else gradient


def add_products(kernel: Tensor, first: Gradient, second: Gradient | None, gram: bool, chunk_bytes: int = CHUNK_BYTES) -> None:
    """Add the inner products of all pairs to `kernel`, (n1, O1, n2, O2).

    Args:
        second: None for `first`; then only the upper triangle of `kernel` is right, until `mirror`.
        gram: by Gram matrices; both are `Outer` then.
        chunk_bytes: of Gram matrices at a time.
    """
    symmetric = second is None
    if gram:
        one, two = first, first if second is None else second
    else:
        one = dense(first)
        two = one if second is None else dense(second)
    for rows, columns in _chunks(kernel, _positions(one) * _positions(two) if gram else 0, symmetric, chunk_bytes):
        part, a, b = kernel[rows, :, columns], one[rows], two[columns]
        if isinstance(a, Outer) and isinstance(b, Outer):
            _add_gram(part, a, b)
        elif isinstance(a, Tensor) and isinstance(b, Tensor):
            part += torch.matmul(a.flatten(0, 1), b.flatten(0, 1).mT).view(part.shape)


def mirror(kernel: Tensor) -> None:
    """Fill the lower triangle of a symmetric kernel, (n, O, n, O), from the upper."""
    n, outputs = kernel.shape[:2]
    upper = kernel.view(n * outputs, n * outputs)
    upper.triu_()
    upper += upper.triu(1).mT.clone()


def _positions(gradient: Gradient) -> int:
    return gradient.signals.shape[2] if isinstance(gradient, Outer) else 1


def _chunks(kernel: Tensor, pairs: int, symmetric: bool, chunk_bytes: int) -> Iterator[tuple[slice, slice]]:
    """Tiles of the kernel: strips from the diagonal on if symmetric, and small enough for `pairs` pairs of positions."""
    n1, o1, n2, o2 = kernel.shape
    height, width = -(-n1 // STRIPS) if symmetric else n1, n2
    if pairs:
        entries = max(1, chunk_bytes // (kernel.element_size() * pairs * o1 * o2))
        width = min(width, entries)
        height = min(height, max(1, entries // width))
    for i in range(0, n1, height):
        for j in range(i if symmetric else 0, n2, width):
            yield slice(i, min(n1, i + height)), slice(j, min(n2, j + width))


def _add_gram(part: Tensor, one: Outer, two: Outer) -> None:
    (n1, o1, t1, _), (n2, o2, t2, _) = one.signals.shape, two.signals.shape
    inputs = _input_gram(one, two).to(part.dtype)
    signals = torch.matmul(one.signals.flatten(0, 2), two.signals.flatten(0, 2).mT)
    if o1 * t1 * o2 * t2 == 1:
        part[:, 0, :, 0].addcmul_(inputs, signals)
        return
    products = signals.view(n1, o1, t1, n2, o2, t2).mul_(inputs.view(n1, 1, t1, n2, 1, t2))
    part += products.sum((2, 5))


def _input_gram(one: Outer, two: Outer) -> Tensor:
    """Inner products of inputs, (n1 T1, n2 T2)."""
    if one.one_hot:
        return one.inputs.view(-1, 1) == two.inputs.view(1, -1)
    return torch.matmul(one.inputs.flatten(0, 1), two.inputs.flatten(0, 1).mT)
