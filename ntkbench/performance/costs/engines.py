"""Backends, as far as their cost goes: from amounts of work to seconds and bytes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from ntkbench.claims import calls
from ntkbench.networks import Convolutional, FullyConnected
from ntkbench.performance.calibration import CACHE_BYTES, Rates
from ntkbench.performance.costs.loads import load
from ntkbench.performance.costs.work import Load

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
