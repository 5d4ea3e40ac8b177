"""Where a number comes from."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ntkbench.cli.app import app
from ntkbench.cli.output import or_exit, print_out
from ntkbench.cli.runs import STUDIES, finished_run
from ntkbench.files import RecordError

if TYPE_CHECKING:
    from ntkbench import trace as traces

STYLES = {"ok": "green", "changed": "yellow", "not kept": "yellow", "not checked": "yellow", "broken": "red"}
SHOWN = 40
Results = Annotated[Path, typer.Option(help="A run's folder, or its study's name.")]
Paper = Annotated[Path, typer.Option(help="The folder of the paper that was made of the run.")]


@app.command(context_settings={"ignore_unknown_options": True})
def trace(
    target: Annotated[
        str, typer.Argument(metavar="NUMBER|CLAIM", help="A number as the PDF prints it, a claim, or CLAIM/EXPECTATION/CASE.")
    ],
    results: Results = Path("results/default"),
    paper: Paper = Path("paper"),
) -> None:
    """Follow a number to its table, measurements, inputs, code and command; exit code 1 if a link of that chain is broken.

    Hashes are verified, and what is cheap is made again: the PDF and its numbers from the tables, verdicts and quantities from
    the measurements, data from the seed. Of a published run, tables, figures and PDF are held against the hashes that were
    published with them (files.json). A number that stands in several places is listed with the address of each; give one.

    What it does not find: a table, figure or PDF of a published run that was edited, together with its hash in files.json and
    its note if there is one, or that was published without files.json, since the records that it was made from are not kept;
    measurements that nobody made, forged with all that follows from them; and what a record says of its machine (names of
    devices and processors, versions) where its hash was made to fit. A new run shows the first two.
    """
    from ntkbench import trace as traces

    run = or_exit(lambda: traces.Run.open(finished_run(results), STUDIES, paper))
    printed = _places(run) if "/" in target else or_exit(lambda: traces.places(run.content))
    address = target if "/" in target else _address(printed, target)
    links = or_exit(lambda: traces.follow(run, address))
    typer.echo(address)
    for place in (place for place in printed if place.address == address):
        typer.echo(f"  {place.text}: {place.what} ({place.where} = {place.value!r})")
    for link in links:
        print_out(f"  {link.name:<12}[{STYLES[link.status]}]{link.status:<12}[/]{escape(link.text)}")
    if broken := [link.name for link in links if link.status == "broken"]:
        print_out(f"broken at: {', '.join(dict.fromkeys(broken))}")
        raise typer.Exit(1)
    cut = any(link.name == "measurement" and link.status == "not kept" for link in links)
    print_out("No link is broken" + ("; the chain ends where records are not kept" if cut else ""))


def _places(run: "traces.Run") -> "list[traces.Place]":
    """The printed numbers; none where a table is damaged, which the links say."""
    from ntkbench import trace as traces

    try:
        return traces.places(run.content)
    except RecordError:
        return []


def _address(known: "Sequence[traces.Place]", number: str) -> str:
    """The only place of a number; else the places it may be are listed, with exit code 2."""
    from ntkbench import trace as traces

    found, printed = traces.matching(list(known), number)
    if not printed:
        rounded = "; these numbers are that when rounded:" if found else ""
        typer.echo(f"Of the numbers of this run's paper that are followed none is {number}{rounded}")
    addresses: dict[str, list[traces.Place]] = {}
    for place in found:
        addresses.setdefault(place.address, []).append(place)
    if printed and len(addresses) == 1:
        return found[0].address
    for address, places in list(addresses.items())[:SHOWN]:
        typer.echo(f"  {address}: " + "; ".join(f"{place.what} {place.value:.6g}" for place in places))
    if len(addresses) > SHOWN:
        typer.echo(f"  and {len(addresses) - SHOWN} more: give more digits, or the claim")
    mend = "Give one of these addresses in place of the number, with the same options"
    typer.echo(mend if addresses else "Of a number in a README the comment behind it says what it is computed from")
    raise typer.Exit(2)
