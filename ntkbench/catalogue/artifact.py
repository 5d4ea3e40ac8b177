"""The numbers of the artifact's description, from the files of the published runs."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ntkbench import files, history, tables
from ntkbench.catalogue.markdown import escaped, plural, table
from ntkbench.claims import all_claims
from ntkbench.publish import DISK, FACTS
from ntkbench.units import duration, gigabytes

REFERENCE = Path("results") / "reference"
EXPERIMENTS = {
    "set-up": "environment_seconds",
    "E1": "reproduce_smoke_minutes",
    "E2": "reproduce_default_seconds",
    "E3": "test_minutes",
    "E5": "benchmark_minutes",
}
"""Experiments whose duration does not depend on what is asked, and the entry of `measured.json` that says how long it is."""
Rows = Sequence[dict[str, Any]]


def run(root: Path) -> str:
    """The published run in two sentences."""
    reference = root / REFERENCE
    facts, rows = files.read_json(reference / FACTS), _verdicts(reference)
    past = [row for row in history.read(reference) if row["commit"] == facts["commit"]]
    checks = tables.read_rows(reference / "crosscheck.csv", "crosscheck")
    backends = sorted({row["backend"] for row in rows})
    agreed = sum(row["agrees"] for row in checks)
    return (
        f"The published run is of the study `{facts['study']}` at commit `{facts['commit'][:7]}`"
        f"{', published on ' + past[0]['published'] if past else ''}: {plural(len({row['claim'] for row in rows}), 'claim')}, "
        f"{plural(len(rows), 'verdict')} ({' and '.join(backends)} together), of which {_counted(rows)}. "
        f"The two frameworks agree in {agreed} of {plural(len(checks), 'observable')}, to "
        f"{max(row['max_rel'] for row in checks):.1g} of the largest at worst."
    )


def requirements(root: Path) -> str:
    """What the published run had and took."""
    reference = root / REFERENCE
    facts = files.read_json(reference / FACTS)
    seconds, memory = facts["measured_seconds"], facts["peak_memory_bytes"]
    rows = [
        ["machine", f"{facts['cpus']} cores, {facts['processor']}; no GPU" if not _gpus(facts) else ", ".join(_gpus(facts))],
        ["system", f"{facts['platform']}, Python {facts['python']}"],
        ["frameworks", ", ".join(f"{name} {facts['versions'][name]}" for name in ("torch", "jax", "numpy"))],
        ["time of all measurements, one thread each", ", ".join(f"{duration(s)} in {name}" for name, s in seconds.items())],
        ["memory of one process, at most", ", ".join(f"{gigabytes(size)} in {name}" for name, size in memory.items())],
        ["disk for the installation", f"{_measured(root)['environment_gb']['value']} GB"],
        ["disk for the run's results", gigabytes(files.read_json(reference / DISK)["bytes"])],
    ]
    return table(["", "published run"], [[head, escaped(text)] for head, text in rows])


def times(root: Path) -> str:
    """How long each experiment took whoever measured it."""
    measured, lines = _measured(root), []
    for experiment, name in EXPERIMENTS.items():
        found = measured[name]
        value = found["value"]["whole"] if isinstance(found["value"], dict) else found["value"]
        seconds = value * (60 if name.endswith("_minutes") else 1)
        lines.append([experiment, f"`{found['command']}`", duration(seconds), found["machine"], f"`{found['commit'][:7]}`"])
    return table(["", "command", "took", "on", "at commit"], lines)


def claims(root: Path) -> str:
    """C1, C2, ...: a claim a row, with its verdicts but for those of rival readings."""
    rows = _verdicts(root / REFERENCE)
    lines = []
    for number, claim in enumerate(all_claims().values(), 1):
        rivals = {expectation.name for expectation in claim.expectations if expectation.rival_to}
        own = [row for row in rows if row["claim"] == claim.id]
        stated = [row for row in own if row["expectation"] not in rivals]
        of_rivals = _counted([row for row in own if row["expectation"] in rivals])
        page = f"[{escaped(claim.title)}](claims/{claim.id}.md)"
        lines.append([f"C{number}", f"`{claim.id}`", page, _counted(stated) or "not asked", of_rivals or "none"])
    return table(["", "claim", "in short", "verdicts", "rival readings"], lines)


def studies(root: Path) -> str:
    """The published runs beside the default study: where, on what, how long, what came of it."""
    lines = []
    for path in sorted((root / REFERENCE).glob(f"*/{FACTS}")):
        facts, rows = files.read_json(path), _verdicts(path.parent)
        seconds = ", ".join(f"{duration(s)} in {name}" for name, s in facts["measured_seconds"].items())
        device = ", ".join(_gpus(facts)) or f"{facts['cpus']} cores, {facts['processor']}"
        commit = "not known" if facts["commit"] == "unknown" else f"`{facts['commit'][:7]}`"
        asked = ", ".join(f"`{claim}`" for claim in dict.fromkeys(row["claim"] for row in rows))
        folder = f"[{path.parent.name}](../{REFERENCE.as_posix()}/{path.parent.name})"
        lines.append([folder, asked, escaped(device), seconds, _counted(rows), commit])
    return table(["run", "claims", "machine", "time to measure", "verdicts", "commit"], lines)


def _verdicts(folder: Path) -> Rows:
    return tables.read_rows(folder / "verdicts.csv", "verdicts")


def _measured(root: Path) -> dict[str, Any]:
    return dict(files.read_json(root / REFERENCE / "measured.json"))


def _counted(rows: Rows) -> str:
    counts = Counter(row["verdict"] for row in rows)
    return ", ".join(f"{counts[name]} {name}" for name in history.VERDICTS if counts[name])


def _gpus(facts: dict[str, Any]) -> list[str]:
    found = [device["device_name"] for devices in facts["backends"].values() for device in devices if device["device"] != "cpu"]
    return list(dict.fromkeys(found))
