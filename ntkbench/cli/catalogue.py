"""What is claimed."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ntkbench.cli.app import app
from ntkbench.cli.output import or_exit, print_out


@app.command("claims")
def list_claims(markdown: Annotated[bool, typer.Option(help="As a Markdown table, the one in the README.")] = False) -> None:
    """List the claims: what is stated, where, and what breaks it."""
    from ntkbench import claims

    if markdown:
        typer.echo(claims_table())
        return
    table = Table("claim", "statement", "source", show_lines=True)
    for claim in claims.all_claims().values():
        table.add_row(claim.id, claim.statement, claim.source)
    print_out(table)


@app.command()
def show(claim_id: Annotated[str, typer.Argument(metavar="CLAIM", help="For instance hierarchy/truncation.")]) -> None:
    """Show all that is said about one claim."""
    from ntkbench import claims
    from ntkbench.verdicts.expectations import expected

    claim = or_exit(lambda: claims.get(claim_id))
    parts = {"Statement": claim.statement, "Source": claim.source, "Assumptions": claim.assumptions}
    lines = [f"{claim.id}: {claim.title}", "", *(f"{head}: {text}" for head, text in parts.items()), "", "Quantities:"]
    lines += [f"  {name}: {text}" for name, text in claim.quantities.items()]
    lines += ["", "Expectations:"]
    for e in claim.expectations:
        rival = f"; a rival reading, set against {e.rival_to}" if e.rival_to else ""
        where = "".join(f", {name} {' or '.join(map(str, values))}" for name, values in e.where.items())
        lines.append(f"  {e.name}: {e.statement} ({e.source}; control: {e.control}{rival})")
        lines.append(f"    judged: {e.quantity}, {expected(e)}{where}")
    lines += ["", "Negative controls:", *(f"  {name}: {text}" for name, text in claim.controls.items())]
    lines += ["", f"Limitations: {claim.limitations}"]
    typer.echo("\n".join(lines))


@app.command()
def catalogue(
    write: Annotated[bool, typer.Option("--write", help="Write them; else only say which differ, exit code 1 if any.")] = False,
) -> None:
    """Renew the documents that come from claims and the published run: docs/claims/ and the tables of docs/*.md."""
    from ntkbench import catalogue as documents

    root = Path()

    def find() -> list[Path]:
        return documents.write(root) if write else documents.stale(root, documents.documents(root))

    for file in (changed := or_exit(find)):
        typer.echo(str(file))
    if changed and not write:
        typer.echo("these differ from what they are printed from: `ntkbench catalogue --write`", err=True)
        raise typer.Exit(1)


def claims_table() -> str:
    """The claims as a Markdown table."""
    from ntkbench import claims

    lines = ["| claim | statement | source | negative controls |", "|---|---|---|---|"]
    for claim in claims.all_claims().values():
        controls = "; ".join(f"`{name}`: {text}" for name, text in claim.controls.items())
        lines.append(f"| `{claim.id}` | {claim.statement} | {claim.source} | {controls} |")
    return "\n".join(lines)
