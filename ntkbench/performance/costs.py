"""What a measurement costs, from counts: the work in each call of a backend, times how fast this machine is.

The counts follow from the sizes of the call alone. Matrix products are counted exactly (`ntkbench.performance.workloads`);
elementwise passes, array operations and the sizes of compiled programs are counted by what the algorithm cannot do without,
in rough constants, which the factors of a backend (`ENGINES`) absorb: one per kind of work, fitted once to recorded runs.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import singledispatch
from typing import Any, cast

from ntkbench.claims import calls
from ntkbench.integrators import Tableau, tableau
from ntkbench.networks import KERNEL, Convolutional, FullyConnected, Network
from ntkbench.performance import workloads
from ntkbench.performance.calibration import CACHE_BYTES, Rates
from ntkbench.performance.workloads import Workload

TURNS_PER_STREAM = 1000
"""Of a plain Python loop, that opening one named random stream takes."""
CLOSED_FORMS = ("relu", "erf", "identity")
EVALUATIONS = {True: 4, False: 100}
"""Of transcendental functions per entry and layer of a limiting kernel: in closed form, and by quadrature or series."""
UNFUSED = 250
"""Operations that limiting kernels are compiled as, one by one and for each shape, besides those of each layer."""
CONTRACTIONS = {3: 1.75, 4: 3.25}
"""Bases that a prediction without tensors contracts kernels with, by its order; recorded runs had 1 to 4."""
BASIS = 8
"""Vectors of such a basis; recorded runs had 6 to 15."""
RIGHT_HAND_SIDES = 300
"""Of one integration of a prediction; recorded ones had 250 to 490."""
CONTRACTED_PROGRAM = 150
"""Operations that one order of contracted kernels is compiled as, per layer."""
TURNS_PER_SIDE, ENTRIES_PER_TURN = 300, 200
"""Of plain Python, that a right-hand side in numpy takes, and numbers read by numpy in the time of one turn."""
WINDOW_OPERATIONS, WINDOW_PROGRAM = 20, 30
"""Operations that lay out and multiply the windows of one convolution, and that they are compiled as."""
DUAL, DUAL_PIECE = 8, 2**24
"""How many times an operation takes longer in forward mode over reverse mode, and numbers of a piece that is differentiated."""
PIECE = 2**17
"""Numbers of the maps of a convolutional network that are taken at a time, to stay in a processor's cache."""
PRODUCTS_PER_WRITE = 32
"""Multiply-adds in the time of writing a product of two positions and summing it, which decides how an NTK is made."""
TILE, TILE_ARRAYS, BETWEEN_IMAGES = 2**21, 12, 80
"""Numbers of a tile of convolutional limiting kernels, its arrays, and passes over one of them per layer, windows included."""
MACHINE, TREE, PROCESS = 280.0, 17_000.0, 110.0
"""Turns of plain Python: of a support vector machine per point, of a tree, of a Gaussian process per pair of points."""
EIGENVECTORS, CHOLESKY = 25.0, 1.0
"""Operations of a symmetric eigendecomposition and of a factorization with its checks, over the cube of the size."""


@dataclass(frozen=True)
class Work:
    """Amounts of each kind of work.

    Attributes:
        flops: of matrix products. products: matrix products, each of a batch counted.
        entries: numbers read or written. windows: laid out around positions. evaluations: of transcendental functions.
        operations: calls of an array operation. program: operations in programs that are compiled anew.
        draws: standard normals. turns: of plain Python.
    """

    flops: float = 0.0
    products: float = 0.0
    entries: float = 0.0
    windows: float = 0.0
    evaluations: float = 0.0
    operations: float = 0.0
    program: float = 0.0
    draws: float = 0.0
    turns: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def times(self, factor: float, programs: float = 1.0) -> "Work":
        """So often; what is compiled is compiled `programs` times."""
        kept = {"program": self.program * programs}
        return Work(**{f.name: getattr(self, f.name) * factor for f in fields(self)} | kept)


@dataclass(frozen=True)
class Load:
    """The work of a call, how it is split among seeds, and what it holds in memory.

    Attributes:
        work: of all seeds.
        seeds: that a call may split into blocks. held: numbers held at a time by one of them.
        given: numbers of arguments, returned: of results, all seeds; float64 in numpy.
    """

    work: Work
    seeds: int
    held: float
    given: float = 0.0
    returned: float = 0.0


def products(found: Iterable[workloads.Product]) -> Work:
    """Of matrix products."""
    found = list(found)
    return Work(
        flops=workloads.flops(found),
        products=sum(count for count, *_ in found),
        entries=workloads.entries(found),
        operations=len(found),
        program=len(found),
    )


def elementwise(entries: float, passes: float, evaluations: float = 0.0, operations: float = 0.0) -> Work:
    """Of `passes` over an array, evaluating transcendental functions at each entry."""
    return Work(entries=entries * passes, evaluations=entries * evaluations, operations=operations, program=operations)


def positions(net: Network) -> int:
    """Places at which every hidden layer is applied: the pixels of an image."""
    return net.positions if isinstance(net, Convolutional) else 1


def units(net: Network, points: int, seeds: int) -> int:
    """Entries of the hidden activations."""
    return seeds * net.copies * points * positions(net) * net.depth * net.width


def held_units(net: Network, points: int) -> int:
    """Of one network, at a time: convolutional ones take points in pieces that stay in a processor's cache."""
    found = units(net, points, 1)
    return min(found, PIECE) if isinstance(net, Convolutional) else found


def convolutions(net: Convolutional, points: int, seeds: int, first: int = 0) -> Work:
    """One pass through the convolutions from `first` on: at every position the product of its window, which is laid out before.

    A pass back, with the windows turned round, and one that makes the gradients of the weights take as much.
    """
    hidden, batch = net.fans[first:-1], seeds * net.copies
    spots = points * net.positions
    around = Work(
        windows=batch * spots * sum(fan_in for fan_in, _ in hidden),
        operations=WINDOW_OPERATIONS * net.copies * len(hidden),
        program=WINDOW_PROGRAM * len(hidden),
    )
    return around + products([(batch, spots, fan_in, fan_out) for fan_in, fan_out in hidden])


def forward(net: Network, points: int, seeds: int) -> Work:
    """The products of one pass."""
    if isinstance(net, Convolutional):
        return convolutions(net, points, seeds) + products([(seeds * net.copies, points, *net.fans[-1])])
    return products(workloads.forward(cast(FullyConnected, net), points, seeds))


def gradient(net: Network, points: int, seeds: int) -> Work:
    """Both passes, and the gradients of the weights; those of convolutions are summed point by point."""
    if isinstance(net, Convolutional):
        summed = Work(operations=net.copies * points * net.depth)
        return forward(net, points, seeds).times(2, 2) + convolutions(net, points, seeds, first=1) + summed
    return products(workloads.gradient(cast(FullyConnected, net), points, seeds))


def ntk(net: Network, rows: int, columns: int | None, seeds: int, outputs: str) -> Work:
    """Both passes and the products of every layer."""
    if isinstance(net, Convolutional):
        points = rows + (columns or 0)
        passes = forward(net, points, seeds) + convolutions(net, points * net.output_dim, seeds, first=1)
        return passes + _pairs_of_points(net, rows, columns, seeds, outputs)
    return products(workloads.ntk(cast(FullyConnected, net), rows, columns, seeds, outputs))


def _pairs_of_points(net: Convolutional, rows: int, columns: int | None, seeds: int, outputs: str) -> Work:
    """Of each convolution by the way that both backends choose: gradients of every point, or all positions of every pair."""
    out, p, batch = net.output_dim, net.positions, seeds * net.copies
    apart, together = (out, 1) if outputs == "trace" else (1, out)

    def pairs(count: int, of_point: int, inner: int) -> workloads.Product:
        return workloads.gram(count, rows * of_point, inner, None if columns is None else columns * of_point)

    written = math.prod(pairs(batch, p * together, 1))
    found = products([pairs(batch, 1, net.fans[-1][0])])
    for fan_in, fan_out in net.fans[:-1]:
        of_points = (batch * (rows + (columns or 0)) * out, fan_out, p, fan_in)
        by_gradients = products([of_points, pairs(batch * apart, together, fan_in * fan_out)])
        by_positions = products([pairs(batch, p, fan_in), pairs(batch * apart, p * together, fan_out)])
        if by_gradients.flops <= by_positions.flops + 2 * PRODUCTS_PER_WRITE * written:
            found += by_gradients
        else:
            found += by_positions + elementwise(written, 3, 0, 5)
    return found


def load(call: calls.Call) -> Load:
    """The load of one call, its `count` left aside.

    Convolutional networks are taken one seed after another: their maps fill a processor's cache.

    Raises:
        TypeError: for a call of an unknown kind.
    """
    if isinstance(call, calls.Forward | calls.Ntk | calls.Train) and isinstance(call.net, Convolutional) and call.seeds > 1:
        one = load(replace(call, seeds=1))
        return Load(one.work.times(call.seeds), 1, one.held, call.seeds * one.given, call.seeds * one.returned)
    return _load(call)


@singledispatch
def _load(call: calls.Call) -> Load:
    raise TypeError(f"no cost is known of a call of kind {type(call).__name__}")


def call_of(workload: Workload) -> calls.Call:
    """What computing it once asks of a backend."""
    net, n = workload.net, workload.points
    match workload.quantity:
        case "ntk":
            return calls.Ntk(net=net, seeds=1, rows=n, outputs="full")
        case "hierarchy":
            return calls.Hierarchy(net=net, seeds=1, points=n, order=workload.order)
        case "naive_hierarchy":
            return NaiveHierarchy(net=net, seeds=1, points=n, order=workload.order)
        case "limiting":
            return calls.LimitingKernels(net=net, rows=n)


@_load.register
def _(call: calls.Draw) -> Load:
    net, layers = call.net, len(call.net.fans)
    drawn = call.seeds * net.parameter_count
    work = Work(draws=drawn / net.copies, entries=2 * drawn, turns=TURNS_PER_STREAM * layers * call.seeds)
    return Load(work, 1, 0.0, returned=drawn)


@_load.register
def _(call: calls.Forward) -> Load:
    net = call.net
    passes = elementwise(units(net, call.points, call.seeds), 3, 1, 3 * net.depth + 2)
    given = call.seeds * net.parameter_count
    held = net.parameter_count + 2 * held_units(net, call.points) + net.copies * call.points * net.input_dim
    work = forward(net, call.points, call.seeds) + passes + _transfer(given)
    return Load(work, call.seeds, held, given, call.seeds * call.points * net.output_dim)


@_load.register
def _(call: calls.Ntk) -> Load:
    net, out = call.net, call.net.output_dim
    columns = call.rows if call.columns is None else call.columns
    points = call.rows + (call.columns or 0)
    kernel = call.rows * columns
    summed, kept = {"one": (1, 1), "trace": (out, 1), "full": (out**2, out**2)}[call.outputs]
    up = elementwise(units(net, points, call.seeds), 3, 1, 4 * net.depth + 2)
    down = elementwise(units(net, points * out, call.seeds), 3, 1, 4 * net.depth + 2)
    sums = elementwise(call.seeds * net.copies * kernel * summed, 3 * (net.depth + 1), 0, 2 * (net.depth + 1))
    given = call.seeds * net.parameter_count
    held = net.parameter_count + 2 * units(net, points * (1 + out), 1) + 4 * net.copies * kernel * kept
    made = ntk(net, call.rows, call.columns, call.seeds, call.outputs)
    return Load(made + up + down + sums + _transfer(given), call.seeds, held, given, call.seeds * kernel * kept)


@_load.register
def _(call: calls.Hierarchy) -> Load:
    net, n, order = call.net, call.points, call.order
    given = call.seeds * net.parameter_count
    returned = call.seeds * sum(n**r for r in range(2, order + 1))
    if isinstance(net, Convolutional):
        first = load(calls.Ntk(net=net, seeds=call.seeds, rows=n))
        along, held = along_directions(net, n, n, n, order, call.seeds)
        return Load(first.work + along, call.seeds, held, given, returned)
    batch, pairs = call.seeds * net.copies, n**2
    responses = elementwise(batch * pairs * net.width * net.depth, 20, 0, 20 * net.depth + 20)
    tensors = elementwise(batch * n**order, 12 * net.depth, 0, (10 + 4 * n) * net.depth)
    held = net.parameter_count + net.copies * (pairs * net.width * (net.depth + 6) + 8 * n**order)
    work = products(workloads.hierarchy(cast(FullyConnected, net), n, order, call.seeds)) + responses + tensors
    return Load(work + _transfer(given), call.seeds, held, given, returned)


def along_directions(net: Convolutional, rows: int, points: int, k: int, order: int, seeds: int = 1) -> tuple[Work, float]:
    """Kernels contracted with k vectors by forward mode, and the numbers that one network holds.

    The innermost derivative takes gradients of every point, which it contracts with the vectors and multiplies; each order
    above it takes that and its tangent, along each of the k directions. Both backends cut points and directions to the budget.
    """
    spots, batch, weights = points if rows == points else rows + points, seeds * net.copies, net.parameter_count // net.copies
    once = gradient(net, spots, seeds) + products([(batch, k, points, weights), (batch, rows, weights, k)])
    once += elementwise(units(net, spots, seeds), 6, 2, 8 * net.depth + 4)
    tangents = sum((2 * k) ** r for r in range(1, order - 1))
    nested = 2 ** (order - 2)
    alive = (2 * min(k, BASIS)) ** (order - 2) * (units(net, spots, 1) + (k + 2) * net.parameter_count)
    held = min(alive, DUAL_PIECE) + 4 * net.copies * rows * k ** (order - 1)
    return replace(once.times(tangents, nested), operations=DUAL * nested * once.operations), held


@dataclass(frozen=True, kw_only=True)
class NaiveHierarchy(calls.Call):
    """K_order at `points` by nested forward mode; no measurement asks for it, only a curve."""

    net: FullyConnected
    seeds: int
    points: int
    order: int


@_load.register
def _(call: NaiveHierarchy) -> Load:
    """The last of the nested derivatives, which outweighs the others: `2^(r-1)` terms along each of `n^(r-1)` tangents."""
    net, tangents = call.net, call.seeds * call.points ** (call.order - 1)
    terms = 2 ** (call.order - 1)
    passes = products(workloads.forward(net, call.points, terms * tangents))
    weights = elementwise(terms * tangents * net.parameter_count, 2, 0, 25 * terms * net.depth)
    held = terms * call.points ** (call.order - 1) * (net.parameter_count + units(net, call.points, 1))
    given = call.seeds * net.parameter_count
    return Load(passes + weights + _transfer(given), call.seeds, held, given, call.seeds * call.points**call.order)


@_load.register
def _(call: calls.Train) -> Load:
    net, method = call.net, tableau(call.integrator)
    stages, passes = len(method.weights), _state_passes(method)
    layers = len(net.fans)
    stage = gradient(net, call.points, call.seeds)
    stage += elementwise(units(net, call.points, call.seeds), 6, 1, 4 * layers + 5)
    state = elementwise(call.seeds * net.parameter_count, passes, 0, stages)
    given = call.seeds * net.parameter_count
    programs = _programs(method, net.parameter_count)
    step = (stage.times(stages, programs) + state.times(1, programs / stages)).times(call.steps)
    held = (stages + 4) * net.parameter_count + 5 * held_units(net, call.points)
    looks = _observations(call)
    work = sum((look.work for look in looks), step + _transfer(given)).times(1)
    returned = sum(look.returned for look in looks)
    return Load(work, call.seeds, max([held, *(look.held for look in looks)]), given, returned)


def _observations(call: calls.Train) -> list[Load]:
    """Of each observable, at all recorded times."""
    shared: dict[str, Any] = {"net": call.net, "seeds": call.seeds}
    parameters = call.seeds * call.net.parameter_count
    known: Mapping[str, Callable[[], Load]] = {
        "f": lambda: load(calls.Forward(**shared, points=call.points)),
        "f_test": lambda: load(calls.Forward(**shared, points=call.test_points)),
        "K2": lambda: load(calls.Ntk(**shared, rows=call.points)),
        "movement": lambda: Load(elementwise(parameters, 4, 0, 4), call.seeds, 0.0),
        "theta": lambda: Load(elementwise(parameters, 2, 0, 2), call.seeds, call.net.parameter_count, returned=parameters),
    }
    found = [known[name]() for name in call.observe]
    return [Load(one.work.times(call.records), one.seeds, one.held, one.given, one.returned * call.records) for one in found]


@_load.register
def _(call: calls.IntegrateHierarchy) -> Load:
    n, p, seeds, method = call.points, call.order, call.seeds, tableau(call.integrator)
    state = sum(n**r for r in range(1, p))
    stages, arrays = len(method.weights), p - 1
    stage = products([(seeds, n ** (r - 1), n, 1) for r in range(2, p + 1)]) + elementwise(0, 0, 0, 4 * arrays)
    sums = elementwise(seeds * state, 3 * _terms(method), 0, 2 * _terms(method) * arrays)
    programs = _programs(method, state)
    work = (stage.times(stages, programs) + sums.times(1, programs / stages)).times(call.steps)
    kernels = seeds * sum(n**r for r in range(2, p + 1))
    held = (stages + 4) * state + n**p
    return Load(work, seeds, held, kernels, seeds * call.records * (n + n * n))


@_load.register
def _(call: calls.Predict) -> Load:
    """From an antisymmetric start K3 vanishes, and order 3 is done with the first basis."""
    net, k = call.net, BASIS
    n, rows = call.points * net.output_dim, call.rows * net.output_dim
    orders = [p for p in range(3, call.order + 1) if p > 3 or not net.antisymmetric]
    work, held, returned = Work(), 0.0, 0.0
    for p in orders:
        contract = along_directions if isinstance(net, Convolutional) else contraction
        contracted, needed = contract(cast(Any, net), call.rows, call.points, k, p)
        read = rows * (n + k ** (p - 1))
        sides = 2 * CONTRACTIONS[p] * RIGHT_HAND_SIDES
        integrated = Work(turns=sides * (TURNS_PER_SIDE + read / ENTRIES_PER_TURN))
        work += contracted.times(CONTRACTIONS[p]) + integrated
        held, returned = max(held, needed), rows * k ** (p - 1)
    given = call.seeds * net.parameter_count
    return Load(work.times(call.seeds), 1, held, given, returned)


def contraction(net: FullyConnected, rows: int, points: int, k: int, order: int) -> tuple[Work, float]:
    """Of kernels of one network with k basis vectors, and the numbers held: `k^(order-2)` directions through all points.

    Per direction: its change of the weights, which is within the span of the points in the first layer, and the responses of
    points and rows to it; their Gram products, which are summed over the points; and products with the rows' k responses.
    """
    m, outputs, inner, span = net.width, net.output_dim, net.depth - 1, min(net.input_dim, points)
    along = net.copies * sum(k**r for r in range(1, order - 1))
    n, signals = points * outputs, rows * outputs
    made = products(
        [
            (along, m, points, span),
            (along, rows + points, span, m),
            *([(along * inner, m, n, m), (2 * along * inner, signals + 2 * n, m, m)] if inner else []),
            (along * (net.depth + inner), signals, m, n),
            (along, signals, n, k),
            (along * net.depth, signals, m, k),
        ]
    )
    responses = elementwise(along * (signals + n) * m * net.depth, 4)
    grams = elementwise(along * signals * n, 12 * (net.depth + inner))
    small = Work(products=net.copies * net.depth * signals * k ** (order - 2), operations=k * (30 * net.depth + 10))
    held = k ** (order - 2) * net.parameter_count + k * (signals + n) * m * net.depth * 4
    return made + responses + grams + small + Work(program=CONTRACTED_PROGRAM * (net.depth + 1) * (order - 2)), held


@_load.register
def _(call: calls.LimitingKernels) -> Load:
    net, columns = call.net, call.rows if call.columns is None else call.columns
    kernel = call.rows * columns
    each = EVALUATIONS[net.activation in CLOSED_FORMS]
    if isinstance(net, Convolutional):
        return Load(_between_images(net, call.rows, call.columns, each), 1, PIECE, 0.0, 2 * kernel)
    layers = elementwise(kernel, 20 * net.depth, each * net.depth, 20 * net.depth + 10) + Work(program=UNFUSED)
    made = products(workloads.limiting(cast(FullyConnected, net), call.rows, columns))
    return Load(made + layers, 1, 16 * kernel, 0.0, 2 * kernel)


def _between_images(net: Convolutional, rows: int, columns: int | None, each: float) -> Work:
    """In tiles of images: an entry per position, of one displacement to flatten and of each to average over positions."""
    height, width, channels = net.image
    frame = int(net.padding == "zero")
    places = (height + frame) * (width + frame)
    displacements = places if net.readout == "global_average" else 1
    side = max(1, math.isqrt(TILE // (TILE_ARRAYS * places)))
    parts = -(-rows // side), -(-(columns or rows) // side)
    tiles = parts[0] * parts[1] if columns is not None else parts[0] * (parts[0] + 1) // 2
    pairs = rows * (columns or rows) * tiles / (parts[0] * parts[1])
    passes = BETWEEN_IMAGES * net.depth + (6 * KERNEL**2 * channels if net.activation == "relu" else 0)
    operations = 60 * net.depth * tiles * displacements
    entries = elementwise(pairs * places * displacements, passes, each * net.depth)
    return entries + Work(operations=operations, program=UNFUSED * net.depth)


@_load.register
def _(call: calls.Solve) -> Load:
    n, batch = call.points, call.batch
    work = Work(flops=batch * (CHOLESKY * n**3 + 2 * n**2 * call.sides), operations=10 + 4 * batch, program=UNFUSED / 4)
    return Load(work, batch, 3 * n * n + 2 * n * call.sides, batch * n * n, batch * n * call.sides)


@_load.register
def _(call: calls.KernelDescent) -> Load:
    n, batch, moved = call.points, call.batch, call.outputs * call.records
    work = Work(flops=batch * EIGENVECTORS * n**3, operations=20 + 4 * batch, program=UNFUSED / 2)
    work += products([(batch, n, n, moved), (batch, n, n, moved), (batch, call.test_points, n, moved)])
    held = 4 * n * n + call.test_points * n + 2 * moved * (n + call.test_points)
    returned = batch * moved * (n + call.test_points)
    return Load(work, batch, held, batch * n * (n + call.test_points), returned)


@_load.register
def _(call: calls.Fit) -> Load:
    n = call.points
    return Load(Work(turns=call.machines * MACHINE * n + call.trees * TREE + PROCESS * n**2), 1, 0.0)


def _transfer(given: float) -> Work:
    """Numbers copied from numpy to the framework."""
    return Work(entries=2 * given)


FEW_STAGES, LARGE_STATE = 4, 2**16
"""What `ntkbench.backends.jax.stepping` decides by, said again since no framework is imported here."""


def _programs(method: Tableau, state: int) -> int:
    """Stages of one step that are compiled: a loop has one; blocks of several seeds are small wherever a seed's state is."""
    return len(method.weights) if len(method.weights) <= FEW_STAGES or state >= LARGE_STATE else 1


def _terms(method: Tableau) -> int:
    """Slopes that the sums of one step add up."""
    return sum(1 for row in (*method.stages, method.weights) for coefficient in row if coefficient != 0)


def _state_passes(method: Tableau) -> int:
    """Passes over the state in one step: each sum reads the state and slopes and writes a point; each slope is written."""
    return _terms(method) + 3 * len(method.weights)


FLOAT64 = 8
"""Bytes of a number in numpy."""


@dataclass(frozen=True)
class Engine:
    """A backend, as far as its cost goes.

    Attributes:
        factors: kind of work (a field of `Work`) -> its cost in units of this machine's yardstick for it; that of operations
            and programs is a turn of plain Python.
        activations: name -> evaluations that an activation and its derivative count as, 1 for those that are not named.
        block_bytes: of temporaries that one block of seeds may hold, None for the study's budget.
        startup: of a process that imports the framework and starts it, in turns of plain Python.
        resident: bytes of such a process, before it measures anything.
    """

    factors: Mapping[str, float]
    activations: Mapping[str, float]
    block_bytes: int | None
    startup: float
    resident: int

    def blocks(self, load: Load, itemsize: int, budget: int) -> int:
        """Into which a call cuts its seeds."""
        room = min(budget, self.block_bytes or budget)
        return min(load.seeds, max(1, math.ceil(load.seeds * load.held * itemsize / room)))


ENGINES: dict[str, Engine] = {
    "torch": Engine(
        factors={
            "flops": 1.7,
            "products": 3.6,
            "entries": 2.1,
            "windows": 4.0,
            "evaluations": 0.75,
            "operations": 78.0,
            "program": 0.0,
            "draws": 1.0,
            "turns": 1.0,
        },
        activations={"erf": 2.5, "softplus": 5.0, "gelu": 8.0},
        block_bytes=None,
        startup=6e7,
        resident=380 * 2**20,
    ),
    "jax": Engine(
        factors={
            "flops": 2.2,
            "products": 42.0,
            "entries": 0.3,
            "windows": 10.0,
            "evaluations": 0.5,
            "operations": 7.0,
            "program": 120_000.0,
            "draws": 1.0,
            "turns": 1.0,
        },
        activations={"erf": 20.0, "softplus": 20.0, "gelu": 10.0},
        block_bytes=2**22,
        startup=3.5e7,
        resident=430 * 2**20,
    ),
}
"""Factors fitted to recorded runs of the smoke and the default study on one thread of a CPU, float64."""


def yardsticks(engine: Engine, load: Load, rates: Rates, itemsize: int, budget: int) -> dict[str, float]:
    """Kind of work -> seconds at this machine's yardstick for it, before the backend's factors."""
    blocks, work = engine.blocks(load, itemsize, budget), load.work
    together = itemsize * load.held * load.seeds / blocks
    byte = rates.byte_cached if together <= CACHE_BYTES else rates.byte_streamed
    return {
        "flops": work.flops * rates.flop,
        "products": work.products * rates.product,
        "entries": work.entries * itemsize * byte,
        "windows": work.windows * itemsize * rates.byte_cached,
        "evaluations": work.evaluations * rates.evaluation,
        "operations": work.operations * blocks * rates.interpreter,
        "program": work.program * rates.interpreter,
        "draws": work.draws * rates.draw,
        "turns": work.turns * rates.interpreter,
    }


def seconds(engine: Engine, by_width: Iterable[Sequence[calls.Call]], rates: Rates, itemsize: int, budget: int) -> list[float]:
    """Of the calls at each width, in one process: what was compiled for an earlier one is not compiled again."""
    compiled: set[calls.Call] = set()
    found = []
    for asked in by_width:
        parts = [amounts(engine, call, rates, itemsize, budget, compiled) for call in asked]
        found.append(math.fsum(engine.factors[kind] * part for of_call in parts for kind, part in of_call.items()))
    return found


def amounts(
    engine: Engine, call: calls.Call, rates: Rates, itemsize: int, budget: int, compiled: set[calls.Call]
) -> dict[str, float]:
    """As `yardsticks`, of all equal calls; adds to what has been compiled."""
    parts = yardsticks(engine, load(call), rates, itemsize, budget)
    program = replace(call, count=1)
    if not isinstance(call, calls.LimitingKernels):
        parts["evaluations"] *= engine.activations.get(getattr(getattr(call, "net", None), "activation", ""), 1.0)
    if isinstance(program, calls.LimitingKernels):
        net = cast(FullyConnected | Convolutional, program.net)
        program = replace(program, net=replace(net, width=1))  # at infinite width all are the same
    again = program in compiled
    compiled.add(program)
    return {kind: part * call.count if kind != "program" else 0.0 if again else part for kind, part in parts.items()}


def in_python(asked: Iterable[calls.Call], rates: Rates) -> float:
    """Seconds of calls that no backend sees."""
    return rates.interpreter * math.fsum(load(call).work.turns * call.count for call in asked)


def memory(engine: Engine, by_width: Iterable[Sequence[calls.Call]], itemsize: int, budget: int) -> int:
    """Bytes that the process holds at most: parameters and results in numpy, and a backend's blocks of the largest call."""
    kept, most = 0.0, 0.0
    for asked in by_width:
        loads = [(call, load(call)) for call in asked]
        drawn = [
            FLOAT64 * one.returned if not call.in_blocks else min(FLOAT64 * one.returned, budget)
            for call, one in loads
            if isinstance(call, calls.Draw)
        ]
        working = [itemsize * one.held * one.seeds / engine.blocks(one, itemsize, budget) for _, one in loads]
        results = [(call, FLOAT64 * one.returned) for call, one in loads if not isinstance(call, calls.Draw)]
        reduced = [size for call, size in results if isinstance(call, calls.Ntk) and not call.kept]
        kept += sum(size * call.count for call, size in results if not isinstance(call, calls.Ntk) or call.kept)
        passing = max(reduced, default=0.0)
        most = max(most, max(drawn, default=0.0) + max(working) + 2 * (kept + passing))
    return engine.resident + int(most)
