"""The work and the memory of each call of a backend."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

from ntkbench.claims import calls
from ntkbench.integrators import Tableau, tableau
from ntkbench.networks import Convolutional, FullyConnected, Network, Residual
from ntkbench.performance import workloads
from ntkbench.performance.costs.by_differentiation import ResidualCounts
from ntkbench.performance.costs.convolutional import ConvolutionalCounts
from ntkbench.performance.costs.counts import BASIS, UNFUSED, Counts
from ntkbench.performance.costs.dense import DenseCounts
from ntkbench.performance.costs.work import Load, Work, elementwise, products
from ntkbench.performance.workloads import Workload

TURNS_PER_STREAM = 1000
"""Of a plain Python loop, that opening one named random stream takes."""
CONTRACTIONS = {3: 1.75, 4: 3.25}
"""Bases that a prediction without tensors contracts kernels with, by its order; recorded runs had 1 to 4."""
RIGHT_HAND_SIDES = 300
"""Of one integration of a prediction; recorded ones had 250 to 490."""
TURNS_PER_SIDE, ENTRIES_PER_TURN = 300, 200
"""Of plain Python, that a right-hand side in numpy takes, and numbers read by numpy in the time of one turn."""
MACHINE, TREE, PROCESS = 280.0, 17_000.0, 110.0
"""Turns of plain Python: of a support vector machine per point, of a tree, of a Gaussian process per pair of points."""
EIGENVECTORS, CHOLESKY = 25.0, 1.0
"""Operations of a symmetric eigendecomposition and of a factorization with its checks, over the cube of the size."""
FEW_STAGES, LARGE_STATE = 4, 2**16
"""What `ntkbench.backends.jax.stepping` decides by, said again since no framework is imported here."""


ARCHITECTURES: Mapping[type[Network], type[Counts[Any]]] = {
    FullyConnected: DenseCounts,
    Convolutional: ConvolutionalCounts,
    Residual: ResidualCounts,
}


def counts_of(net: Network) -> Counts[Any]:
    """The counts of a network's architecture."""
    return ARCHITECTURES[type(net)](net)


def known(call: calls.Call) -> bool:
    """Whether the cost of the call is: not for an architecture that is not counted."""
    net = getattr(call, "net", None)
    return net is None or type(net) in ARCHITECTURES


def load(call: calls.Call) -> Load:
    """The load of one call, its `count` left aside.

    Raises:
        TypeError: for a call of an unknown kind.
    """
    if isinstance(call, calls.Forward | calls.Ntk | calls.Train) and counts_of(call.net).one_by_one and call.seeds > 1:
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


@dataclass(frozen=True, kw_only=True)
class NaiveHierarchy(calls.Call):
    """K_order at `points` by nested forward mode; no measurement asks for it, only a curve."""

    net: FullyConnected
    seeds: int
    points: int
    order: int


@_load.register
def _(call: calls.Draw) -> Load:
    net, layers = call.net, len(call.net.fans)
    drawn = call.seeds * net.parameter_count
    work = Work(draws=drawn / net.copies, entries=2 * drawn, turns=TURNS_PER_STREAM * layers * call.seeds)
    return Load(work, 1, 0.0, returned=drawn)


@_load.register
def _(call: calls.Forward) -> Load:
    net, of = call.net, counts_of(call.net)
    passes = elementwise(of.units(call.points, call.seeds), 3, 1, 3 * net.depth + 2)
    given = call.seeds * net.parameter_count
    held = net.parameter_count + 2 * of.held_units(call.points) + net.copies * call.points * net.input_dim
    work = of.forward(call.points, call.seeds) + passes + _transfer(given)
    return Load(work, call.seeds, held, given, call.seeds * call.points * net.output_dim)


@_load.register
def _(call: calls.Ntk) -> Load:
    net, out, of = call.net, call.net.output_dim, counts_of(call.net)
    columns = call.rows if call.columns is None else call.columns
    points = call.rows + (call.columns or 0)
    kernel = call.rows * columns
    kept = out**2 if call.outputs == "full" else 1
    given = call.seeds * net.parameter_count
    held = net.parameter_count + 2 * of.units(points * (1 + out), 1) + 4 * net.copies * kernel * kept
    held += of.held_gradients(points)
    made = of.kernel(call.rows, call.columns, call.seeds, call.outputs)
    return Load(made + _transfer(given), call.seeds, held, given, call.seeds * kernel * kept)


@_load.register
def _(call: calls.Hierarchy) -> Load:
    net, n, order = call.net, call.points, call.order
    given = call.seeds * net.parameter_count
    returned = call.seeds * sum(n**r for r in range(2, order + 1))
    work, held = counts_of(net).hierarchy(n, order, call.seeds)
    return Load(work + _transfer(given), call.seeds, held, given, returned)


@_load.register
def _(call: NaiveHierarchy) -> Load:
    """The last of the nested derivatives, which outweighs the others: `2^(r-1)` terms along each of `n^(r-1)` tangents."""
    net, tangents = call.net, call.seeds * call.points ** (call.order - 1)
    terms = 2 ** (call.order - 1)
    passes = products(workloads.forward(net, call.points, terms * tangents))
    weights = elementwise(terms * tangents * net.parameter_count, 2, 0, 25 * terms * net.depth)
    held = terms * call.points ** (call.order - 1) * (net.parameter_count + DenseCounts(net).units(call.points, 1))
    given = call.seeds * net.parameter_count
    return Load(passes + weights + _transfer(given), call.seeds, held, given, call.seeds * call.points**call.order)


@_load.register
def _(call: calls.Train) -> Load:
    net, of, method = call.net, counts_of(call.net), tableau(call.integrator)
    stages, passes = len(method.weights), _state_passes(method)
    layers = len(net.fans)
    stage = of.gradient(call.points, call.seeds)
    stage += elementwise(of.units(call.points, call.seeds), 6, 1, 4 * layers + 5)
    state = elementwise(call.seeds * net.parameter_count, passes, 0, stages)
    given = call.seeds * net.parameter_count
    programs = _programs(method, net.parameter_count)
    step = (stage.times(stages, programs) + state.times(1, programs / stages)).times(call.steps)
    held = (stages + 4) * net.parameter_count + 5 * of.held_units(call.points)
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
        contracted, needed = counts_of(net).contraction(call.rows, call.points, k, p)
        read = rows * (n + k ** (p - 1))
        sides = 2 * CONTRACTIONS[p] * RIGHT_HAND_SIDES
        integrated = Work(turns=sides * (TURNS_PER_SIDE + read / ENTRIES_PER_TURN))
        work += contracted.times(CONTRACTIONS[p]) + integrated
        held, returned = max(held, needed), rows * k ** (p - 1)
    given = call.seeds * net.parameter_count
    return Load(work.times(call.seeds), 1, held, given, returned)


@_load.register
def _(call: calls.LimitingKernels) -> Load:
    kernel = call.rows * (call.rows if call.columns is None else call.columns)
    work, held = counts_of(call.net).limiting(call.rows, call.columns)
    return Load(work, 1, held, 0.0, 2 * kernel)


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


def _programs(method: Tableau, state: int) -> int:
    """Stages of one step that are compiled: a loop has one; blocks of several seeds are small wherever a seed's state is."""
    return len(method.weights) if len(method.weights) <= FEW_STAGES or state >= LARGE_STATE else 1


def _terms(method: Tableau) -> int:
    """Slopes that the sums of one step add up."""
    return sum(1 for row in (*method.stages, method.weights) for coefficient in row if coefficient != 0)


def _state_passes(method: Tableau) -> int:
    """Passes over the state in one step: each sum reads the state and slopes and writes a point; each slope is written."""
    return _terms(method) + 3 * len(method.weights)
