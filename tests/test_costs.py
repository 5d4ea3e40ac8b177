"""What a study is foretold to cost: counted exactly, from what the claims really ask, and refused where it cannot fit."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import jax
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import SVC

from ntkbench import claims, config
from ntkbench.backends import Backend, load
from ntkbench.backends.jax import stepping
from ntkbench.backends.jax.any_model import per_example
from ntkbench.claims import calls
from ntkbench.claims.calls import Call
from ntkbench.integrators import steps_between
from ntkbench.networks import Convolutional, FullyConnected, Network, Residual
from ntkbench.performance import costs, planning, scaling, workloads
from ntkbench.performance.calibration import ONE_CORE, Rates, calibrate
from ntkbench.performance.costs import loads
from ntkbench.performance.costs.by_differentiation import DUAL_PIECE, STRIP_PROGRAM
from ntkbench.performance.timing import Workload, measure
from tests.claims.tiny import AFTER_KERNEL, CONVERGENCE, GAP, GAP_HIERARCHY, HIERARCHY, case_of

ROOT = Path(__file__).resolve().parent.parent
RATES = Rates(
    flop=2.5e-11, product=1.5e-7, byte_cached=1.1e-11, byte_streamed=3.3e-11, evaluation=1.8e-8, draw=1.5e-8, interpreter=8e-8
)


def study(name: str = "smoke") -> config.Study:
    return config.load(ROOT / "workflow" / "config" / f"{name}.yaml")


# Counts


def test_the_products_of_a_kernel_are_those_counted_by_hand() -> None:
    """Depth 2, d = 3, m = 5, n = 8: three layers up, one down, triangles of Gram products of three inputs and two signals."""
    net = FullyConnected(3, 5, 2, "tanh")
    forward = 8 * (3 * 5 + 5 * 5 + 5 * 1)
    backward = 8 * 5 * 5
    gram = (8 * 8 * (3 + 5 + 5) + 8 * 8 * (5 + 5)) // 2
    assert workloads.flops(workloads.ntk(net, 8)) == 2 * (forward + backward + gram) == 2592


def test_outputs_multiply_the_way_back_and_the_products_of_signals() -> None:
    net = FullyConnected(3, 5, 2, "tanh", output_dim=4)
    forward, backward = 8 * (3 * 5 + 5 * 5 + 5 * 4), 32 * 5 * 5
    inputs, signals = 8 * 8 * (3 + 5 + 5), 32 * 32 * (5 + 5)
    assert workloads.flops(workloads.ntk(net, 8)) == 2 * (forward + backward) + inputs + signals
    assert workloads.flops(workloads.ntk(net, 8, outputs="trace")) == 2 * (forward + backward) + inputs + signals // 4


def test_of_a_symmetric_kernel_one_triangle_is_counted() -> None:
    """The triangle with its diagonal where the number of points is odd; two different sides have no triangle."""
    net = FullyConnected(3, 5, 1, "tanh")
    assert workloads.ntk(net, 7) == [(1, 7, 3, 5), (1, 7, 5, 1), (1, 7, 3, 4), (1, 7, 5, 4), (1, 7, 5, 4)]
    passes = [(1, 7, 3, 5), (1, 7, 5, 1)] * 2
    assert workloads.ntk(net, 7, 7) == [*passes, (1, 7, 3, 7), (1, 7, 5, 7), (1, 7, 5, 7)]
    assert (workloads.limiting(net, 7), workloads.limiting(net, 7, 7)) == ([(1, 7, 3, 4)], [(1, 7, 3, 7)])


KERNEL = [
    *((1, 2, 3, 5), (1, 2, 5, 5), (1, 2, 5, 5), (1, 2, 5, 1)),
    *((1, 2, 5, 5), (1, 2, 5, 5)),
    *((1, 2, 3, 1), (1, 2, 5, 1), (1, 2, 5, 1), (1, 2, 5, 1)),
    *((1, 2, 5, 1), (1, 2, 5, 1), (1, 2, 5, 1)),
]
ADDED: dict[int, list[workloads.Product]] = {
    3: [(4, 4, 5, 5), (6, 4, 5, 2)],
    4: [(6, 4, 5, 4), (6, 4, 5, 2)],
    5: [(4, 8, 5, 5), (6, 8, 5, 4)],
    6: [(6, 8, 5, 8)],
}
"""By hand for two points, d = 3, m = 5 and three hidden layers: of the kernel, and what each order adds."""


@pytest.mark.parametrize("order", range(2, 7))
def test_the_products_of_the_hierarchy_are_those_counted_by_hand(order: int) -> None:
    expected = KERNEL + [product for r in range(3, order + 1) for product in ADDED[r]]
    assert workloads.hierarchy(FullyConnected(3, 5, 3, "tanh"), 2, order) == expected


def test_a_gradient_takes_three_products_per_inner_layer() -> None:
    net = FullyConnected(3, 5, 2, "tanh", antisymmetric=True)
    per_copy = 7 * (3 * 5 + 5 * 5 + 5) + 7 * 5 * 5 + 7 * (3 * 5 + 5 * 5 + 5)
    assert workloads.flops(workloads.gradient(net, 7, seeds=3)) == 2 * 3 * 2 * per_copy


def test_training_counts_each_stage_of_each_step() -> None:
    net = FullyConnected(3, 5, 2, "tanh")
    call = calls.Train(net=net, seeds=3, points=7, integrator="rk4", steps=11, records=2)
    found = costs.load(call).work
    assert found.flops == 11 * 4 * workloads.flops(workloads.gradient(net, 7, 3)) + 2 * workloads.flops(
        workloads.forward(net, 7, 3)
    )


def test_the_naive_way_takes_a_pass_of_all_points_along_every_tangent() -> None:
    """K3 of seven points: four terms of the third derivative along each of 7^2 tangents of all 45 weights, three networks."""
    net = FullyConnected(3, 5, 2, "tanh")
    found = costs.load(costs.NaiveHierarchy(net=net, seeds=3, points=7, order=3))
    terms, one_pass = 3 * 49 * 4, 2 * 7 * (3 * 5 + 5 * 5 + 5)
    assert found.work.flops == terms * one_pass
    weights, layers, given = 2 * terms * 45, 7 * (3 + 5) + 7 * (5 + 5) + 7 * (5 + 1) + 45, 2 * 3 * 45
    assert found.work.entries == weights + terms * layers + given
    assert (found.held, found.returned) == (49 * 4 * (45 + 7 * 2 * 5), 3 * 7**3)


def test_a_contraction_takes_passes_along_pairs_of_directions_and_their_products() -> None:
    """Depth 2, m = 5, two points that span 2 of 3 dimensions, six rows, k = 3: three directions and nine pairs of them."""
    net = FullyConnected(3, 5, 2, "tanh")
    found = {order: costs.counts_of(net).contraction(6, 2, 3, order)[0] for order in (3, 4)}
    change = 2 * 5 * 2 + 2 * 5 * 5
    responses = (6 + 2) * 2 * 5 + 2 * (6 + 2 * 2) * 5 * 5
    grams, summed, dots = 3 * 6 * 5 * 2, 6 * 2 * 3, 2 * 6 * 5 * 3
    of_one = 2 * (change + responses + grams + summed + dots)
    assert {order: work.flops for order, work in found.items()} == {3: 3 * of_one, 4: (3 + 9) * of_one}


def test_of_several_outputs_every_pair_has_its_products() -> None:
    one, ten = (FullyConnected(3, 5, 1, "tanh", output_dim=outputs) for outputs in (1, 10))
    grams = [costs.counts_of(net).contraction(6, 2, 3, 4)[0].flops for net in (one, ten)]
    summed = 2 * 12 * 6 * 2 * (5 + 3)
    dots = 2 * 12 * 6 * 5 * 3
    assert grams[1] - grams[0] == (100 - 1) * summed + (10 - 1) * dots


@pytest.mark.parametrize(
    ("order", "antisymmetric", "orders"), [(3, False, {3}), (4, False, {3, 4}), (4, True, {4}), (3, True, set())]
)
def test_a_prediction_contracts_kernels_as_often_as_recorded_ones(order: int, antisymmetric: bool, orders: set[int]) -> None:
    net = FullyConnected(3, 5, 1, "tanh", antisymmetric=antisymmetric)
    found = costs.load(calls.Predict(net=net, seeds=7, points=8, rows=12, order=order)).work
    often = {p: costs.CONTRACTIONS[p] * costs.counts_of(net).contraction(12, 8, costs.BASIS, p)[0].flops for p in orders}
    assert found.flops == pytest.approx(7 * sum(often.values()))
    assert (found.turns > 0) == bool(orders)


SMALL = Convolutional((2, 3, 2), 4, 2, "tanh")
"""Six positions; windows of 18 and of 36 numbers."""


def test_a_convolution_multiplies_the_window_of_every_position() -> None:
    found = costs.load(calls.Forward(net=SMALL, seeds=3, points=7)).work
    assert found.flops == 2 * 3 * 7 * (6 * (18 * 4 + 36 * 4) + 24 * 1)
    assert found.windows == 3 * 7 * 6 * (18 + 36)


def test_convolutions_are_trained_by_passes_up_back_and_to_the_weights() -> None:
    net = replace(SMALL, antisymmetric=True)
    found = costs.load(calls.Train(net=net, seeds=3, points=7, integrator="rk4", steps=11, records=0)).work
    up, back = 6 * (18 * 4 + 36 * 4) + 24 * 1, 6 * 36 * 4
    assert found.flops == 11 * 4 * 2 * 3 * 2 * 7 * (2 * up + back)


@pytest.mark.parametrize(("outputs", "apart", "together"), [("trace", 5, 1), ("full", 1, 5)])
def test_a_convolutional_kernel_is_made_of_gradients_or_of_positions(outputs: str, apart: int, together: int) -> None:
    """Of 64 channels on nine pixels: gradients in the first layer, whose windows are small, positions in the second."""
    net = Convolutional((3, 3, 1), 64, 2, "tanh", output_dim=5)
    found = costs.load(calls.Ntk(net=net, seeds=1, rows=8, columns=6, outputs=outputs)).work
    up = 14 * (9 * (9 * 64 + 9 * 64 * 64) + 9 * 64 * 5)
    back = 14 * 5 * 9 * (9 * 64 * 64)
    first = 14 * 5 * 9 * (9 * 64) + apart * (8 * together) * (6 * together) * (9 * 64)
    second = (8 * 9) * (6 * 9) * (9 * 64) + apart * (8 * 9 * together) * (6 * 9 * together) * 64
    assert found.flops == 2 * (up + back + first + second + 8 * 6 * (9 * 64))


def test_of_a_symmetric_convolutional_kernel_one_triangle_is_counted() -> None:
    net = Convolutional((2, 2, 1), 64, 2, "tanh")
    half, whole = (costs.counts_of(net).pairs_of_points(8, columns, 1, "one").flops for columns in (None, 8))
    assert half == whole / 2


def test_convolutional_tensors_take_gradients_and_their_tangents_along_every_direction() -> None:
    """K3 of two points: two directions, each of a number and its tangent; K4: two directions of each of these."""
    weights = 18 * 4 + 36 * 4 + 24
    up, back = 6 * (18 * 4 + 36 * 4) + 24, 6 * 36 * 4
    gradients = 2 * 2 * (2 * up + back) + 2 * 2 * (2 * 2 * weights)
    kernel = costs.load(calls.Ntk(net=SMALL, seeds=3, rows=2)).work.flops
    for order, often in ((3, 2 * 2), (4, 2 * 2 + (2 * 2) ** 2)):
        found = costs.load(calls.Hierarchy(net=SMALL, seeds=3, points=2, order=order)).work
        assert found.flops == kernel + 3 * often * gradients


@pytest.mark.parametrize(("outputs", "triangles"), [("full", 32 * 32), ("trace", 4 * 8 * 8)])
def test_a_residual_kernel_takes_the_gradients_of_every_output_at_every_point(outputs: str, triangles: int) -> None:
    """Depth 2, d = 3, m = 5, n = 8 and 4 outputs: both passes and an outer product per layer for each of 32 rows."""
    net = Residual(3, 5, 2, "tanh", output_dim=4)
    weights = 3 * 5 + 5 * 5 + 5 * 4
    passes = 8 * weights + 32 * (5 * 5 + weights)
    assert costs.counts_of(net).ntk(8, None, 1, outputs).flops == 2 * passes + triangles * weights


def multiplied(jaxpr: Any) -> list[int]:
    """Numbers on both sides of every matrix product of a program."""
    inner = [of for eqn in jaxpr.eqns if "jaxpr" in eqn.params for of in multiplied(eqn.params["jaxpr"].jaxpr)]
    products = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "dot_general"]
    return inner + [sum(side.aval.size for side in eqn.invars) for eqn in products]


@pytest.mark.parametrize("rows", [3, 8, 21])
def test_gradients_are_laid_out_for_the_strips_that_jax_multiplies(rows: int) -> None:
    net = Residual(3, 5, 2, "tanh")
    gradients = [np.ones((rows, 1, fan_in * fan_out)) for fan_in, fan_out in net.fans]
    found = multiplied(jax.make_jaxpr(per_example.products, static_argnums=(1, 2))(gradients, None, True).jaxpr)
    counted = costs.counts_of(net).strips(1, rows, net.parameter_count)
    assert (counted.windows, counted.program) == (sum(found), STRIP_PROGRAM * len(found))
    symmetric, whole = (costs.counts_of(net).ntk(rows, columns, 1, "one") for columns in (None, rows))
    assert (symmetric.windows, whole.windows) == (counted.windows, 0)


def test_a_residual_kernel_holds_the_gradients_of_its_points_up_to_a_piece() -> None:
    small, large = (Residual(3, width, 2, "tanh", output_dim=2) for width in (5, 2000))
    skips, dense = (
        costs.load(calls.Ntk(net=net, seeds=1, rows=8, columns=6)).held for net in (small, FullyConnected(3, 5, 2, "tanh", 2))
    )
    assert skips - dense == 2 * 14 * 2 * (3 * 5 + 5 * 5 + 5 * 2)
    assert costs.counts_of(large).held_gradients(14) == DUAL_PIECE < 14 * large.parameter_count


def test_a_residual_network_is_trained_and_its_tensors_are_taken_as_of_others() -> None:
    """Training as of its layers without skips; tensors by the count of forward mode that convolutional networks have too."""
    skips, plain = Residual(3, 5, 2, "tanh"), FullyConnected(3, 5, 2, "tanh")
    found, dense = (
        costs.load(calls.Train(net=net, seeds=2, points=8, integrator="rk4", steps=4, records=1)) for net in (skips, plain)
    )
    assert found == dense
    gradients, weights = costs.counts_of(skips).gradient(8, 1).flops, skips.parameter_count
    once = gradients + 2 * 2 * (8 * 8 * weights)
    tensors = costs.load(calls.Hierarchy(net=skips, seeds=1, points=8, order=3)).work.flops
    assert tensors == costs.load(calls.Ntk(net=skips, seeds=1, rows=8)).work.flops + 2 * 8 * once


@pytest.mark.parametrize(("padding", "places"), [("circular", 6), ("zero", 12)])
def test_pooling_compares_every_two_positions(padding: str, places: int) -> None:
    """In a frame one pixel wider where zeros are around the image."""
    net = replace(SMALL, padding=padding)
    flat, pooled = (
        costs.load(calls.LimitingKernels(net=replace(net, readout=readout), rows=5, columns=4)).work
        for readout in ("flatten", "global_average")
    )
    assert flat.evaluations == 5 * 4 * places * 2 * costs.EVALUATIONS[False]
    assert (pooled.entries, pooled.evaluations) == pytest.approx((places * flat.entries, places * flat.evaluations))


def test_of_a_large_symmetric_limiting_kernel_half_the_tiles_are_counted() -> None:
    net = Convolutional((8, 8, 1), 4, 1, "erf")
    half, whole = (costs.load(calls.LimitingKernels(net=net, rows=5000, columns=columns)).work for columns in (None, 5000))
    assert half.evaluations / whole.evaluations == pytest.approx(0.5, abs=0.01)


PROGRAMS = [
    calls.Train(net=FullyConnected(3, 5, 2, "tanh"), seeds=3, points=7, integrator="euler", steps=9, records=1),
    calls.IntegrateHierarchy(seeds=3, points=4, order=4, integrator="euler", steps=9, records=1),
]


@pytest.mark.parametrize("call", PROGRAMS, ids=lambda call: type(call).__name__)
def test_many_stages_of_a_small_state_are_compiled_as_one(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop over stages also where its sums have more terms; few stages, or those of a large state, are written out."""
    one, four, loop = (costs.load(replace(call, integrator=name)).work for name in ("euler", "rk4", "dop853"))
    assert one.program <= loop.program < four.program
    monkeypatch.setattr(loads, "LARGE_STATE", 1)
    written_out = costs.load(replace(call, integrator="dop853")).work
    assert written_out.program > 2 * four.program
    assert replace(written_out, program=0) == replace(loop, program=0)


def test_the_plan_and_jax_write_the_same_steps_out() -> None:
    assert (costs.FEW_STAGES, costs.LARGE_STATE) == (stepping.FEW_STAGES, stepping.LARGE_STATE)


Spans = dict[str, tuple[int, int]]
OF_POINTS = {2: (1, 2), 3: (2, 3), 4: (2, 4), 5: (3, 5), 6: (3, 6)}
AXES = get_args(workloads.Axis)
OPERATIONS: dict[tuple[workloads.Quantity, int], Spans] = {
    ("ntk", 2): {"points": (1, 2), "width": (1, 2), "depth": (1, 1), "outputs": (1, 2)},
    ("limiting", 2): {"points": (2, 2), "depth": (1, 1)},
} | {("hierarchy", r): {"points": OF_POINTS[r], "width": (1, 2), "depth": (1, 1)} for r in range(2, 7)}
MEMORY: dict[tuple[workloads.Quantity, int], Spans] = {
    ("ntk", 2): {"points": (0, 2), "width": (0, 2), "depth": (0, 1), "outputs": (0, 2)},
    ("limiting", 2): {"points": (2, 2)},
} | {("hierarchy", r): {"points": (0, r), "width": (0, 2), "depth": (0, 1)} for r in range(2, 7)}
"""The smallest and the largest power, none being 0."""


@pytest.mark.parametrize(
    ("theory", "known"), [(workloads.theory, OPERATIONS), (workloads.theory_of_memory, MEMORY)], ids=["operations", "memory"]
)
def test_theory_has_the_exponents_of_the_literature(
    theory: Callable[..., tuple[workloads.Monomial, ...]], known: dict[tuple[workloads.Quantity, int], Spans]
) -> None:
    for (quantity, order), spans in known.items():
        found = {axis: workloads.exponents(theory(quantity, order), axis) for axis in AXES}
        assert found == dict.fromkeys(AXES, (0, 0)) | spans, (quantity, order)


def test_between_tensors_and_parameters_memory_holds_signals_and_responses() -> None:
    signals = {"points": 1, "outputs": 1, "depth": 1, "width": 1}
    assert signals in workloads.theory_of_memory("ntk")
    for order, power in {3: 2, 4: 2, 5: 3, 6: 3}.items():
        assert {"points": power, "depth": 1, "width": 1} in workloads.theory_of_memory("hierarchy", order)


@pytest.mark.parametrize(("quantity", "order"), OPERATIONS)
@pytest.mark.parametrize("axis", ["points", "width", "depth", "outputs"])
def test_counts_grow_as_theory_says(quantity: workloads.Quantity, order: int, axis: workloads.Axis) -> None:
    start = Workload(quantity, points=8, width=8, depth=3, order=order)
    low, high = OPERATIONS[quantity, order].get(axis, (0, 0))
    if high == 0 or (quantity, axis) == ("limiting", "depth"):  # which is elementwise work
        return
    sizes = (2**11, 2**12) if axis == "depth" else (2**17, 2**18)
    counted = [workloads.flops(start.at(axis, size).products) for size in sizes]
    assert np.log2(counted[1] / counted[0]) == pytest.approx(high, abs=0.02)
    small = [workloads.flops(start.at(axis, size).products) for size in (4, 8)]
    assert low - 0.5 < np.log2(small[1] / small[0]) < high + 0.5


# What the claims ask


class Recorder:
    """Hands every call to a backend, and keeps it as the data that a claim's `calls` should give.

    How often kernels are contracted the residual's path decides: what is kept is each network's first contraction.
    """

    def __init__(self, backend: Backend):
        self.backend = backend
        self.asked: list[Call] = []
        self.contracted: set[tuple[Any, ...]] = set()

    def contracted_hierarchy(
        self, net: Network, theta: Any, rows: np.ndarray, x: np.ndarray, basis: np.ndarray, order: int
    ) -> Any:
        network = len(x), theta["W1"].tobytes()
        if network not in self.contracted:
            self.contracted.add(network)
            self.asked.append(calls.Predict(net=net, seeds=len(theta["W1"]), points=len(x), rows=len(rows), order=order))
        return self.backend.contracted_hierarchy(net, theta, rows, x, basis, order)

    def __getattr__(self, name: str) -> Any:
        known: Mapping[str, Callable[..., Call]] = {
            "forward": lambda net, theta, x: calls.Forward(net=net, seeds=_seeds(theta), points=x.shape[-2]),
            "ntk": lambda net, theta, x1, x2=None, outputs="one": calls.Ntk(
                net=net,
                seeds=_seeds(theta),
                rows=x1.shape[-2],
                columns=None if x2 is None else x2.shape[-2],
                outputs=outputs,
            ),
            "hierarchy": lambda net, theta, x, order: calls.Hierarchy(
                net=net, seeds=_seeds(theta), points=x.shape[-2], order=order
            ),
            "train": _train,
            "integrate_hierarchy": lambda kernels, f0, y, **flow: calls.IntegrateHierarchy(
                seeds=f0.shape[0], points=f0.shape[1], order=max(kernels), **_flow(flow)
            ),
            "limiting_kernels": lambda net, x1, x2=None: calls.LimitingKernels(
                net=net, rows=len(x1), columns=None if x2 is None else len(x2)
            ),
            "solve": lambda kernel, rhs: calls.Solve(batch=len(kernel), points=kernel.shape[1], sides=rhs.shape[2]),
            "kernel_descent": lambda kernel, residual, step, counts, kernel_test: calls.KernelDescent(
                batch=len(kernel),
                points=kernel.shape[1],
                test_points=kernel_test.shape[1],
                outputs=residual.shape[2],
                records=len(counts),
            ),
        }
        method = getattr(self.backend, name)
        if name not in known:
            return method

        def record(*given: Any, **named: Any) -> Any:
            self.asked.append(known[name](*given, **named))
            return method(*given, **named)

        return record


def _seeds(theta: Mapping[str, np.ndarray]) -> int:
    return len(theta["W1"])


def _flow(flow: Mapping[str, Any]) -> dict[str, Any]:
    steps = sum(steps_between(flow["times"], flow["step"]))
    return {"integrator": flow["integrator"], "steps": steps, "records": len(flow["times"])}


def _train(
    net: Network,
    theta: Mapping[str, np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    *,
    observe: tuple[str, ...] = ("f",),
    x_test: np.ndarray | None = None,
    **flow: Any,
) -> Call:
    sizes: dict[str, Any] = {
        "seeds": _seeds(theta),
        "points": x.shape[-2],
        "test_points": 0 if x_test is None else x_test.shape[-2],
    }
    return calls.Train(net=net, **sizes, **_flow(flow), observe=tuple(observe))


def flat(asked: tuple[Call, ...] | None) -> Iterator[Call]:
    """Equal calls one by one, and predictions network by network, without the draws, which no backend sees."""
    for call in asked or ():
        if isinstance(call, calls.Predict):
            yield from [replace(call, count=1, seeds=1)] * (call.count * call.seeds)
        elif not isinstance(call, calls.Draw):
            yield from [replace(call, count=1)] * call.count


@pytest.mark.parametrize(
    ("claim_id", "fields"),
    [(claim_id, {}) for claim_id, claim in claims.all_claims().items() if claim.calls(case_of(claim_id), 8) is not None]
    + [
        (CONVERGENCE, {"statistic": "bias", "depth": 2, "seeds_per_width": 4}),
        (GAP, {"antisymmetric": True, "image": None}),
        (HIERARCHY, {"top": 3, "dataset": "digits_parity", "input_dim": 64, "image": (8, 8, 1)}),
        (AFTER_KERNEL, {"dataset": "digits", "image": (8, 8, 1)}),
        (GAP_HIERARCHY, {"image": (8, 8, 1), "train_size": 4, "test_size": 2}),
        (GAP_HIERARCHY, {"control": "other_network"}),
        ("hierarchy/horizon", {"tensor_free": True, "top": 4}),
        ("hierarchy/real_data", {"top": 2}),
    ],
)
def test_a_claim_says_just_what_it_asks(claim_id: str, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """At both widths, of which the second finds what the first has kept; of root 0, whose population `calls` speaks of."""
    monkeypatch.setattr("ntkbench.claims.convergence.initialization.PILOT_SEEDS", 64)
    claim, case = claims.get(claim_id), case_of(claim_id, **fields)
    recorder: Any = Recorder(load("torch", threads=1))
    data = claim.prepare(case, 0)
    for width in case.widths:
        recorder.asked.clear()
        claim.measure(recorder, case, data, width, 0)
        assert sorted(map(repr, recorder.asked)) == sorted(map(repr, flat(claim.calls(case, width))))


def test_classifiers_are_fitted_as_often_as_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one and per set: those that choose in part 0, and the best in all others."""
    claim, case = claims.get("gap/kernel_methods"), case_of("gap/kernel_methods")
    fitted = {"machines": 0, "trees": 0}
    for name, estimator, each in (("machines", SVC, 1), ("trees", RandomForestClassifier, case.trees)):

        def fit(self: Any, *given: Any, name: str = name, each: int = each, fit: Any = estimator.fit) -> Any:
            fitted[name] += each
            return fit(self, *given)

        monkeypatch.setattr(estimator, "fit", fit)
    claim.prepare(case, 1)
    foretold = claim.preparation(case)
    assert [call.points for call in foretold] == [case.size(s).points for s in range(case.seeds)]
    assert fitted == {name: sum(getattr(call, name) for call in foretold) for name in fitted}


# The plan


def test_twice_the_seeds_cost_twice_as_much_of_everything_but_compilation() -> None:
    case = case_of(HIERARCHY, widths=(512, 1024), seeds=64)
    claim, engine = claims.get(HIERARCHY), costs.ENGINES["torch"]
    once, twice = (
        sum(costs.seconds(engine, [claim.calls(replace(case, seeds=seeds), 1024) or ()], RATES, 8, 2**30))
        for seeds in (64, 128)
    )
    assert 1.8 < twice / once < 2.2


def test_a_program_is_compiled_once() -> None:
    call = calls.IntegrateHierarchy(seeds=4, points=3, order=4, integrator="dop853", steps=4, records=1)
    first, again = costs.seconds(costs.ENGINES["jax"], [(call,), (call,)], RATES, 8, 2**30)
    assert first > 10 * again


def test_every_job_of_the_dag_is_planned() -> None:
    planned = planning.jobs(study(), RATES, 2)
    counts = {stage: count for stage, count, *_ in planning.totals(planned)}
    claims_, batches = len(study().cases), sum(map(len, study().batches.values()))
    assert counts == {
        "inputs": batches, "measure": 2 * batches, "crosscheck": batches, "analyse": claims_, "collect": 1, "figures": claims_,
        "performance": 2, "scaling": 1, "paper": 1,
    }  # fmt: skip
    assert all(job.seconds is not None and job.seconds > 0 for job in planned)


def test_cases_that_share_a_job_start_and_compile_once() -> None:
    alone, shared = ([*planning.measurements(replace(study(), cases_per_job=size), RATES)] for size in (1, 100))
    assert [len(of_job) for of_job in alone] == [1] * len(alone)
    assert sum(map(len, shared)) == len(alone)
    of_claim = {(job.case, job.backend): job for of_job in alone for job in of_job if job.claim == HIERARCHY}
    for of_job in (found for found in shared if found[0].claim == HIERARCHY):
        start = costs.ENGINES[of_job[0].backend].startup * RATES.interpreter
        first, *others = [(job, of_claim[job.case, job.backend]) for job in of_job]
        assert first[0] == first[1]
        assert all(job.seconds <= once.seconds - 0.99 * start and job.memory == once.memory for job, once in others)
        (whole,) = [
            job
            for job in planning.jobs(replace(study(), cases_per_job=100), RATES, 2)
            if (job.stage, job.claim, job.backend) == ("measure", HIERARCHY, of_job[0].backend)
        ]
        assert whole.seconds == pytest.approx(sum(job.seconds for job in of_job))
        assert whole.memory == max(job.memory for job in of_job)


def test_the_longest_batches_come_first_after_those_of_unknown_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(claims.get("hierarchy/limits")), "calls", lambda self, case, width: None)
    found = planning.priorities(study())
    lengths = {(claim, cases): 0.0 for claim, batches in study().batches.items() for cases in batches}
    assert found.keys() == lengths.keys()
    for job in planning.jobs(study(), ONE_CORE, 2):
        if job.stage == "measure":
            batch = job.claim, tuple(part.case for part in job.parts)
            lengths[batch] = max(lengths[batch], float("inf") if job.seconds is None else job.seconds)
    ordered = sorted(lengths, key=found.__getitem__, reverse=True)
    assert [lengths[batch] for batch in ordered] == pytest.approx(sorted(lengths.values(), reverse=True))
    assert ordered[0][0] == "hierarchy/limits" or lengths[ordered[0]] == float("inf")


def test_a_slower_machine_takes_longer() -> None:
    slow = Rates(**{name: 3 * value for name, value in vars(RATES).items()})
    here, there = (planning.wall_seconds(planning.jobs(study(), rates, 2), 2) for rates in (RATES, slow))
    assert 2.5 < there / here < 3.1


def test_a_claim_that_says_nothing_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(claims.get(HIERARCHY)), "calls", lambda self, case, width: None)
    planned = [job for job in planning.jobs(study(), RATES, 2) if job.stage == "measure" and job.claim == HIERARCHY]
    assert planned
    assert {(job.seconds, job.memory) for job in planned} == {(None, None)}
    planning.check_memory(planned, 2, 2**30)


def test_a_study_that_fits_is_not_refused() -> None:
    planning.check_memory(planning.jobs(study(), RATES, 2), 2, 16 * 2**30)


def too_large() -> config.Study:
    """The smoke study with one case of very many points, whose kernels alone are hundreds of GiB."""
    small = study()
    cases = {claim: dict(of_claim) for claim, of_claim in small.cases.items()}
    cases[GAP]["huge"] = replace(cases[GAP]["relu-1-digits"], train_size=100_000)
    return replace(small, cases=cases)


def test_the_cost_of_an_architecture_that_is_not_counted_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(loads.ARCHITECTURES, Residual)  # type: ignore[arg-type]
    small, claim = study(), "gap/hierarchy"
    (name, case), *_ = small.cases[claim].items()
    cases = {**small.cases, claim: {name: case, "other": replace(case, specification="residual")}}
    measured = [job for of_job in planning.measurements(replace(small, cases=cases), RATES) for job in of_job]
    told = {job.case: (job.seconds, job.memory) for job in measured if job.claim == claim}
    assert None not in told[name]
    assert told["other"] == (None, None)


def test_a_case_that_is_too_large_is_refused_by_name() -> None:
    planned = planning.jobs(too_large(), RATES, 2)
    with pytest.raises(
        planning.DoesNotFit, match=r"gap/kernel_regression huge \w+ needs about \d+.\d GiB.*available are 16.0 GiB: lower"
    ):
        planning.check_memory(planned, 2, 16 * 2**30)


def test_jobs_that_fit_alone_only_are_told_how_many_cores() -> None:
    jobs = [planning.Job("measure", "a/b", f"case-{k}", "torch", 1.0, 3 * 2**30) for k in range(4)]
    planning.check_memory(jobs, 2, 7 * 2**30)
    with pytest.raises(planning.DoesNotFit, match=r"case-0 torch needs about 3.0 GiB and .*side by side.*--cores 2"):
        planning.check_memory(jobs, 4, 7 * 2**30)


def test_threads_of_a_job_keep_others_away() -> None:
    jobs = [planning.Job("measure", "a/b", f"case-{k}", "torch", 1.0, 3 * 2**30, cores=2) for k in range(4)]
    assert len(planning.side_by_side(jobs, 4)) == 2


def test_memory_stays_near_the_budget_of_a_blocked_claim() -> None:
    """Thousands of networks are drawn and measured in blocks: they need a few budgets, not all of their parameters at once."""
    case = case_of(CONVERGENCE, statistic="bias", depth=2, widths=(64, 128), seeds_per_width=5000)
    asked = [claims.get(CONVERGENCE).calls(case, width) or () for width in case.widths]
    needed = costs.memory(costs.ENGINES["torch"], asked, 8, 2**28)
    assert 2**28 < needed < 2**30 + 4 * 2**28


def test_results_that_are_reduced_do_not_add_up() -> None:
    net = FullyConnected(3, 5, 1, "tanh")
    added, reduced = (
        costs.memory(costs.ENGINES["torch"], [[calls.Ntk(10, net=net, seeds=64, rows=512, kept=kept)]], 8, 2**28)
        for kept in (True, False)
    )
    assert added - reduced == 2 * 9 * 64 * 512**2 * 8


def test_this_machine_is_measured() -> None:
    rates = calibrate()
    assert all(value > 0 for value in vars(rates).values())
    assert rates.flop < rates.evaluation


# Curves and their exponents


@pytest.mark.parametrize("planted", [0.5, 1.0, 2.0, 4.0])
def test_a_planted_exponent_is_found(planted: float) -> None:
    sizes = (16, 32, 64, 128, 256, 512)
    exact = scaling.exponent(sizes, [1e-6 * size**planted for size in sizes])
    assert (exact.estimate, exact.low, exact.high) == pytest.approx((planted,) * 3)


def test_the_interval_holds_the_planted_exponent_as_often_as_it_says() -> None:
    rng, sizes = np.random.default_rng(1), np.array([64, 128, 256, 512])
    fits = [scaling.exponent(sizes.tolist(), (sizes**2.0 * np.exp(0.1 * rng.standard_normal(4))).tolist()) for _ in range(400)]
    assert 0.92 < np.mean([fit.low < 2 < fit.high for fit in fits]) < 0.98


def test_two_sizes_bound_nothing() -> None:
    fit = scaling.exponent([2, 4], [1.0, 8.0])
    assert (fit.estimate, fit.low, fit.high) == pytest.approx((3.0, -np.inf, np.inf))


@pytest.mark.parametrize("memory", [0.0, 8.0])
def test_small_sizes_do_not_enter(memory: float) -> None:
    """Overhead that is constant below and a power above."""
    sizes = (1, 2, 4, 8, 256, 512, 1024, 2048)
    rows = [
        {"curve": "c", "quantity": "ntk", "order": 2, "backend": "torch", "axis": "points", "size": size}
        | {"flops": float(size**2), "seconds": max(1.0, size**2 / 1e4), "peak_bytes": memory}
        for size in sizes
    ]
    found = {row["measure"]: row for row in scaling.table(rows)}
    assert set(found) == ({"flops", "seconds", "peak_bytes"} if memory else {"flops", "seconds"})
    assert found["seconds"]["exponent"] == pytest.approx(2.0)
    assert (found["seconds"]["smallest"], found["seconds"]["theory_low"], found["seconds"]["theory_high"]) == (256, 1, 2)
    if memory:
        assert (found["peak_bytes"]["theory_low"], found["peak_bytes"]["theory_high"]) == (0, 2)


def test_along_the_order_no_power_is_fitted() -> None:
    row = {"curve": "c", "quantity": "hierarchy", "order": 2, "backend": "torch", "axis": "order", "size": 2, "seconds": 1.0}
    assert scaling.table([row, row | {"size": 3}]) == []


@pytest.mark.parametrize("values", [[1.0], [1.0, 0.0], [1.0, float("nan")]])
def test_what_has_no_logarithm_has_no_exponent(values: list[float]) -> None:
    with pytest.raises(ValueError, match="positive values at two sizes"):
        scaling.exponent(list(range(2, 2 + len(values))), values)


@pytest.mark.parametrize("quantity", ["ntk", "hierarchy", "limiting"])
def test_a_workload_is_timed_beside_its_products(backend: Backend, quantity: workloads.Quantity) -> None:
    found = measure(Workload(quantity, points=3, width=8, order=3), backend, rounds=2)
    assert found.seconds > 0
    assert found.roofline_seconds > 0
    assert (found.rounds, found.device) == (2, backend.device)
