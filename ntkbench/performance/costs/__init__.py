"""What a measurement costs, from counts: the work in each call of a backend, times how fast this machine is.

The counts follow from the sizes of the call alone. Matrix products are counted exactly (`ntkbench.performance.workloads`);
elementwise passes, array operations and the sizes of compiled programs are counted by what the algorithm cannot do without,
in rough constants, which the factors of a backend (`ENGINES`) absorb: one per kind of work, fitted once to recorded runs.
"""

from ntkbench.performance.costs.counts import BASIS, EVALUATIONS
from ntkbench.performance.costs.engines import ENGINES, FLOAT64, in_python, memory, seconds
from ntkbench.performance.costs.loads import (
    CONTRACTIONS,
    EIGENVECTORS,
    FEW_STAGES,
    LARGE_STATE,
    NaiveHierarchy,
    call_of,
    counts_of,
    known,
    load,
)

__all__ = [
    "BASIS",
    "CONTRACTIONS",
    "EIGENVECTORS",
    "ENGINES",
    "EVALUATIONS",
    "FEW_STAGES",
    "FLOAT64",
    "LARGE_STATE",
    "NaiveHierarchy",
    "call_of",
    "counts_of",
    "in_python",
    "known",
    "load",
    "memory",
    "seconds",
]
