"""Whether this installation can be trusted."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ntkbench.cli.app import app
from ntkbench.cli.output import print_out
from ntkbench.cli.runs import study_file
from ntkbench.units import counted

COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}


@app.command("doctor")
def examine(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study that shall run here, or its file.")] = Path(
        "default"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="As JSON: check, state, found, mend.")] = False,
) -> None:
    """Examine this installation: versions, devices, precision, threads, memory, the frameworks against each other.

    Each line is ok, a note or a problem, with what to do. Exit code 1 if there is a problem.
    """
    from ntkbench import doctor

    findings = []
    for finding in doctor.examine(study_file(study), Path("results")):
        findings.append(finding)
        if not as_json:
            mend = f"\n         {escape(finding.mend)}" if finding.mend else ""
            state = f"[{COLOURS[finding.state]}]{finding.state:7}[/]"
            print_out(f"{state}  {finding.check}: {escape(finding.found)}{mend}")
    counts = Counter(str(finding.state) for finding in findings)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        states = (f"{counts['ok']} ok", counted(counts["note"], "note"), counted(counts["problem"], "problem"))
        print_out(f"\n{counted(len(findings), 'check')}: {', '.join(states)}")
    if counts["problem"]:
        raise typer.Exit(1)
