"""Cases of every claim, as small as can be, and what they give."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ntkbench.backends import Backend
from ntkbench.claims import get

CONVERGENCE, CONSTANCY = "convergence/initialization", "constancy/gradient_flow"
HIERARCHY, GAP = "hierarchy/truncation", "gap/kernel_regression"
EVOLUTION, SIZES = "hierarchy/evolution", "hierarchy/sizes"
LIMITS, LINEAR = "hierarchy/limits", "hierarchy/linear_networks"
CORRELATIONS, FIRST_ORDER, ITERATED = "hierarchy/correlations", "hierarchy/first_order", "hierarchy/iterated_integrals"
SMALL_TIMES, HORIZON, RECIPE = "hierarchy/small_times", "hierarchy/horizon", "hierarchy/recipe"
DEPTH, FEATURE_STRENGTH = "hierarchy/depth", "hierarchy/feature_strength"
REAL_DATA, GAP_HIERARCHY = "hierarchy/real_data", "gap/hierarchy"
LABEL_NOISE, TRANSFER, SHIFT = "gap/label_noise", "gap/transfer", "gap/distribution_shift"
MEASURES, CONDITION_NUMBER = "gap/measures", "gap/condition_number"
AFTER_KERNEL = "gap/after_kernel"

DIGITS: dict[str, Any] = {
    "dataset": "digits_parity",
    "input_dim": 64,
    "train_size": 16,
    "smaller": (8,),
    "test_size": 12,
    "step": 1.0,
    "times": (4.0, 16.0),
    "integrator": "dop853",
    "antisymmetric": True,
}
"""Fields of a case of `REAL_DATA` on real images that trains."""

_COMMON: dict[str, Any] = {
    "dataset": "sphere",
    "train_size": 3,
    "input_dim": 4,
    "activation": "tanh",
    "depth": 1,
    "widths": (8, 16),
    "seeds": 2,
}
_FLOW = {"step": 0.25, "times": (0.5, 1.0), "integrator": "rk4"}
_LABELLED = {
    "dataset": "digits",
    "input_dim": 64,
    "test_size": 12,
    "validation_size": 4,
    "step": 0.5,
    "times": (1.0, 2.0),
    "integrator": "euler",
}
_OWN: dict[str, dict[str, Any]] = {
    CONVERGENCE: {},
    CONSTANCY: _FLOW,
    HIERARCHY: {**_FLOW, "top": 6},
    EVOLUTION: {"test_size": 2, "step": 0.125, "times": (0.5, 1.0), "integrator": "rk4"},
    SIZES: _FLOW,
    LIMITS: {"reference_width": 32, "reference_seeds": 4},
    LINEAR: {**_FLOW, "activation": "identity", "train_size": 2},
    CORRELATIONS: {"order": 6},
    FIRST_ORDER: _FLOW,
    ITERATED: {**_FLOW, "question": "both", "train_size": 6},
    SMALL_TIMES: {"step": 0.05, "times": (0.1, 0.2, 0.4), "integrator": "rk4", "regime": "small"},
    HORIZON: {"step": 0.25, "times": (0.25, 0.5, 1.0, 2.0), "integrator": "rk4", "top": 6, "antisymmetric": True},
    RECIPE: {**_FLOW, "step": 0.25, "times": (0.5, 1.0)},
    DEPTH: {**_FLOW, "depths": (1, 2, 3)},
    FEATURE_STRENGTH: {**_FLOW, "feature_strengths": (0.1, 0.2, 0.4), "antisymmetric": True},
    REAL_DATA: {**_FLOW, "smaller": (2,), "test_size": 3},
    LABEL_NOISE: {
        "dataset": "digits",
        "input_dim": 64,
        "train_size": 12,
        "test_size": 16,
        "validation_size": 6,
        "shares": (0.0, 0.25),
        "step": 0.5,
        "times": (2.0, 8.0),
        "integrator": "euler",
    },
    SHIFT: {
        "dataset": "digits",
        "input_dim": 64,
        "train_size": 12,
        "test_size": 16,
        "validation_size": 6,
        "transformation": "shift",
        "amounts": (0.0, 1.0),
        "step": 0.5,
        "times": (2.0, 8.0),
        "integrator": "euler",
    },
    TRANSFER: {
        "dataset": "digits_3_8",
        "input_dim": 64,
        "source_dataset": "digits_4_9",
        "source_size": 12,
        "train_size": 8,
        "smaller": (4,),
        "test_size": 16,
        "validation_size": 6,
        "step": 0.5,
        "times": (2.0, 8.0),
        "integrator": "euler",
    },
    MEASURES: {
        **_LABELLED,
        "activation": "relu",
        "other_activations": ("erf", "gelu"),
        "antisymmetric": True,
        "tasks": 3,
        "noise": (0.0, 0.5, 1.0),
    },
    CONDITION_NUMBER: {**_LABELLED, "activation": "relu", "image": (8, 8, 1), "population": 4},
    "gap/equivalence": {
        "dataset": "digits_parity",
        "input_dim": 64,
        "activation": "erf",
        "train_size": 16,
        "test_size": 32,
        "step": 0.5,
        "times": (40.0,),
        "integrator": "euler",
    },
    "gap/laziness": {
        "dataset": "digits_parity",
        "input_dim": 64,
        "activation": "erf",
        "train_size": 16,
        "test_size": 32,
        "step": 0.5,
        "times": (10.0,),
        "integrator": "euler",
        "antisymmetric": True,
        "feature_strengths": (0.125, 0.25, 0.5),
    },
    GAP_HIERARCHY: {
        "dataset": "digits_parity",
        "input_dim": 64,
        "train_size": 12,
        "test_size": 12,
        "step": 0.5,
        "times": (2.0, 8.0),
        "integrator": "dop853",
        "tolerance": 1e-6,
    },
    GAP: {
        "dataset": "digits",
        "input_dim": 64,
        "image": (8, 8, 1),
        "activation": "erf",
        "train_size": 8,
        "smaller": (4,),
        "test_size": 12,
        "validation_size": 4,
        "step": 1.0,
        "times": (1.0, 2.0, 4.0),
        "integrator": "euler",
    },
    "gap/kernel_methods": {
        "dataset": "uci",
        "input_dim": 287,
        "sets": ("iris", "wine", "haberman"),
        "points": 40,
        "depths": (1,),
        "trees": 5,
        "activation": "relu",
        "step": 0.25,
        "times": (0.5, 2.0),
        "integrator": "euler",
    },
    AFTER_KERNEL: {
        "dataset": "digits_parity",
        "input_dim": 64,
        "train_size": 12,
        "test_size": 24,
        "validation_size": 8,
        "step": 0.5,
        "times": (5.0, 20.0),
        "integrator": "euler",
    },
}


def case_of(claim_id: str, **fields: Any) -> Any:
    """A case of the claim; `fields` override the tiny values."""
    return get(claim_id).case_type(**(_COMMON | _OWN[claim_id] | fields))


def wide_over_narrow(claim_id: str, quantity: str, backend: Backend, control: str | None) -> float:
    """Median of a quantity over eight antisymmetric networks of width 512, over that at width 32."""
    claim, case = get(claim_id), case_of(claim_id, seeds=8, control=control, antisymmetric=True)
    data = claim.prepare(case, 2)
    wide, narrow = (np.median(claim.summarize(case, claim.measure(backend, case, data, m, 2), m)[quantity]) for m in (512, 32))
    return float(wide / narrow)


def apart_from_kernels(claim_id: str, kernels: Sequence[str], backend: Backend) -> list[tuple[float, float]]:
    """How far a narrow and a very wide network's outputs are from each kernel's at the same times, relative to the largest."""
    claim, case = get(claim_id), case_of(claim_id, antisymmetric=True, times=(1.0, 4.0, 16.0))
    narrow, wide = (claim.measure(backend, case, claim.prepare(case, 5), width, 5) for width in (32, 4096))

    def distance(arrays: Mapping[str, np.ndarray], name: str) -> float:
        return float(np.abs(arrays["network"] - arrays[name]).max() / np.abs(arrays[name]).max())

    return [(distance(narrow, name), distance(wide, name)) for name in kernels]
