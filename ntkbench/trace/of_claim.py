"""From the verdicts of a claim to its measurements, inputs, code and command."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ntkbench import tables
from ntkbench.files import RecordError, note_of, read_note
from ntkbench.stages.cell import Cell
from ntkbench.stages.dependencies import stage_hash
from ntkbench.trace import again, code
from ntkbench.trace.again import Evidence, Finding
from ntkbench.trace.link import Link, Status, judged, records_besides
from ntkbench.trace.published import of_hashes
from ntkbench.trace.run import Run, same_machine
from ntkbench.units import counted


def of_claim(run: Run, claim: str, expectation: str | None, case: str | None) -> list[Link]:
    """From the study's tables to the command."""
    table = run.folder / "verdicts.csv"
    rows: list[dict[str, Any]] = []
    damage = None
    try:
        rows = [row for row in tables.read_rows(table, "verdicts") if row["claim"] == claim]
    except RecordError as error:
        damage = Finding("damaged", str(error))
    asked = [row for row in rows if expectation is None or (row["expectation"], row["case"]) == (expectation, case)]
    if not asked and not damage:
        raise ValueError(f"{table} has no verdict on {claim}/{expectation}/{case}")
    if not run.keeps_measurements:
        kept = Link("verdicts", "broken", f"{table}: {damage.text}") if damage else _told(table, asked)
        return [kept, *of_hashes(run, claim, case)]
    strict = same_machine(run.facts)
    evidence = again.gather(run, claim, strict)
    roots = _roots(run, evidence, case)
    checks = _crosschecks(run, claim, evidence, strict, roots)
    decided = again.verdicts(run, evidence)
    parts = {"judgements": ("verdicts", decided), "quantities": ("quantities", again.quantities(run, evidence))}
    made = []
    for stage, (kind, again_rows) in parts.items():
        path = run.of_claim(stage, claim)
        made.append(judged(stage, path, again.against(path, kind, again_rows, strict), roots))
    whole = judged("verdicts", table, damage or again.same_rows(rows, _typed(decided), strict), roots)
    said = [_told(table, asked)] if case and not damage else []
    return [whole, *said, *made, *checks, *roots]


def _typed(decided: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows as they are read back from a table: counts of seeds are text there."""
    kinds = tables.COLUMNS["verdicts"]
    return [{name: str(row[name]) if kinds[name] == "str" else row[name] for name in kinds} for row in decided]


def _told(table: Path, rows: Sequence[dict[str, Any]]) -> Link:
    """What the table says."""
    lines = [
        f"{row['backend']} {row['verdict']}, {row['estimate']:.6g} [{row['ci_low']:.6g}, {row['ci_high']:.6g}], "
        f"{row['range']}, {row['seeds']} seeds" + (f" ({row['reason']})" if row["reason"] else "")
        for row in rows
    ]
    shown = lines if len(lines) <= 4 else [counted(len(lines), "verdict")]
    return Link("verdicts", "ok", f"{table} says: " + "; ".join(shown))


def _crosschecks(run: Run, claim: str, evidence: Evidence, strict: bool, roots: Sequence[Link]) -> list[Link]:
    """Each case's cross-check, and the study's table of them."""
    broken = []
    for cell in evidence.cells:
        path = run.crosscheck(cell)
        found = again.against(path, "crosscheck", evidence.checks.get(cell.name, []), strict)
        if path in evidence.faults:
            found = Finding("damaged", evidence.faults[path])
        link = judged("cross-check", path, found, roots)
        broken += [] if link.status == "ok" else [link]
    several = f"{run.folder / 'crosscheck' / claim}: compared again in {counted(len(evidence.cells), 'case')}, equal"
    path = run.folder / "crosscheck.csv"
    try:
        there = [row for row in tables.read_rows(path, "crosscheck") if row["claim"] == claim]
        found = again.same_rows(there, [row for cell in evidence.cells for row in evidence.checks.get(cell.name, [])], strict)
    except RecordError as error:
        found = Finding("damaged", str(error))
    return [judged("cross-check", path, found, roots), *(broken or [Link("cross-check", "ok", several)])]


def _roots(run: Run, evidence: Evidence, case: str | None) -> list[Link]:
    """Measurements, inputs, settings, code, machine and command: what nothing here is made of."""
    links: list[Link] = []
    whole = 0
    other = [path for path, fault in evidence.faults.items() if "its config is" in fault]
    for cell in evidence.cells:
        own = [link for link in _records(run, evidence, cell) if not any(str(path) in link.text for path in other)]
        shown = [link for link in own if cell.name == case or link.status != "ok"]
        links += shown
        whole += len(own) - len(shown)
    if whole:
        links.append(Link("measurement", "ok", f"{records_besides(whole, case)}: verified"))
    told = f"{run.study_file}: that of the records, by its hash"
    if other:
        named = ", ".join(map(str, other))
        told = f"{run.study_file} is not what was measured: other settings than those of {named}"
    links.append(Link("settings", "broken" if other else "ok", told))
    return [*links, *_code(run, evidence, case), *_machine(evidence, case), _command(run, evidence, case)]


def _records(run: Run, evidence: Evidence, cell: Cell) -> Iterator[Link]:
    """A case's measurements and the data that they were made from."""
    for backend in run.study.backends:
        path = run.measurement(cell, backend)
        facts, fault = evidence.measured.get((cell.name, backend)), evidence.faults.get(path)
        if facts is not None:
            text = f"{path}: content {facts['content'][:12]} verified, of inputs {facts['inputs'][:12]}"
            yield Link("measurement", "ok", text)
        elif fault is not None:
            yield Link("measurement", "broken", fault)
        else:
            yield Link("measurement", "not checked", f"{path}: its inputs are broken")
    path = run.inputs(cell)
    if path in evidence.faults:
        yield Link("inputs", "broken", evidence.faults[path])
    else:
        text = f"{path}: content {evidence.inputs[cell.name].content[:12]} verified, drawn again, the same"
        yield Link("inputs", "ok", text)


def _code(run: Run, evidence: Evidence, case: str | None) -> list[Link]:
    """The code of each stage that left records, a line for each that differs."""
    claim = evidence.cells[0].claim.id
    told: dict[tuple[str, Status, str], None] = {}
    for cell in evidence.cells:
        if case not in (None, cell.name):
            continue
        asked: list[tuple[str, str | None, dict[str, Any]]] = []
        if (record := evidence.inputs.get(cell.name)) is not None:
            asked.append(("inputs", None, record.facts))
        asked += [
            ("measure", b, evidence.measured[cell.name, b]) for b in run.study.backends if (cell.name, b) in evidence.measured
        ]
        for stage, backend, facts in asked:
            there, here, text = code.told(facts["code"], facts["environment"], stage, claim, backend)
            told[f"{stage} {backend or ''}".strip(), "ok" if here else "changed" if there else "broken", text] = None
    links = [Link("code", status, f"{name}: {text}") for name, status, text in told]
    return [*links, *_code_of_analysis(run.of_claim("judgements", claim), claim)]


def _code_of_analysis(table: Path, claim: str) -> list[Link]:
    """What the note beside a table says of the code that decided; a damaged note is told where the table is read."""
    if not note_of(table).is_file():
        return []
    try:
        made_by = read_note(table).code
    except RecordError:
        return []
    same = made_by == stage_hash("analyse", claim)
    text = "that of this checkout" if same else "changed since: the checkout's has decided again"
    return [Link("code", "ok" if same else "changed", f"analyse: {made_by[:12]}, {text}")]


def _machine(evidence: Evidence, case: str | None) -> list[Link]:
    told: dict[tuple[Status, str], None] = {}
    for (name, _), facts in evidence.measured.items():
        if case not in (None, name):
            continue
        machine, device = facts["environment"], facts["backend_facts"]
        versions = ", ".join(f"{key} {value}" for key, value in sorted(machine["versions"].items()))
        where = f"{machine['processor']}, {machine['cpus']} cores, {machine['platform']}, Python {machine['python']}"
        how = ", ".join(f"{key} {value}" for key, value in sorted(device.items()))
        same = same_machine(machine)
        others = "" if same else "; processor or versions are others here"
        told["ok" if same else "changed", f"{how}; {where}; {versions}{others}"] = None
    return [Link("machine", status, text) for status, text in told]


def _command(run: Run, evidence: Evidence, case: str | None) -> Link:
    commits = {str(facts["environment"]["commit"]) for facts in evidence.measured.values()}
    at = f"git checkout {commits.pop()[:12]} && " if len(commits) == 1 and "unknown" not in commits else ""
    if case is None:
        return Link("again", "ok", f"{at}make reproduce STUDY={run.study.name}")
    claim = evidence.cells[0].claim.id
    records_ = " ".join(f"results/{run.study.name}/measurements/{claim}/{case}/{b}.npz" for b in run.study.backends)
    return Link("again", "ok", f"{at}rm -f {records_} && make reproduce STUDY={run.study.name}")
