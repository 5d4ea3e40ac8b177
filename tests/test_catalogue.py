"""Documents are what claims, licences and the published run say; a run is published whole or not at all."""

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ntkbench import bibliography, catalogue, citation, files, history, layout, lineage, publish, records, tables
from ntkbench.catalogue import artifact, licences
from ntkbench.catalogue.claim import page
from ntkbench.catalogue.markdown import escaped, table
from ntkbench.claims import all_claims
from ntkbench.claims.base import Case
from ntkbench.cli import app
from ntkbench.config import Study
from ntkbench.files import RecordError
from ntkbench.provenance import data_files
from ntkbench.report import paper
from ntkbench.stages.cell import Cell
from tests.figures import synthetic
from tests.report import studies

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / artifact.REFERENCE
TODAY = date(2026, 1, 2)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
Cases = Mapping[str, Mapping[str, Case]]


def test_the_documents_are_up_to_date() -> None:
    stale = [str(file) for file in catalogue.stale(ROOT, catalogue.documents(ROOT))]
    assert stale == [], "run `ntkbench catalogue --write`"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the documents are printed from, and the documents."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copytree(REFERENCE, tmp_path / artifact.REFERENCE, ignore=shutil.ignore_patterns("*.pdf", "*.svg", "*.png"))
    for name in ("pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_what_differs_is_named_and_mended(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    changed, lost, strange = (Path(f"docs/claims/hierarchy/{name}.md") for name in ("sizes", "depth", "no_more"))
    changed.write_text(changed.read_text(encoding="utf-8").replace("supported", "contradicted"), encoding="utf-8")
    lost.unlink()
    strange.write_text("A claim that is no more.", encoding="utf-8")
    text = Path("docs/artifact.md")
    text.write_text(re.sub(r"\d+ verdicts", "1 verdicts", text.read_text(encoding="utf-8")), encoding="utf-8")
    told = CliRunner().invoke(app, ["catalogue"])
    assert told.exit_code == 1
    assert told.stdout.split() == [str(path) for path in (lost, changed, text, strange)]
    assert CliRunner().invoke(app, ["catalogue", "--write"]).exit_code == 0
    assert not strange.exists()
    for file in (changed, lost, text):
        assert file.read_text(encoding="utf-8") == (ROOT / file).read_text(encoding="utf-8")
    again = CliRunner().invoke(app, ["catalogue"])
    assert (again.exit_code, again.stdout) == (0, "")


def test_a_block_of_an_unknown_name_is_refused(checkout: Path) -> None:
    (checkout / "docs" / "new.md").write_text("<!-- generated: nothing -->\n<!-- /generated -->\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"new\.md: no block is called 'nothing'; known: run"):
        catalogue.documents(checkout)


def test_text_around_blocks_is_left_alone(checkout: Path) -> None:
    file = checkout / "docs" / "artifact.md"
    file.write_text(file.read_text(encoding="utf-8").replace("## Abstract", "## Changed by hand"), encoding="utf-8")
    assert catalogue.write(checkout) == []
    assert "## Changed by hand" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("claim", all_claims().values(), ids=all_claims())
def test_a_page_has_all_of_its_claim(claim: Any) -> None:
    text = (ROOT / "docs" / "claims" / f"{claim.id}.md").read_text(encoding="utf-8")
    for said in (claim.title, claim.statement, claim.assumptions, claim.limitations, claim.caption):
        assert escaped(said) in text
    for named in (*claim.quantities, *claim.controls, *(e.name for e in claim.expectations)):
        assert f"`{named}`" in text
    for expectation in claim.expectations:
        assert (f"set against `{expectation.rival_to}`" in text) or expectation.rival_to is None
    for key in citation.keys_of_claim(claim):
        assert escaped(bibliography.entries()[key].text()) in text
        assert bibliography.entries()[key].bibtex() in text
    for link in re.findall(r"\]\((\.\.[^)]*)\)", text):
        assert (ROOT / "docs" / "claims" / claim.id).parent.joinpath(link).exists(), link


def test_a_page_shows_every_verdict_of_its_claim() -> None:
    rows = tables.read_rows(REFERENCE / "verdicts.csv", "verdicts")
    for claim in all_claims():
        text = (ROOT / "docs" / "claims" / f"{claim}.md").read_text(encoding="utf-8")
        found = text[text.index("## What the published run found") : text.index("## Limitations")]
        asked = {(row["expectation"], row["case"]) for row in rows if row["claim"] == claim}
        assert len(re.findall(r"^\| `", found, flags=re.MULTILINE)) == len(asked)
        for expectation, case in asked:
            assert f"| `{expectation}` | `{case}` |" in found


def test_backends_that_differ_are_told_apart() -> None:
    claim = all_claims()["convergence/initialization"]
    verdicts = tables.read_table(REFERENCE / "verdicts.csv", "verdicts")
    chosen = (verdicts["claim"] == claim.id) & (verdicts["backend"] == "jax")
    first = verdicts[chosen].iloc[0]
    assert f"| `{first['expectation']}` | `{first['case']}` | torch" not in page(claim, verdicts, [])
    verdicts.loc[chosen, "estimate"] = 7.0
    verdicts.loc[chosen, "verdict"] = "contradicted"
    changed = page(claim, verdicts, [])
    assert f"| `{first['expectation']}` | `{first['case']}` | torch" in changed
    assert f"torch {first['verdict']}, jax contradicted" in changed


def test_a_claim_that_was_never_asked_says_so() -> None:
    verdicts = tables.read_table(REFERENCE / "verdicts.csv", "verdicts")
    text = page(all_claims()["gap/transfer"], verdicts[verdicts["claim"] != "gap/transfer"], [])
    assert "The published study has no cases of this claim." in text
    assert "## Verdicts published so far\n\nNone." in text


def test_a_claim_shows_its_figure_once_it_is_published() -> None:
    """A new claim has no figure in `results/reference/` to link to."""
    claim = all_claims()["constancy/gradient_flow"]
    rows = tables.read_table(REFERENCE / "verdicts.csv", "verdicts")
    figure = "constancy-gradient_flow.svg"
    assert figure in page(claim, rows, [])
    assert figure not in page(claim, rows[rows["claim"] != claim.id], [])


def test_a_source_that_the_bibliography_lacks_is_named() -> None:
    claim = type("Strange", (type(all_claims()["constancy/gradient_flow"]),), {"source": "nobody1999nothing, section 1"})()
    with pytest.raises(ValueError, match="a source names 'nobody1999nothing', which ntkbench/references.bib lacks"):
        page(claim, tables.read_table(REFERENCE / "verdicts.csv", "verdicts"), [])


def test_the_claims_of_the_artifact_count_all_verdicts() -> None:
    rows = tables.read_rows(REFERENCE / "verdicts.csv", "verdicts")
    lines = artifact.claims(ROOT).splitlines()[2:]
    assert [line.split(" | ")[1].strip("` ") for line in lines] == list(all_claims())
    numbers = [int(number) for line in lines for number in re.findall(r"(\d+) (?:supp|contr|incon|inval)", line)]
    assert sum(numbers) == len(rows)
    assert {part for line in lines for part in [line.split(" | ")[0]]} == {f"| C{k}" for k in range(1, len(lines) + 1)}


def test_every_experiment_that_is_timed_is_described() -> None:
    text = (ROOT / "docs" / "artifact.md").read_text(encoding="utf-8")
    heads = set(re.findall(r"^### (E\d+): ", text, flags=re.MULTILINE))
    assert set(artifact.EXPERIMENTS) - {"set-up"} <= heads
    measured = files.read_json(REFERENCE / "measured.json")
    for name in artifact.EXPERIMENTS.values():
        assert f"`{measured[name]['command']}`" in text


def lost_links(text: str, folder: Path) -> list[str]:
    """Relative links to files or headings that are not there."""
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = folder / path if path else None
        heads = re.findall(r"^#+ (.*)$", text if target is None else target.read_text("utf-8") if anchor else "", re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
        if (target is not None and not target.exists()) or (anchor and anchor not in anchors):
            lost.append(link)
    return lost


@pytest.mark.parametrize("name", ["artifact", "extending", "licences", "claims/README"])
def test_links_lead_somewhere(name: str) -> None:
    file = ROOT / "docs" / f"{name}.md"
    assert lost_links(file.read_text(encoding="utf-8"), file.parent) == []


def test_a_lost_link_is_found(tmp_path: Path) -> None:
    text = "# One head\n```\nh[k](x)\n```\n[a](#one-head) [b](#two) [c](none.md) [d](https://e.f/#g)"
    assert lost_links(text, tmp_path) == ["#two", "none.md"]


def test_markdown_sees_nothing_in_plain_text() -> None:
    assert escaped("|K_2| *falls* <u, x> `as_is|` [1]") == r"\|K\_2\| \*falls\* \<u, x\> `as_is|` \[1\]"
    assert table(["a"], [["b"]]) == "| a |\n| --- |\n| b |"


def test_every_data_file_has_a_licence_that_is_there() -> None:
    shipped = {file.name for file in data_files()}
    assert set(licences.FILES) == shipped
    assert {text for _, text in licences.FILES.values()} <= shipped
    text = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    assert all(f"`ntkbench/data/files/{name}`" in text for name in shipped)


def test_a_data_file_without_a_licence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(licences.FILES, "uci_tabular.npz")
    with pytest.raises(KeyError, match="uci_tabular"):
        licences.of_files()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"License-Expression": "MIT", "License": "no"}, "MIT"),
        ({"Classifier": "License :: OSI Approved :: BSD License", "License": "a\nlong\ntext"}, "BSD License"),
        ({"License": "Apache-2.0"}, "Apache-2.0"),
        ({"License": "the\nwhole text"}, None),
        ({}, None),
    ],
)
def test_the_licence_of_a_package_is_found_or_missed(
    fields: dict[str, str], said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from email.message import Message

    facts = Message()
    for name, value in fields.items():
        facts[name] = value
    monkeypatch.setattr(licences.metadata, "metadata", lambda package: facts)
    if said is None:
        with pytest.raises(ValueError, match="thing names no licence"):
            licences.licence("thing")
    else:
        assert licences.licence("thing") == said


def test_every_dependency_is_in_the_table() -> None:
    from tests.test_packaging import requirements

    text = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    assert [r.name for r in requirements("dev") if f"| {r.name} | " not in text] == []


def counts(rows: Iterable[Mapping[str, Any]]) -> Counter[tuple[str, str, str]]:
    return Counter((row["claim"], row["expectation"], row["verdict"]) for row in rows)


def test_the_history_ends_with_the_published_run() -> None:
    facts, past = files.read_json(REFERENCE / "environment.json"), history.read(REFERENCE)
    last = [row for row in past if row["commit"] == facts["commit"]]
    assert past[-len(last) :] == last
    told = Counter({(r["claim"], r["expectation"], v): r[v] for r in last for v in history.VERDICTS if r[v]})
    assert told == counts(tables.read_rows(REFERENCE / "verdicts.csv", "verdicts"))
    assert [row["published"] for row in past] == sorted(row["published"] for row in past)


@pytest.fixture
def cases() -> Cases:
    chosen = ("convergence/initialization", "hierarchy/truncation")
    return {name: of for name, of in synthetic.cases().items() if name in chosen}


@pytest.fixture
def run(tmp_path: Path, cases: Cases, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished, clean run of two claims with all that is published of it, and another run that is published."""
    monkeypatch.chdir(tmp_path)
    found = studies.write(Path(), cases)
    facts = files.read_json(found / "environment.json") | {"commit": COMMIT, "dirty": False, "study": "default"}
    files.write_json(found / "environment.json", facts)
    for stem in (*(name.replace("/", "-") for name in cases), "scaling"):
        for ending in ("svg", "png"):
            files.write_bytes(Path(f"paper/figures/{stem}.{ending}"), stem.encode())
    files.write_bytes(Path("paper/main.typ"), b'#set document(date: none)\n#json("generated/study.json").commit\n')
    record(found, cases)
    files.write_json(Path("results/reference/environment.json"), {"study": "default"})
    files.write_bytes(Path("results/reference/README.md"), b"What was found.\n")
    note(found)
    set_paper(found, cases)
    return found


def record(run: Path, cases: Cases) -> None:
    """A record of each case's inputs and measurements."""
    for cell in (Cell.make(**study_of(cases).cell(claim, name)) for claim, of in cases.items() for name in of):
        path = layout.inputs(run, cell.claim.id, cell.name)
        records.write_record(path, dict.fromkeys(("x", "y", "x_test", "y_test"), np.zeros(1)), cell.identity_of_inputs())
        inputs = records.read_record(path)
        for backend in ("torch", "jax"):
            path = layout.measurement(run, cell.claim.id, cell.name, backend)
            records.write_record(path, {"8/f": np.ones(2)}, cell.identity_of_measurement(backend, inputs))


def note(run: Path) -> None:
    for name in ("verdicts.csv", "crosscheck.csv", "environment.json", "performance.csv", "scaling.csv"):
        lineage.note(run / name, "collect", ())


def set_paper(run: Path, cases: Cases, timed: bool = True) -> None:
    """Numbers and PDF of the tables as they are, and notes of the figures."""
    for name, content in paper.generate(run, Path("paper"), cases, timed).items():
        files.write_json(Path(f"paper/generated/{name}.json"), content)
    files.write_bytes(Path("paper/main.pdf"), paper.render(Path("paper/main.typ")))
    for path in Path("paper/figures").glob("*.[sp][vn]g"):
        lineage.note(path, "scaling", ())


def edit(run: Path, **facts: Any) -> None:
    files.write_json(run / "environment.json", files.read_json(run / "environment.json") | facts)
    note(run)


def study_of(cases: Cases, timed: bool = True) -> Study:
    performance: Any = object() if timed else None
    return Study("default", 0, ("torch", "jax"), "cpu", "float64", 1, 2**30, cases, performance=performance)


def publish_it(run: Path, cases: Cases) -> list[Path]:
    return publish.publish(run, Path("results/reference"), study_of(cases), TODAY)


def test_a_run_is_published_whole(run: Path, cases: Cases) -> None:
    reference = Path("results/reference")
    written = publish_it(run, cases)
    for name in ("verdicts.csv", "crosscheck.csv", "performance.csv", "scaling.csv", "environment.json"):
        assert (reference / name).read_bytes() == (run / name).read_bytes()
    assert (reference / "paper.pdf").read_bytes() == Path("paper/main.pdf").read_bytes()
    figures = {f"{stem}.{ending}" for stem in ("scaling", *(c.replace("/", "-") for c in cases)) for ending in ("svg", "png")}
    assert {file.name for file in (reference / "figures").iterdir()} == figures
    assert (reference / "README.md").read_text() == "What was found.\n"
    assert files.read_json(reference / "disk.json")["bytes"] == sum(f.stat().st_size for f in run.rglob("*") if f.is_file())
    hashed = tables.read_rows(reference / "measurements.csv", "measurements")
    assert len(hashed) == 3 * sum(map(len, cases.values()))
    for row in hashed:
        place = (row["claim"], row["case"])
        path = layout.measurement(run, *place, row["backend"]) if row["backend"] else layout.inputs(run, *place)
        kept = records.read_record(path)
        assert (row["content"], row["arrays"], row["bytes"]) == (kept.content, kept.arrays_hash, path.stat().st_size)
        assert (row["code"], row["inputs"]) == (kept.facts["code"], kept.facts.get("inputs", ""))
    listed = files.read_json(reference / publish.FILES)
    assert {reference / name for name in listed} == set(written) - {reference / publish.FILES}
    assert all(hashlib.sha256((reference / name).read_bytes()).hexdigest() == sha for name, sha in listed.items())
    assert set(listed) > set(publish.places(study_of(cases)))
    assert set(written) == {file for file in reference.rglob("*") if file.is_file() and file.name != "README.md"}


def test_publications_follow_each_other_in_the_history(run: Path, cases: Cases) -> None:
    publish_it(run, cases)
    first = history.read(Path("results/reference"))
    assert {row["published"] for row in first} == {"2026-01-02"}
    assert {row["commit"] for row in first} == {COMMIT}
    found = counts(tables.read_rows(run / "verdicts.csv", "verdicts"))
    assert Counter({(r["claim"], r["expectation"], v): r[v] for r in first for v in history.VERDICTS if r[v]}) == found
    other = COMMIT[::-1]
    edit(run, commit=other, results_version="2")
    set_paper(run, cases)
    publish_it(run, cases)
    second = history.read(Path("results/reference"))
    assert second[: len(first)] == first
    assert {(row["commit"], row["results_version"]) for row in second[len(first) :]} == {(other, "2")}
    assert len(second) == 2 * len(first)


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"dirty": True}, "files differed from its commit 0123456: commit them"),
        ({"dirty": None, "commit": "unknown"}, "nobody knows of which commit"),
        ({"study": "smoke"}, "of the study smoke, published is default"),
        ({"commit": "f" * 40}, "the paper is of a run of default at 0123456"),
    ],
)
def test_a_run_of_doubtful_origin_is_refused(run: Path, cases: Cases, facts: dict[str, Any], told: str) -> None:
    edit(run, **facts)
    refused(run, cases, told)


def refused(run: Path, cases: Cases, told: str, kind: type[Exception] = ValueError) -> None:
    before = {file: file.read_bytes() for file in Path("results/reference").rglob("*") if file.is_file()}
    with pytest.raises(kind, match=told):
        publish_it(run, cases)
    assert {file: file.read_bytes() for file in Path("results/reference").rglob("*") if file.is_file()} == before


def test_the_same_run_is_published_once(run: Path, cases: Cases) -> None:
    publish_it(run, cases)
    refused(run, cases, "a run of its commit 0123456 is in results/reference/history.csv already")


@pytest.mark.parametrize(("table", "told"), [("verdicts", "lacks 1 verdicts"), ("crosscheck", "lacks 1 cross-checks")])
def test_a_run_that_lacks_a_row_is_refused(run: Path, cases: Cases, table: str, told: str) -> None:
    rows = tables.read_rows(run / f"{table}.csv", table)
    (run / f"{table}.csv.provenance.json").unlink()
    tables.write_table(run / f"{table}.csv", table, rows[1:])
    note(run)
    refused(run, cases, told)


def test_a_run_with_more_than_its_study_is_refused(run: Path, cases: Cases) -> None:
    fewer = {"convergence/initialization": cases["convergence/initialization"]}
    refused(run, fewer, r"has, beyond the study, \d+ verdicts, the first is hierarchy/truncation .*cross-checks")


@pytest.mark.parametrize(
    "missing",
    [
        "paper/main.pdf",
        "paper/figures/hierarchy-truncation.png",
        "results/default/scaling.csv",
        "results/default/measurements/hierarchy/truncation/tanh-2-antisymmetric/jax.npz",
    ],
)
def test_a_run_that_lacks_a_file_is_refused(run: Path, cases: Cases, missing: str) -> None:
    Path(missing).unlink()
    refused(run, cases, "is missing", RecordError)


def test_a_changed_digit_is_refused(run: Path, cases: Cases) -> None:
    text = (run / "verdicts.csv").read_text()
    (run / "verdicts.csv").write_text(text.replace("supported", "contradicted", 1))
    refused(run, cases, "verdicts.csv is damaged", RecordError)


def test_a_pdf_that_is_not_what_its_sources_give_is_refused(run: Path, cases: Cases) -> None:
    with Path("paper/main.pdf").open("ab") as file:
        file.write(b"\n")
    refused(run, cases, "main.pdf is not what its sources give: set again it has other bytes")
    files.write_bytes(Path("paper/main.typ"), b"#nothing")
    refused(run, cases, "main.typ does not compile")


def test_numbers_in_the_paper_that_the_tables_do_not_give_are_refused(run: Path, cases: Cases) -> None:
    path = Path("paper/generated/claims.json")
    files.write_bytes(path, path.read_bytes().replace(b"supported", b"contradicted", 1))
    refused(run, cases, "claims.json is not what the tables give")


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_a_figure_that_does_not_fit_its_note_is_refused(run: Path, cases: Cases, ending: str) -> None:
    path = Path(f"paper/figures/hierarchy-truncation.{ending}")
    path.write_bytes(b"drawn by hand")
    refused(run, cases, f"{ending} is damaged: its contents do not have the hash", RecordError)
    source = Path("paper/figures/scaling.svg")
    lineage.note(path, "scaling", [source])
    source.write_bytes(b"another")
    lineage.note(source, "scaling", ())
    refused(run, cases, f"{ending} is foreign: it was made from another", RecordError)


def test_a_damaged_measurement_is_refused(run: Path, cases: Cases) -> None:
    path = next((run / "measurements").rglob("jax.npz"))
    path.write_bytes(path.read_bytes().replace(np.ones(2).tobytes(), np.zeros(2).tobytes()))
    refused(run, cases, r"jax\.npz is damaged", RecordError)


def test_a_study_without_timings_is_published_without_them(run: Path, cases: Cases) -> None:
    set_paper(run, cases, timed=False)
    written = publish.publish(run, Path("results/reference"), study_of(cases, timed=False), TODAY)
    assert not {"performance.csv", "scaling.csv", "scaling.svg"} & {file.name for file in written}


def test_the_command_says_what_is_wrong(run: Path) -> None:
    done = CliRunner().invoke(app, ["publish", "results/default"])
    assert done.exit_code == 2
    assert "default.yaml" in done.stderr
