"""Synthetic studies with planted exponents, shaped as the real tables are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ntkbench.claims import Claim
from ntkbench.claims.base import Case
from ntkbench.records import COLUMNS
from ntkbench.verdicts.expectations import Bound, Paired, Rate

BACKENDS = ("torch", "jax")


def case(claim: Claim, **fields: Any) -> Case:
    """A case of the claim's type with plain values for what is not given."""
    values: dict[str, Any] = {"dataset": "sphere", "train_size": 8, "input_dim": 8, "activation": "tanh", "depth": 2, "seeds": 16}
    values["widths"] = tuple(2**k for k in range(5, 13))
    if "times" in claim.case_type.__dataclass_fields__:
        euler = claim.id.startswith("gap/")
        values |= {"times": (1.0, 2.0, 4.0), "step": 0.05, "integrator": "euler" if euler else "rk4", "test_size": 8}
    return claim.case_type(**(values | fields))


def table(
    claim: Claim, cases: Mapping[str, Case], slopes: Mapping[str, float], seed: int = 0, noise: float = 0.2
) -> pd.DataFrame:
    """Tidy quantities: `2 width^slope` times log-normal noise; `slopes` maps a quantity, or `case/quantity`, to its exponent.

    Controls stay flat, `_path` quantities grow with time, differences shrink with width.
    """
    draw = np.random.default_rng(seed)
    rows = []
    for k, (name, one) in enumerate(cases.items()):
        for quantity in claim.quantities:
            exponent = 0.0 if one.control else slopes.get(f"{name}/{quantity}", slopes.get(quantity, -1.0))
            times: Sequence[float] = getattr(one, "times", ()) if quantity.endswith("_path") else (np.nan,)
            for width in one.widths:
                for s in range(one.seeds):
                    size = (1 + 0.35 * k) * width**exponent * np.exp(noise * draw.standard_normal())
                    if "difference" in quantity or quantity.startswith("gain"):
                        size = (0.4 if one.control is None else 0.0) / np.sqrt(width) + 0.02 * draw.standard_normal()
                    for t in times:
                        value = size * (t if np.isfinite(t) else 1.0)
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
                        "control": "contradicted",
                        "seeds": one.seeds,
                        "range": f"{one.widths[len(one.widths) // 2]}-{one.widths[-1]}",
                        "case": name,
                        "margin": margin,
                        "p_value": 0.001,
                        "reason": "",
                    }
                )
    return pd.DataFrame(rows, columns=list(COLUMNS["verdicts"]))


def study(claim: Claim) -> tuple[dict[str, Case], dict[str, float]]:
    """Cases and planted exponents of each claim, as the real studies are expected to have them."""
    if claim.id == "convergence/initialization":
        cases = {
            f"{a}-{d}-{s}": case(claim, activation=a, depth=d, dataset=s)
            for a in ("tanh", "relu", "erf")
            for d, s in ((2, "sphere"), (3, "digits"))
        }
        cases |= {f"{a}-bias": case(claim, activation=a, statistic="bias", widths=(8, 16, 32, 64, 128)) for a in ("tanh", "relu")}
        cases["tanh-correlated"] = case(claim, control="correlated_weights")
        cases["tanh-bias-correlated"] = case(claim, control="correlated_weights", statistic="bias", widths=(8, 16, 32, 64, 128))
        return cases, {"deviation": -0.5, "bias": -1.0}
    if claim.id == "constancy/gradient_flow":
        cases = {f"{a}-{d}": case(claim, activation=a, depth=d) for a in ("tanh", "erf", "gelu") for d in (1, 2)}
        cases |= {f"relu-{d}": case(claim, activation="relu", depth=d) for d in (1, 2)}
        cases["tanh-mean-field"] = case(claim, control="mean_field")
        cases["relu-mean-field"] = case(claim, control="mean_field", activation="relu")
        relu = {f"relu-{d}/{q}": -0.55 for d in (1, 2) for q in ("drift", "drift_offdiagonal")}
        return cases, relu
    if claim.id == "hierarchy/truncation":
        cases = {f"{a}-{'antisymmetric' if s else 'plain'}": case(claim, activation=a, antisymmetric=s)
                 for a in ("tanh", "erf") for s in (True, False)}  # fmt: skip
        cases["tanh-shuffled"] = case(claim, antisymmetric=True, control="shuffled_top")
        cases["tanh-plain-shuffled"] = case(claim, control="shuffled_top")
        cases["tanh-mean-field"] = case(claim, control="mean_field")
        return cases, {"error_p4": -2.0}
    cases = {f"digits-{n}": case(claim, dataset="digits", input_dim=64, train_size=n) for n in (64, 128, 256)}
    cases |= {"digits-128-antisymmetric": case(claim, dataset="digits", input_dim=64, antisymmetric=True)}
    cases |= {"digits-permuted": case(claim, control="permuted_labels"), "digits-mean-field": case(claim, control="mean_field")}
    return cases, {"distance": -0.5, "distance_without_f0": -0.1}
