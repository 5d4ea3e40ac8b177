"""Stage 5: the tables of the whole study, and where it ran."""

from collections.abc import Sequence
from pathlib import Path

from ntkbench import lineage
from ntkbench.files import write_json
from ntkbench.provenance import environment
from ntkbench.records import read_record
from ntkbench.tables import read_rows, write_table


def collect(
    study: str,
    judgements: Sequence[Path],
    crosschecks: Sequence[Path],
    measurements: Sequence[Path],
    verdicts: Path,
    crosscheck: Path,
    facts: Path,
) -> None:
    """Join the claims' tables, and write the environment with the facts of every device that measured.

    Args:
        judgements, crosschecks: csv files, in the order in which their rows shall stand.
        measurements: records, from which the backends' facts, the seconds and the peak memory are taken.
        verdicts, crosscheck, facts: the files to write, two csv and one json.

    Raises:
        RecordError: if a file is missing, damaged or foreign, or an output cannot be written.
    """
    known: dict[Path, str] = {}
    for table, parts, output in (("verdicts", judgements, verdicts), ("crosscheck", crosschecks, crosscheck)):
        write_table(output, table, [row for part in parts for row in read_rows(lineage.check(part, known), table)])
        lineage.note(output, "collect", parts)
    seconds: dict[str, float] = {}
    peak: dict[str, int] = {}
    devices: dict[str, list[dict[str, object]]] = {}
    roots = set()
    for path in measurements:
        of = read_record(path).facts
        backend = of["backend"]
        roots.add(of["root"])
        seconds[backend] = seconds.get(backend, 0.0) + sum(of["seconds"].values())
        peak[backend] = max(peak.get(backend, 0), of["peak_memory_bytes"])
        if of["backend_facts"] not in devices.setdefault(backend, []):
            devices[backend].append(of["backend_facts"])
    (root,) = roots
    measured = {"root": root, "backends": devices, "measured_seconds": seconds, "peak_memory_bytes": peak}
    write_json(facts, {"study": study, **environment(), **measured})
    lineage.note(facts, "collect", measurements)
