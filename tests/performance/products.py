"""The matrix products that each primitive cannot do without: its roofline, as `Backend.matrix_products` takes them.

Those of fully connected networks are `ntkbench.performance.workloads`'; here is what only benchmarks ask for. A shape is
(count, rows, inner, columns). They are counted from the algorithm on paper, one triangle of a symmetric kernel and otherwise
without savings of symmetry, and change only when the algorithm on paper does: a stored run is compared by them. Elementwise
work is in none of them.
"""

from collections.abc import Sequence

from ntkbench.networks import Convolutional, FullyConnected
from ntkbench.performance import workloads
from ntkbench.performance.workloads import flops, gram
from tests.performance.workloads import Workload

Shape = tuple[int, int, int, int]
Shapes = list[Shape]


def times(count: int, shapes: Sequence[Shape]) -> Shapes:
    """Everything that many times."""
    return [(count * c, *rest) for c, *rest in shapes]  # type: ignore[misc]


def ntk(w: Workload, outputs: str = "one") -> Shapes:
    """Of a convolutional network the passes, per convolution the cheaper of two routes, and the readout's inputs."""
    net = w.net
    if isinstance(net, FullyConnected):
        return workloads.ntk(net, w.n, seeds=w.seeds, outputs=outputs)
    assert isinstance(net, Convolutional)
    (*convolutions, (features, _)), pixels = net.fans, w.n * net.positions
    forward = [(pixels, *fans) for fans in convolutions] + [(w.n, *net.fans[-1])]
    backward = [(net.output_dim * pixels, fan_out, fan_in) for fan_in, fan_out in convolutions[1:]]
    found = [*((1, *shape) for shape in (*forward, *backward)), gram(1, w.n, features)]
    for fans in convolutions:
        found += _convolution(net, w.n, *fans)
    return times(w.seeds, found)


def _convolution(net: Convolutional, n: int, fan_in: int, fan_out: int) -> Shapes:
    """Per-example gradients and their Gram matrix, or Gram matrices over all pairs of positions."""
    positions = net.positions
    gradients = [(n, fan_out, positions, fan_in), gram(1, n, fan_out * fan_in)]
    pairs = [gram(1, n * positions, fan) for fan in (fan_in, fan_out)]
    return min(gradients, pairs, key=flops)


def hierarchy(w: Workload, order: int) -> Shapes:
    """Of fully connected networks."""
    assert isinstance(w.net, FullyConnected)
    return workloads.hierarchy(w.net, w.n, order, w.seeds)


def contracted(w: Workload, k: int, order: int) -> Shapes:
    """The directions' weight matrices, the responses of every point along them, and their inner products.

    Order 4 adds the directions' own change along one another, which is again of the size of the weights.
    """
    found = ntk(w)
    for fan_in, fan_out in w.net.fans[: w.net.depth]:
        found += [(k, fan_out, w.n, fan_in), (4 * k, w.n, fan_in, fan_out), (2 * w.n, k, fan_out, k)]
        if order == 4:
            found += [(2 * k**2, fan_out, w.n, fan_in), (k**2, w.n, fan_in, fan_out)]
    return found


def training(w: Workload, gradients: int) -> Shapes:
    """Of fully connected networks."""
    assert isinstance(w.net, FullyConnected)
    return times(gradients, workloads.gradient(w.net, w.n, w.seeds))


def limiting(w: Workload) -> Shapes:
    """Inner products of the inputs; for images those of positions, all pairs of them where the readout averages."""
    net = w.net
    if not isinstance(net, Convolutional):
        return [gram(1, w.n, net.input_dim)]
    if net.readout == "flatten":
        return [gram(net.positions, w.n, net.image[2])]
    return [gram(1, w.n * net.positions, net.image[2])]


def solve(n: int, columns: int) -> Shapes:
    """A Cholesky factor costs as much as a product with an inner dimension of n / 6; two triangular solves."""
    return [(1, n, n // 6, n), (1, n, n, columns)]
