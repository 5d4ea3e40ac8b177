"""Synthetic tables with planted exponents, for the cases of the real studies."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from ntkbench.claims import Claim, get
from ntkbench.claims.base import Case
from ntkbench.tables import COLUMNS
from ntkbench.verdicts.expectations import Bound, Equivalence, Paired, Rate

BACKENDS = ("torch", "jax")


class ByClaim(dict[str, Any]):
    """What there is of each claim; where a claim has none the test fails with what to do, not with a bare key."""

    def __init__(self, known: Mapping[str, Any], mend: str) -> None:
        super().__init__(known)
        self.mend = mend

    def __missing__(self, claim: str) -> Any:
        pytest.fail(f"{claim} {self.mend}", pytrace=False)


def case(claim: Claim, **fields: Any) -> Case:
    """A case of the claim's type with plain values for what is not given."""
    values: dict[str, Any] = {"dataset": "sphere", "train_size": 8, "input_dim": 8, "activation": "tanh", "depth": 2}
    values |= {"seeds": 16, "widths": tuple(2**k for k in range(5, 13))}
    if "times" in claim.case_type.__dataclass_fields__:
        euler = claim.id.startswith("gap/")
        values |= {"times": (1.0, 2.0, 4.0), "step": 0.05, "integrator": "euler" if euler else "rk4"}
    if claim.case_type.test_points:
        values |= {"dataset": "digits", "input_dim": 64, "test_size": 8}
    return claim.case_type(**(values | fields))


def table(
    claim: Claim, cases: Mapping[str, Case], slopes: Mapping[str, float], seed: int = 0, noise: float = 0.2
) -> pd.DataFrame:
    """Tidy quantities: `2 width^slope` times log-normal noise; `slopes` maps a quantity, or `case/quantity`, to its exponent.

    Controls stay flat, `_path` quantities grow with time, differences shrink with width and lie around the same everywhere.
    """
    draw = np.random.default_rng(seed)
    rows = []
    for k, (name, one) in enumerate(cases.items()):
        for quantity in claim.quantities:
            exponent = 0.0 if one.control else slopes.get(f"{name}/{quantity}", slopes.get(quantity, -1.0))
            places: Sequence[float] = claim.along(one) if quantity.endswith("_path") else (np.nan,)
            signed = "difference" in quantity or quantity.startswith("gain")
            for width in one.widths:
                for s in range(one.seeds):
                    size = (1 + 0.35 * k) * width**exponent * np.exp(noise * draw.standard_normal())
                    if signed:
                        size = (0.4 if one.control is None else 0.0) / np.sqrt(width) + 0.02 * draw.standard_normal()
                    for t in places:
                        value = size * (t if np.isfinite(t) and not signed else 1.0)
                        rows += [(claim.id, name, one.control or "", b, quantity, width, t, s, value) for b in BACKENDS]
    return pd.DataFrame(rows, columns=list(COLUMNS["quantities"]))


def verdicts(claim: Claim, cases: Mapping[str, Case], slopes: Mapping[str, float]) -> pd.DataFrame:
    """A verdict row for each expectation, regular case and backend, with the planted exponent as estimate."""
    rows = []
    for expectation in claim.expectations:
        for name, one in cases.items():
            if one.control is not None or not expectation.applies(one):
                continue
            quantity = expectation.quantity
            estimate, half = slopes.get(f"{name}/{quantity}", slopes.get(quantity, -1.0)), 0.03
            expected, margin = "", np.nan
            if isinstance(expectation, Rate | Bound):
                expected, margin = f"{expectation.exponent:g} ± {expectation.margin:g}", expectation.margin
                outside = estimate - half > expectation.exponent + margin
                outside |= isinstance(expectation, Rate) and estimate + half < expectation.exponent - margin
            else:
                estimate, half = 0.03, 0.01
                outside = False
                if isinstance(expectation, Equivalence):
                    estimate, half = expectation.value, 0.01
                    expected, margin = f"{expectation.value:g}", expectation.margin
                if isinstance(expectation, Paired):
                    expected, margin = f"differs by {expectation.size:g}", expectation.size
            for backend in BACKENDS:
                rows.append(
                    {
                        "claim": claim.id,
                        "expectation": expectation.name,
                        "kind": type(expectation).__name__.lower(),
                        "source": expectation.source,
                        "backend": backend,
                        "expected": expected,
                        "estimate": estimate,
                        "ci_low": estimate - half,
                        "ci_high": estimate + half,
                        "verdict": "contradicted" if outside else "supported",
                        "control": f"{expectation.control}: contradicted",
                        "seeds": one.seeds,
                        "range": f"m={one.widths[len(one.widths) // 2]}..{one.widths[-1]}",
                        "case": name,
                        "margin": margin,
                        "p_value": 0.001,
                        "reason": "",
                    }
                )
    return pd.DataFrame(rows, columns=list(COLUMNS["verdicts"]))


PLANTED: Mapping[str, Mapping[str, float]] = {
    "convergence/initialization": {"deviation": -0.5, "bias": -1.0},
    "constancy/gradient_flow": {f"relu-1-{d}/{q}": -0.55 for d in ("sphere", "digits") for q in ("drift", "drift_offdiagonal")},
    "hierarchy/truncation": {
        **{f"error_p{p}": -float(p // 2) for p in range(2, 7)},
        **{f"kernel_error_p{p}": -float(p // 2) for p in range(2, 7)},
    },
    "hierarchy/small_times": {},
    "hierarchy/horizon": {"horizon": 0.5},
    "hierarchy/recipe": {},
    "hierarchy/depth": {},
    "hierarchy/feature_strength": {"error_p2": 0.0},
    "hierarchy/real_data": {"error_p4": -2.0},
    "hierarchy/evolution": {},
    "hierarchy/sizes": {f"size_{r}{flow}": (0.0, -1.0, -1.0, -2.0, -2.0)[r - 2] for r in range(2, 7) for flow in ("", "_flow")},
    "hierarchy/limits": {"deviation_2": -0.5, "deviation_4": -0.5},
    "hierarchy/linear_networks": {},
    "hierarchy/correlations": {"ff": 0.0, "kernel": 0.0, "ffff": 0.0, "K3_K3": -2.0, "K5_K5": -4.0, "K6": -2.0},
    "hierarchy/first_order": {"error_f1": -2.0},
    "hierarchy/iterated_integrals": {},
    "gap/measures": {},
    "gap/condition_number": {},
    "gap/label_noise": {},
    "gap/transfer": {},
    "gap/distribution_shift": {},
    "gap/equivalence": {"distance": -0.5, "distance_without_f0": -0.1},
    "gap/laziness": {},
    "gap/hierarchy": {"fluctuation": -0.5},
    "gap/kernel_regression": {},
    "gap/after_kernel": {},
    "gap/kernel_methods": {},
}
PLANTED = ByClaim(PLANTED, "is not in PLANTED of tests/figures/synthetic.py: say there which slopes its figure is tried with")


@cache
def cases(study: str = "default") -> Mapping[str, Mapping[str, Case]]:
    """The cases of a study, with few seeds so that tables stay small."""
    text = (Path(__file__).parents[2] / "workflow" / "config" / f"{study}.yaml").read_text(encoding="utf-8")
    found: dict[str, dict[str, Case]] = {}
    for id_, section in yaml.safe_load(text)["claims"].items():
        for name, own in section["cases"].items():
            fields = {k: tuple(v) if isinstance(v, list) else v for k, v in (section.get("defaults", {}) | own).items()}
            few = {"seeds": min(fields["seeds"], 6)}
            found.setdefault(id_, {})[name] = get(id_).case_type(**(fields | few))
    return ByClaim(found, f"has no cases in workflow/config/{study}.yaml: add some, with controls (docs/extending.md, A claim)")


FACTS: Mapping[str, Any] = {
    "study": "default",
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "dirty": False,
    "versions": {"jax": "0.10.2", "numpy": "2.4.6", "torch": "2.13.0"},
    "python": "3.11.2",
    "platform": "Linux-6.1-x86_64",
    "processor": "A processor",
    "cpus": 2,
    "backends": {
        "torch": [{"framework": "torch 2.13.0", "device": "cpu", "precision": "float64"}],
        "jax": [{"framework": "jax 0.10.2", "device": "cpu", "precision": "float64"}],
    },
    "measured_seconds": {"torch": 431.5, "jax": 399.2},
    "peak_memory_bytes": {"torch": 1_300_000_000, "jax": 1_700_000_000},
}
"""As `environment.json` holds them."""
