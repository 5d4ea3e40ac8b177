"""A synthetic study on disk, beside a copy of the paper's sources."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from ntkbench import files, tables
from ntkbench.claims import all_claims
from ntkbench.claims.base import Case
from ntkbench.performance import scaling
from tests.figures import synthetic, timings

PAPER = Path(__file__).parents[2] / "paper"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="100"><rect width="300" height="100" fill="gray"/></svg>'
Edit = Callable[[pd.DataFrame], pd.DataFrame]


def write(root: Path, cases: Mapping[str, Mapping[str, Case]], edit: Edit = lambda verdicts: verdicts) -> Path:
    """`root/paper` with placeholder figures and `root/results/default` with all tables; returns the latter.

    Args:
        edit: changes the verdicts before they are written.
    """
    sources = shutil.ignore_patterns("generated", "figures", "*.pdf")
    shutil.copytree(PAPER, root / "paper", ignore=sources, dirs_exist_ok=True)
    study = root / "results" / "default"
    verdicts, checks = [], []
    for name, claim in all_claims().items():
        if name not in cases:
            continue
        planted = synthetic.PLANTED.get(name, {})
        quantities = synthetic.table(claim, cases[name], planted)
        tables.write_table(study / "quantities" / f"{name}.csv", "quantities", quantities.to_dict("records"))
        files.write_bytes(root / "paper" / "figures" / f"{name.replace('/', '-')}.svg", SVG)
        verdicts.append(synthetic.verdicts(claim, cases[name], planted))
        for k, case in enumerate(cases[name]):
            row = {"claim": name, "case": case, "quantity": "K2", "max_abs": 1e-13, "max_rel": 2e-15 * (k + 1)}
            checks.append(row | {"allowed": 1e-10, "agrees": True})
    tables.write_table(study / "verdicts.csv", "verdicts", edit(pd.concat(verdicts)).to_dict("records"))
    tables.write_table(study / "crosscheck.csv", "crosscheck", checks)
    files.write_json(study / "environment.json", synthetic.FACTS)
    rows = timings.rows()
    tables.write_table(study / "performance.csv", "performance", rows)
    tables.write_table(study / "scaling.csv", "scaling", scaling.table(rows))
    files.write_bytes(root / "paper" / "figures" / "scaling.svg", SVG)
    return study
