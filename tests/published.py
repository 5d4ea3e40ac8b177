"""The published results as the expressions behind numbers in Markdown name them."""

import ast
import importlib
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ntkbench import files, tables
from ntkbench.claims import all_claims
from ntkbench.verdicts.expectations import Bound, Equivalence, Rate

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "results" / "reference"


@dataclass(frozen=True)
class Run:
    """A published run."""

    folder: Path

    @cached_property
    def table(self) -> pd.DataFrame:
        return tables.read_table(self.folder / "verdicts.csv", "verdicts")

    @cached_property
    def checks(self) -> pd.DataFrame:
        return tables.read_table(self.folder / "crosscheck.csv", "crosscheck")

    @cached_property
    def facts(self) -> dict[str, Any]:
        return dict(files.read_json(self.folder / "environment.json"))

    def rows(self, claim: str = "", case: str = "", **values: str) -> pd.DataFrame:
        """Verdicts of torch (`backend=None`: of both) whose claim (or `claim/expectation`) and case these are."""
        chosen = {"backend": "torch", **values}
        found = self.table
        if claim.count("/") == 2:
            claim, chosen["expectation"] = claim.rsplit("/", 1)
        if claim:
            found = found[found["claim"].str.startswith(claim)]
        if case:
            found = found[found["case"] == case]
        for name, value in chosen.items():
            if value is not None:
                found = found[found[name] == value]
        return found

    def count(self, verdict: str = "", claim: str = "", case: str = "", **values: str) -> int:
        """How many rows there are, of a verdict where one is given."""
        found = self.rows(claim, case, **values)
        return len(found[found["verdict"] == verdict] if verdict else found)

    def both(self, verdict: str = "") -> int:
        """As `count`, over both backends."""
        return self.count(verdict, backend=None)

    def alike(self) -> int:
        """How many verdicts each backend has, if they are the same in both."""
        first, second = [self.rows(backend=name).drop(columns="backend").reset_index(drop=True) for name in ("torch", "jax")]
        same = ["claim", "expectation", "case", "verdict"]
        if not first[same].equals(second[same]):
            raise ValueError("the backends' verdicts differ")
        return len(first)

    def rivals(self, verdict: str) -> int:
        """Verdicts of this kind on rival readings, in both backends."""
        names = {(claim.id, e.name) for claim in all_claims().values() for e in claim.expectations if e.rival_to is not None}
        found = self.rows(backend=None, verdict=verdict)
        return sum(key in names for key in zip(found["claim"], found["expectation"], strict=True))

    def agreeing(self) -> int:
        """How many observables there are, if all agree between the backends."""
        if not self.checks["agrees"].all():
            raise ValueError("some observables do not agree")
        return len(self.checks)

    def worst(self) -> float:
        """The largest relative difference between the backends, where they agree."""
        return float(self.checks[self.checks["agrees"]]["max_rel"].max())

    def seconds(self, backend: str) -> float:
        """Of measuring."""
        return float(self.facts["measured_seconds"][backend])

    def least(self, expectation: str) -> float:
        """The smallest estimate over cases, torch."""
        return float(self.rows(expectation)["estimate"].min())

    def most(self, expectation: str) -> float:
        """The largest."""
        return float(self.rows(expectation)["estimate"].max())

    def loss(self, expectation: str, case: str) -> tuple[float, float, float]:
        """An estimate below zero and its interval, told as what is lost."""
        estimate, low, high = self.estimate(expectation, case)
        return -estimate, -high, -low

    def estimate(self, expectation: str, case: str) -> tuple[float, float, float]:
        """Estimate and interval; both backends must have them alike to three digits."""
        found = [self.rows(expectation, case, backend=name) for name in ("torch", "jax")]
        (first, second) = [tuple(float(of[column].iloc[0]) for column in ("estimate", "ci_low", "ci_high")) for of in found]
        if [len(of) for of in found] != [1, 1] or any(
            abs(a - b) > 1e-3 * max(abs(a), 1) for a, b in zip(first, second, strict=True)
        ):
            raise ValueError(f"{expectation} {case} is not one row, alike in both backends: {first}, {second}")
        return first

    def mean(self, case: str, quantity: str, width: int) -> tuple[float, float, float]:
        """A quantity's mean and interval as `ntkbench quantities` printed them into `quantities.txt`."""
        inside = False
        for line in (self.folder / "quantities.txt").read_text(encoding="utf-8").splitlines():
            if not line.startswith(" "):
                inside = line.strip() == case
            elif inside and (found := re.match(rf"  {quantity} +{width} +(\S+) \[(\S+), (\S+)\]", line)):
                return float(found[1]), float(found[2]), float(found[3])
        raise ValueError(f"quantities.txt has no {quantity} of {case} at width {width}")

    def explained(self, case: str, width: int, column: str) -> float:
        """A number of `explained.csv`."""
        table = pd.read_csv(self.folder / "explained.csv")
        (found,) = table[(table["case"] == case) & (table["width"] == width)][column]
        return float(found)

    def span(self, case: str, width: int, column: str) -> tuple[float, float, float]:
        """A number of `explained.csv` with its interval."""
        ends = [self.explained(case, width, f"{column}{end}") for end in ("", "_low", "_high")]
        return ends[0], ends[1], ends[2]


def gains(case: str) -> list[float]:
    """A row of the table of `gap/hierarchy`: the case's largest width and its estimates.

    From an antisymmetric start order 3 is order 2, and has none.
    """
    run = Run(REFERENCE)
    asked = ["gain_p3"] * (not case.endswith("antisymmetric")) + ["gain_p4", "loss_gain_p4", "change_dominates"]
    width = float(run.rows("gap/hierarchy/gain_p4", case)["range"].iloc[0].removeprefix("m="))
    return [width, *(x for name in asked for x in run.estimate(f"gap/hierarchy/{name}", case))]


def peers(row: str) -> list[float]:
    """A row of the README's table against neural-tangents: its two sizes, and each framework's ratio with its interval."""
    found = json.loads((REFERENCE / "measured.json").read_text(encoding="utf-8"))["peers"]["value"][row]
    return [*map(float, row.split(", ")[:2]), *found["torch"], *found["jax"]]


def points(values: Sequence[float]) -> list[float]:
    """Shares of accuracy in hundredths."""
    return [100 * value for value in values]


def tested(name: str) -> None:
    """Nothing: a test, which must be there, accounts for the numbers."""
    path, _, test = name.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    if test not in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}:
        raise ValueError(f"there is no test {name}")


def setting(name: str) -> Any:
    """A constant of the code, `module:NAME`."""
    module, _, constant = name.partition(":")
    return getattr(importlib.import_module(module), constant)


def margin(name: str) -> float:
    """The margin, or the smallest effect, of `claim/expectation`."""
    claim, _, expectation = name.rpartition("/")
    (found,) = (e for e in all_claims()[claim].expectations if e.name == expectation)
    return float(found.margin if isinstance(found, Rate | Bound | Equivalence) else found.size)


def canary_mb() -> float:
    """Size of the stored results of the canary, in 10^6 bytes."""
    stored = [table.parent for table in (ROOT / "tests" / "canary").glob("*/verdicts.csv")]
    return sum(file.stat().st_size for part in stored for file in part.rglob("*") if file.is_file()) / 1e6


def largest_growth() -> float:
    """The largest factor on the cross-check's tolerance that any claim declares."""
    return max(factor for claim in all_claims().values() for factor in claim.growth.values())


def minutes(seconds: float) -> tuple[int, int]:
    """Whole minutes, and the seconds beyond them."""
    return int(seconds // 60), round(seconds % 60)


def names() -> dict[str, Any]:
    """What an expression may use: the runs by their folders' names, `default` being the one that is published whole."""
    runs = {folder.name: Run(folder) for folder in REFERENCE.iterdir() if (folder / "verdicts.csv").is_file()}
    measured = json.loads((REFERENCE / "measured.json").read_text(encoding="utf-8"))
    return {
        **runs,
        "default": Run(REFERENCE),
        "pyproject": tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")),
        "disk_gb": json.loads((REFERENCE / "disk.json").read_text(encoding="utf-8"))["bytes"] / 1e9,
        "measured": {name: entry["value"] for name, entry in measured.items()},
        **{function.__name__: function for function in (math.exp, gains, max, minutes, peers, points, tested)},
        **{function.__name__: function for function in (canary_mb, largest_growth, margin, setting)},
    }


@cache
def sizes() -> frozenset[int]:
    """Every size that a study of the tree has: of networks, data and samples."""
    files = [*(ROOT / "workflow" / "config").glob("*.yaml"), *REFERENCE.glob("*/*.yaml")]
    return frozenset(size for file in files for size in _sizes(yaml.safe_load(file.read_text(encoding="utf-8"))))


def _sizes(value: Any) -> set[int]:
    if isinstance(value, Mapping):
        return {size for part in value.values() for size in _sizes(part)}
    if isinstance(value, list):
        return {size for part in value for size in _sizes(part)}
    return {value} if isinstance(value, int) and not isinstance(value, bool) else set()
