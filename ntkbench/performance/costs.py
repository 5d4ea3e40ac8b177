"""What a measurement costs, from counts: the work in each call of a backend, times how fast this machine is.

The counts follow from the sizes of the call alone. Matrix products are counted exactly (`ntkbench.performance.workloads`);
elementwise passes, array operations and the sizes of compiled programs are counted by what the algorithm cannot do without,
in rough constants, which the factors of a backend (`ENGINES`) absorb: one per kind of work, fitted once to recorded runs.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import singledispatch
from typing import Any

from ntkbench.claims import calls
from ntkbench.integrators import Tableau, tableau
from ntkbench.networks import FullyConnected
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
EIGENVECTORS, CHOLESKY = 25.0, 1.0
"""Operations of a symmetric eigendecomposition and of a factorization with its checks, over the cube of the size."""


@dataclass(frozen=True)
class Work:
    """Amounts of each kind of work.

    Attributes:
        flops: of matrix products. products: matrix products, each of a batch counted.
        entries: numbers read or written. evaluations: of transcendental functions.
        operations: calls of an array operation. program: operations in programs that are compiled anew.
        draws: standard normals. turns: of plain Python.
    """

    flops: float = 0.0
    products: float = 0.0
    entries: float = 0.0
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


def units(net: FullyConnected, points: int, seeds: int) -> int:
    """Entries of the hidden activations."""
    return seeds * net.copies * points * net.depth * net.width


@singledispatch
def load(call: calls.Call) -> Load:
    """The load of one call, its `count` left aside.

    Raises:
        TypeError: for a call of an unknown kind.
    """
    raise TypeError(f"no cost is known of a call of kind {type(call).__name__}")


def call_of(workload: Workload) -> calls.Call:
    """What computing it once asks of a backend."""
    net, n = workload.net, workload.points
    match workload.quantity:
        case "ntk":
            return calls.Ntk(net=net, seeds=1, rows=n)
        case "hierarchy":
            return calls.Hierarchy(net=net, seeds=1, points=n, order=workload.order)
        case "naive_hierarchy":
            return NaiveHierarchy(net=net, seeds=1, points=n, order=workload.order)
        case "limiting":
            return calls.LimitingKernels(net=net, rows=n)


@load.register
def _(call: calls.Draw) -> Load:
    net, layers = call.net, len(call.net.fans)
    drawn = call.seeds * net.parameter_count
    work = Work(draws=drawn / net.copies, entries=2 * drawn, turns=TURNS_PER_STREAM * layers * call.seeds)
    return Load(work, 1, 0.0, returned=drawn)


@load.register
def _(call: calls.Forward) -> Load:
    net = call.net
    passes = elementwise(units(net, call.points, call.seeds), 3, 1, 3 * net.depth + 2)
    given = call.seeds * net.parameter_count
    held = net.parameter_count + 2 * units(net, call.points, 1) + net.copies * call.points * net.input_dim
    work = products(workloads.forward(net, call.points, call.seeds)) + passes + _transfer(given)
    return Load(work, call.seeds, held, given, call.seeds * call.points * net.output_dim)


@load.register
def _(call: calls.Ntk) -> Load:
    net = call.net
    columns = call.rows if call.columns is None else call.columns
    points = call.rows + (call.columns or 0)
    kernel = call.rows * columns
    passes = elementwise(units(net, points, call.seeds), 6, 2, 8 * net.depth + 4)
    sums = elementwise(call.seeds * net.copies * kernel, 3 * (net.depth + 1), 0, 2 * (net.depth + 1))
    given = call.seeds * net.parameter_count
    held = net.parameter_count + 4 * units(net, points, 1) + 4 * net.copies * kernel
    work = products(workloads.ntk(net, call.rows, call.columns, call.seeds)) + passes + sums + _transfer(given)
    return Load(work, call.seeds, held, given, call.seeds * kernel)


@load.register
def _(call: calls.Hierarchy) -> Load:
    net, n, order = call.net, call.points, call.order
    batch, pairs = call.seeds * net.copies, call.points**2
    responses = elementwise(batch * pairs * net.width * net.depth, 20, 0, 20 * net.depth + 20)
    tensors = elementwise(batch * n**order, 12 * net.depth, 0, (10 + 4 * n) * net.depth)
    given = call.seeds * net.parameter_count
    held = net.parameter_count + net.copies * (pairs * net.width * (net.depth + 6) + 8 * n**order)
    work = products(workloads.hierarchy(net, n, order, call.seeds)) + responses + tensors + _transfer(given)
    return Load(work, call.seeds, held, given, call.seeds * sum(n**r for r in range(2, order + 1)))


@dataclass(frozen=True, kw_only=True)
class NaiveHierarchy(calls.Call):
    """K_order at `points` by nested forward mode; no measurement asks for it, only a curve."""

    net: FullyConnected
    seeds: int
    points: int
    order: int


@load.register
def _(call: NaiveHierarchy) -> Load:
    """The last of the nested derivatives, which outweighs the others: `2^(r-1)` terms along each of `n^(r-1)` tangents."""
    net, tangents = call.net, call.seeds * call.points ** (call.order - 1)
    terms = 2 ** (call.order - 1)
    passes = products(workloads.forward(net, call.points, terms * tangents))
    weights = elementwise(terms * tangents * net.parameter_count, 2, 0, 25 * terms * net.depth)
    held = terms * call.points ** (call.order - 1) * (net.parameter_count + units(net, call.points, 1))
    given = call.seeds * net.parameter_count
    return Load(passes + weights + _transfer(given), call.seeds, held, given, call.seeds * call.points**call.order)


@load.register
def _(call: calls.Train) -> Load:
    net, method = call.net, tableau(call.integrator)
    stages, passes = len(method.weights), _state_passes(method)
    layers = len(net.fans)
    stage = products(workloads.gradient(net, call.points, call.seeds))
    stage += elementwise(units(net, call.points, call.seeds), 6, 1, 4 * layers + 5)
    state = elementwise(call.seeds * net.parameter_count, passes, 0, stages)
    given = call.seeds * net.parameter_count
    programs = _programs(method, net.parameter_count)
    step = (stage.times(stages, programs) + state.times(1, programs / stages)).times(call.steps)
    held = (stages + 4) * net.parameter_count + 5 * units(net, call.points, 1)
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


@load.register
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


@load.register
def _(call: calls.Predict) -> Load:
    """From an antisymmetric start K3 vanishes, and order 3 is done with the first basis."""
    net, k = call.net, BASIS
    n, rows = call.points * net.output_dim, call.rows * net.output_dim
    orders = [p for p in range(3, call.order + 1) if p > 3 or not net.antisymmetric]
    work, held, returned = Work(), 0.0, 0.0
    for p in orders:
        contracted, needed = contraction(net, call.rows, call.points, k, p)
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


@load.register
def _(call: calls.LimitingKernels) -> Load:
    net, columns = call.net, call.rows if call.columns is None else call.columns
    kernel = call.rows * columns
    each = EVALUATIONS[net.activation in CLOSED_FORMS]
    layers = elementwise(kernel, 20 * net.depth, each * net.depth, 20 * net.depth + 10) + Work(program=UNFUSED)
    return Load(products(workloads.limiting(net, call.rows, columns)) + layers, 1, 16 * kernel, 0.0, 2 * kernel)


@load.register
def _(call: calls.Solve) -> Load:
    n, batch = call.points, call.batch
    work = Work(flops=batch * (CHOLESKY * n**3 + 2 * n**2 * call.sides), operations=10 + 4 * batch, program=UNFUSED / 4)
    return Load(work, batch, 3 * n * n + 2 * n * call.sides, batch * n * n, batch * n * call.sides)


@load.register
def _(call: calls.KernelDescent) -> Load:
    n, batch, moved = call.points, call.batch, call.outputs * call.records
    work = Work(flops=batch * EIGENVECTORS * n**3, operations=20 + 4 * batch, program=UNFUSED / 2)
    work += products([(batch, n, n, moved), (batch, n, n, moved), (batch, call.test_points, n, moved)])
    held = 4 * n * n + call.test_points * n + 2 * moved * (n + call.test_points)
    returned = batch * moved * (n + call.test_points)
    return Load(work, batch, held, batch * n * (n + call.test_points), returned)


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
        block_bytes: of temporaries that one block of seeds may hold, None for the study's budget.
        startup: of a process that imports the framework and starts it, in turns of plain Python.
        resident: bytes of such a process, before it measures anything.
    """

    factors: Mapping[str, float]
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
            "evaluations": 0.75,
            "operations": 78.0,
            "program": 0.0,
            "draws": 1.0,
            "turns": 1.0,
        },
        block_bytes=None,
        startup=6e7,
        resident=380 * 2**20,
    ),
    "jax": Engine(
        factors={
            "flops": 2.2,
            "products": 42.0,
            "entries": 0.3,
            "evaluations": 0.5,
            "operations": 7.0,
            "program": 120_000.0,
            "draws": 1.0,
            "turns": 1.0,
        },
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
    if isinstance(program, calls.LimitingKernels):
        program = replace(program, net=replace(program.net, width=1))  # at infinite width all are the same
    again = program in compiled
    compiled.add(program)
    return {kind: part * call.count if kind != "program" else 0.0 if again else part for kind, part in parts.items()}


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
        kept += sum(FLOAT64 * one.returned * call.count for call, one in loads if not isinstance(call, calls.Draw))
        most = max(most, max(drawn, default=0.0) + max(working) + 2 * kept)
    return engine.resident + int(most)
