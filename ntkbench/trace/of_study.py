"""Numbers of a study as a whole: counts, sizes, seconds, and what its timings come to."""

from ntkbench import records, tables
from ntkbench.files import RecordError
from ntkbench.performance import scaling
from ntkbench.trace import again
from ntkbench.trace.again import Finding
from ntkbench.trace.link import Link, judged, of_paper
from ntkbench.trace.of_claim import of_claim
from ntkbench.trace.places import SETTING
from ntkbench.trace.published import not_kept
from ntkbench.trace.run import Run, same_machine
from ntkbench.units import counted

OF_TABLES = ("counts", "judged", "expectations", "unasked", "crosscheck")
OF_RECORDS = ("seconds", "memory")
OF_FILE = ("claims", "cases", "controls", "seeds", "widths")
"""What is printed of a study as a whole, by where it comes from."""


def of_study(run: Run, address: str) -> list[Link]:
    """A number of the study as a whole: of its file, its tables, or the facts of all its records."""
    first, _, kind = address.partition("/")
    if first == SETTING:
        return _of_setting(run, kind)
    if kind not in (*OF_TABLES, *OF_RECORDS, *OF_FILE):
        raise ValueError(f"there is no {address}; of a study are traced {', '.join((*OF_TABLES, *OF_RECORDS, *OF_FILE))}")
    links = _joined(run) if kind in OF_TABLES else [_summed(run)] if kind in OF_RECORDS else []
    file = Link("settings", "ok", f"{run.study_file}: {counted(len(run.study.cases), 'claim')}")
    hint = f"ntkbench trace CLAIM/EXPECTATION/CASE --results {run.folder} follows any one of them to its measurements"
    links += [file, Link("again", "ok", f"make reproduce STUDY={run.study.name}; {hint}")]
    return [*of_paper(run, ("study",), links), *links]


def _of_setting(run: Run, name: str) -> list[Link]:
    """A size of a case: what the study's file says, against what was measured by it."""
    claim, _, case = name.rpartition("/")
    if case not in run.study.cases.get(claim, {}):
        raise ValueError(f"{run.study_file} has no case {name}")
    links = of_claim(run, claim, None, None)
    return [*of_paper(run, ("claims",), links), *links]


def _joined(run: Run) -> list[Link]:
    """The study's tables against those of its claims and cases, of which they are joined."""
    if not run.keeps_measurements:
        return not_kept(run)
    cells = [cell for claim in run.study.cases for cell in run.cells(claim)]
    parts = {
        "verdicts": [run.of_claim("judgements", claim) for claim in run.study.cases],
        "crosscheck": [run.crosscheck(cell) for cell in cells],
    }
    links = []
    for table, paths in parts.items():
        path = run.folder / f"{table}.csv"
        try:
            rows = [row for part in paths for row in tables.read_rows(part, table)]
        except RecordError as error:
            links.append(Link(table, "broken", str(error)))
        else:
            links.append(judged(table, path, again.against(path, table, rows, strict=True), []))
    return links


def _summed(run: Run) -> Link:
    """Seconds and memory of `environment.json`, summed again over the records of all cases."""
    path = run.folder / "environment.json"
    if not run.keeps_measurements:
        return Link("machine", "not kept", f"{path}: the records it was summed over are not kept here")
    seconds = dict.fromkeys(run.study.backends, 0.0)
    peak = dict.fromkeys(run.study.backends, 0)
    try:
        for backend in run.study.backends:
            for claim in run.study.cases:
                for cell in run.cells(claim):
                    facts = records.read_record(run.measurement(cell, backend)).facts
                    seconds[backend] += sum(facts["seconds"].values())
                    peak[backend] = max(peak[backend], facts["peak_memory_bytes"])
    except RecordError as error:
        return Link("measurement", "broken", str(error))
    same = run.facts["measured_seconds"] == seconds and run.facts["peak_memory_bytes"] == peak
    found = Finding.of(same, "summed again over all records", "not the sum over its records")
    return judged("machine", path, found, [])


def of_costs(run: Run) -> list[Link]:
    """A timing or an exponent: fitted again; a time itself can only be measured anew."""
    timings, fitted = run.folder / "performance.csv", run.folder / "scaling.csv"
    try:
        rows = scaling.timings(timings)
    except RecordError as error:
        return [Link("timings", "broken", str(error))]
    links = []
    parts = [run.folder / "performance" / f"{backend}.csv" for backend in run.study.backends]
    if all(part.is_file() for part in parts):
        joined = [row for part in parts for row in scaling.timings(part)]
        links.append(judged("timings", timings, again.against(timings, "performance", joined, strict=True), []))
        links += [Link("timings", "ok", f"{part}: measured; a time can only be measured anew") for part in parts]
    else:
        links.append(Link("timings", "ok", f"{timings}: {counted(len(rows), 'row')}; a time can only be measured anew"))
    settings = sorted(
        {
            f"{row['device']}, {row['precision']}, {counted(row['threads'], 'thread')}, {counted(row['rounds'], 'round')}"
            for row in rows
        }
    )
    links.append(Link("machine", "ok", "; ".join(settings)))
    strict = same_machine(run.facts)
    fits = judged("exponents", fitted, again.against(fitted, "scaling", scaling.table(rows), strict), links)
    command = f"rm -rf {run.folder}/performance && make reproduce STUDY={run.study.name}"
    return [*of_paper(run, ("scaling",), [fits, *links]), fits, *links, Link("again", "ok", command)]
