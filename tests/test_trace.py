"""A number is followed to everything it was made of, and whichever file of that chain is changed, the trace names it."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ntkbench import config, files, lineage, publish, records, tables
from ntkbench.cli import app
from ntkbench.performance import scaling
from ntkbench.report import paper
from ntkbench.stages.analyse import analyse
from ntkbench.stages.cell import Cell
from ntkbench.stages.collect import collect
from ntkbench.stages.crosscheck import crosscheck
from ntkbench.stages.dependencies import stage_hash
from ntkbench.stages.measure import measure
from ntkbench.stages.prepare import prepare
from ntkbench.trace import Run, again, code, follow, matching, places, printed
from tests.figures import timings
from tests.report.studies import PAPER, SVG
from tests.report.test_paper import computed, text_of
from tests.scratch import ROOT, copy_checkout
from tests.tiny import TINY

CLAIM = "hierarchy/truncation"
ADDRESS = f"{CLAIM}/error_p2/plain"
RESULTS = Path("results/tiny")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout's folders after a run of the tiny study, made by the stages themselves."""
    folder = tmp_path_factory.mktemp("checkout")
    before = Path.cwd()
    os.chdir(folder)
    try:
        _run()
    finally:
        os.chdir(before)
    return folder


def _run() -> None:
    file = Path("workflow/config/tiny.yaml")
    files.write_bytes(file, json.dumps(TINY).encode())
    study = config.load(file)
    cells = [Cell.make(**study.cell(CLAIM, name)) for name in study.cases[CLAIM]]
    inputs = [RESULTS / "inputs" / CLAIM / f"{cell.name}.npz" for cell in cells]
    measured = {b: [RESULTS / "measurements" / CLAIM / cell.name / f"{b}.npz" for cell in cells] for b in study.backends}
    checks = [RESULTS / "crosscheck" / CLAIM / f"{cell.name}.csv" for cell in cells]
    quantities, judgements = RESULTS / "quantities" / f"{CLAIM}.csv", RESULTS / "judgements" / f"{CLAIM}.csv"
    prepare(cells, inputs)
    for backend, paths in measured.items():
        measure(cells, backend, 1, study.memory_bytes, inputs, paths)
    crosscheck(cells, inputs, measured, checks)
    analyse(cells, inputs, measured, checks, quantities, judgements)
    every = [path for paths in measured.values() for path in paths]
    collect(
        "tiny",
        [judgements],
        checks,
        every,
        *(RESULTS / name for name in ("verdicts.csv", "crosscheck.csv", "environment.json")),
    )
    rows = timings.rows()
    for backend in study.backends:
        own = [row for row in rows if row["backend"] == backend]
        tables.write_table(RESULTS / "performance" / f"{backend}.csv", "performance", own)
    rows = [row for backend in study.backends for row in rows if row["backend"] == backend]
    tables.write_table(RESULTS / "performance.csv", "performance", rows)
    tables.write_table(RESULTS / "scaling.csv", "scaling", scaling.table(rows))
    shutil.copytree(PAPER, "paper", ignore=shutil.ignore_patterns("generated", "figures", "*.pdf"))
    for name in (CLAIM.replace("/", "-"), "scaling"):
        files.write_bytes(Path(f"paper/figures/{name}.svg"), SVG)
    paper.build(RESULTS, Path("paper/main.pdf"), cases=study.cases, timed=True)


@pytest.fixture
def checkout(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may spoil, and works in."""
    shutil.copytree(made, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without setting the paper again, where that is not what a test is about."""
    monkeypatch.setattr(paper, "render", lambda source: source.with_suffix(".pdf").read_bytes())
    return


def opened() -> Run:
    return Run.open(RESULTS, Path("workflow/config"), Path("paper"))


def broken(address: str = ADDRESS) -> list[tuple[str, str]]:
    return [(link.name, link.text) for link in follow(opened(), address) if link.status == "broken"]


def test_an_untouched_number_is_followed_to_its_inputs_code_and_command(checkout: Path) -> None:
    links = follow(opened(), ADDRESS)
    assert {link.status for link in links} == {"ok"}
    named = [link.name for link in links]
    order = [
        "paper",
        "numbers",
        "verdicts",
        "judgements",
        "quantities",
        "cross-check",
        "measurement",
        "inputs",
        "settings",
        "code",
    ]
    assert list(dict.fromkeys(named)) == [*order, "machine", "again"]
    told = {link.name: link.text for link in reversed(links)}
    assert "set again, byte for byte" in told["paper"]
    assert "made again byte for byte" in told["judgements"]
    assert "made again byte for byte" in told["quantities"]
    assert any("records of the claim's cases besides plain, controls among them: verified" in link.text for link in links)
    whole = [link.text for link in follow(opened(), CLAIM) if link.name == "measurement"]
    assert whole == ["9 records of all the claim's cases, controls among them: verified"]
    facts = records.read_record(RESULTS / "measurements" / CLAIM / "plain" / "torch.npz").facts
    assert facts["content"][:12] in told["measurement"]
    assert facts["inputs"][:12] in told["inputs"]
    assert f"measurements/{CLAIM}/plain/torch.npz" in told["again"]
    assert "make reproduce STUDY=tiny" in told["again"]


def digit(path: Path) -> None:
    """Change the first decimal of a file's last number: a byte that a reader of the file would not notice."""
    text = path.read_text(encoding="utf-8")
    found = list(re.finditer(r"(?<=\d\.)\d(?=\d{3})", text))[-1]
    path.write_text(text[: found.start()] + str((int(found[0]) + 1) % 10) + text[found.end() :], encoding="utf-8")


def byte(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    payload = bytearray(path.read_bytes())
    payload[len(payload) // 2] ^= 1
    path.write_bytes(payload)


LINKS: list[tuple[str, str, Callable[[Path], None]]] = [
    ("numbers", "paper/generated/claims.json", digit),
    ("verdicts", "results/tiny/verdicts.csv", digit),
    ("judgements", f"results/tiny/judgements/{CLAIM}.csv", digit),
    ("quantities", f"results/tiny/quantities/{CLAIM}.csv", digit),
    ("cross-check", f"results/tiny/crosscheck/{CLAIM}/plain.csv", digit),
    ("cross-check", "results/tiny/crosscheck.csv", digit),
    ("measurement", f"results/tiny/measurements/{CLAIM}/plain/torch.npz", byte),
    ("measurement", f"results/tiny/measurements/{CLAIM}/plain/jax.npz", byte),
    ("measurement", f"results/tiny/measurements/{CLAIM}/mean-field/torch.npz", byte),
    ("inputs", f"results/tiny/inputs/{CLAIM}/plain.npz", byte),
]


@pytest.mark.parametrize(("name", "path", "spoil"), LINKS, ids=[path for _, path, _ in LINKS])
def test_a_changed_byte_breaks_the_link_that_it_is_in(
    checkout: Path, unset: None, name: str, path: str, spoil: Callable[[Path], None]
) -> None:
    spoil(checkout / path)
    assert [(link, path in text) for link, text in broken()] == [(name, True)]


TABLES = [(name, path) for name, path, _ in LINKS if path.endswith(".csv")]


@pytest.mark.parametrize(("name", "path"), TABLES, ids=[path for _, path in TABLES])
def test_a_table_without_a_note_is_held_against_what_its_measurements_give(
    checkout: Path, unset: None, name: str, path: str
) -> None:
    for note in checkout.rglob("*.provenance.json"):
        note.unlink()
    digit(checkout / path)
    assert [(link, path in text) for link, text in broken()] == [(name, True)]


@pytest.mark.parametrize("path", ["paper/main.pdf", "paper/figures/hierarchy-truncation.svg"])
def test_a_changed_paper_is_seen(checkout: Path, path: str) -> None:
    file = checkout / path
    file.write_bytes(
        file.read_bytes().replace(b"gray", b"blue")
        if path.endswith("svg")
        else file.read_bytes()[:-9] + b"x" + file.read_bytes()[-8:]
    )
    assert broken() == [("paper", "paper/main.pdf: set again it has other bytes")]


def test_a_changed_figure_is_seen_though_the_pdf_was_set_from_it(checkout: Path, unset: None) -> None:
    file = checkout / "paper" / "figures" / "hierarchy-truncation.svg"
    lineage.note(file, "figures", [], CLAIM)
    assert broken() == []
    file.write_bytes(file.read_bytes().replace(b"gray", b"blue"))
    assert [name for name, _ in broken()] == ["figures"]


def test_other_settings_than_the_measured_ones_are_seen(checkout: Path, unset: None) -> None:
    file = checkout / "workflow/config/tiny.yaml"
    file.write_text(json.dumps(TINY | {"seed": TINY["seed"] + 1}))
    assert [name for name, _ in broken()] == ["settings"]
    assert any(link.status == "not checked" and link.name == "judgements" for link in follow(opened(), ADDRESS))


def test_a_field_that_the_case_has_got_since_is_no_other_setting(checkout: Path, unset: None) -> None:
    """Records of code whose cases had one field less, and another hash of settings for that."""
    folder = checkout / RESULTS
    inputs = folder / "inputs" / CLAIM / "plain.npz"
    (cell,) = (cell for cell in opened().cells(CLAIM) if cell.name == "plain")
    usual = {of.name: of.default for of in fields(cell.case)}

    def record(parameters: dict[str, Any]) -> list[str]:
        changed = {"parameters": parameters, "config": "0" * 64}
        content = restate(inputs, **changed)
        for backend in opened().study.backends:
            restate(folder / "measurements" / CLAIM / "plain" / f"{backend}.npz", inputs=content, config="0" * 64)
        return [text for text in again.gather(opened(), CLAIM, strict=True).faults.values() if "its config is" in text]

    here = cell.case.as_dict()
    name = next(name for name in here if name != "control" and getattr(cell.case, name) == usual[name])
    less = {key: value for key, value in here.items() if key != name}
    assert record(less) == []
    assert len(record(here | {name: "another"})) == 1
    assert len(record(here | {"unknown": 1})) == 1


def restate(path: Path, **changed: Any) -> str:
    """Change what a record says of itself; its new content."""
    record = records.read_record(path)
    facts = {name: value for name, value in record.facts.items() if name not in ("content", "nonfinite")}
    records.write_record(path, record.arrays, facts | changed)
    return records.read_record(path).content


def rewrite(path: Path, **arrays: np.ndarray) -> None:
    """A record with other arrays and a hash that fits: what a forger, or other code, would leave."""
    record = records.read_record(path)
    facts = {name: value for name, value in record.facts.items() if name not in ("content", "nonfinite")}
    records.write_record(path, record.arrays | arrays, facts)


def test_a_measurement_that_is_whole_but_another_one_gives_other_quantities(checkout: Path, unset: None) -> None:
    path = checkout / RESULTS / "measurements" / CLAIM / "plain" / "torch.npz"
    arrays = records.read_record(path).arrays
    rewrite(path, **{name: array * 1.5 for name, array in arrays.items() if array.dtype.kind == "f"})
    assert {"verdicts", "judgements", "quantities", "cross-check"} == {name for name, _ in broken()}


def test_data_that_the_seed_does_not_give_are_seen(checkout: Path, unset: None) -> None:
    path = checkout / RESULTS / "inputs" / CLAIM / "plain.npz"
    rewrite(path, x=records.read_record(path).arrays["x"] + 0.5)
    assert any("are not what the seed 20190918 gives" in text for _, text in broken())


@pytest.mark.parametrize(
    ("address", "path", "name"),
    [
        (f"crosscheck/{CLAIM}", f"results/tiny/crosscheck/{CLAIM}/plain.csv", "cross-check"),
        ("study/counts", f"results/tiny/judgements/{CLAIM}.csv", "verdicts"),
        ("study/crosscheck", "results/tiny/crosscheck.csv", "crosscheck"),
        ("study/seconds", f"results/tiny/measurements/{CLAIM}/plain/jax.npz", "measurement"),
        ("scaling/ntk-points", "results/tiny/scaling.csv", "exponents"),
        ("scaling/ntk-points", "results/tiny/performance/jax.csv", "timings"),
        (f"setting/{CLAIM}/plain", f"results/tiny/inputs/{CLAIM}/plain.npz", "inputs"),
        ("example", f"results/tiny/quantities/{CLAIM}.csv", "quantities"),
    ],
)
def test_other_numbers_have_chains_too(checkout: Path, unset: None, address: str, path: str, name: str) -> None:
    assert broken(address) == []
    (byte if path.endswith("npz") else digit)(checkout / path)
    assert name in [link for link, _ in broken(address)]


@pytest.mark.parametrize(
    "address", ["study", "study/nothing", "setting", f"setting/{CLAIM}/none", f"{CLAIM}/error_p2/none", "a/b"]
)
def test_an_address_that_is_none_is_refused(checkout: Path, address: str) -> None:
    with pytest.raises(ValueError, match="has no|there is no"):
        follow(opened(), address)


def test_a_published_run_is_followed_to_its_tables() -> None:
    run = Run.open(ROOT / "results" / "reference", ROOT / "workflow" / "config", ROOT / "paper")
    row = tables.read_rows(run.folder / "verdicts.csv", "verdicts")[0]
    links = follow(run, f"{row['claim']}/{row['expectation']}/{row['case']}")
    assert {link.status for link in links if link.name != "code"} == {"ok", "not kept"}
    # What has been committed since the publication may have changed the code, and a shallow clone has no other.
    assert {link.name for link in links} >= {"code", "measurement"}
    assert f"{row['estimate']:.6g}" in next(link.text for link in links if link.name == "verdicts")
    assert "make reproduce STUDY=default" in links[-1].text


@pytest.fixture
def published(checkout: Path) -> Run:
    """The tables of the run as `publish` leaves them, and the run itself beside them."""
    folder = Path("results/published")
    study = config.load(Path("workflow/config/tiny.yaml"))
    for name in ("verdicts.csv", "crosscheck.csv", "environment.json", "performance.csv", "scaling.csv"):
        files.write_bytes(folder / name, (RESULTS / name).read_bytes())
    tables.write_table(folder / publish.HASHES, "measurements", publish.hashes(RESULTS, study))
    files.write_bytes(folder / "paper.pdf", Path("paper/main.pdf").read_bytes())
    for name in FIGURES:
        files.write_bytes(folder / "figures" / name, f"the picture {name}".encode())
    list_files(folder)
    return Run.open(folder, Path("workflow/config"), Path("paper"))


FIGURES = [f"{stem}.{ending}" for stem in (CLAIM.replace("/", "-"), "scaling") for ending in ("svg", "png")]


def list_files(folder: Path) -> None:
    """The hashes of all files of the published run, as publication writes them, or a forger who renews them."""
    written = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != publish.FILES)
    files.write_json(folder / publish.FILES, publish.fingerprints(folder, written))


def swapped(folder: Path) -> None:
    """A figure in the place of another one."""
    for ending in ("svg", "png"):
        shutil.copyfile(folder / "figures" / f"scaling.{ending}", folder / "figures" / f"hierarchy-truncation.{ending}")


def unlisted(folder: Path) -> None:
    """A figure that is taken from the list, so that no hash speaks of it."""
    listed = files.read_json(folder / publish.FILES)
    del listed["figures/hierarchy-truncation.svg"]
    files.write_json(folder / publish.FILES, listed)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (swapped, [("figures", "hierarchy-truncation.png"), ("figures", "hierarchy-truncation.svg")]),
        (lambda folder: byte(folder / "paper.pdf"), [("paper", "paper.pdf is not the published one")]),
        (lambda folder: digit(folder / "scaling.csv"), [("tables", "scaling.csv is not the published one")]),
        (lambda folder: (folder / "figures" / "scaling.png").unlink(), [("figures", "scaling.png is missing")]),
        (unlisted, [("figures", "hierarchy-truncation.svg was not published")]),
        (lambda folder: files.write_json(folder / publish.FILES, ["verdicts.csv"]), [("tables", "is no mapping")]),
        (lambda folder: files.write_json(folder / publish.FILES, {"../a": "0"}), [("tables", "is not in results/published")]),
    ],
    ids=["swapped", "pdf", "table", "lost", "unlisted", "list", "outside"],
)
def test_a_published_file_that_is_another_one_is_seen(
    published: Run, change: Callable[[Path], None], found: list[tuple[str, str]]
) -> None:
    (ok,) = [link for link in follow(published, ADDRESS) if link.name == "figures"]
    assert (ok.status, f"{len(files.read_json(published.folder / publish.FILES))} files verified" in ok.text) == ("ok", True)
    change(published.folder)
    told = [(link.name, link.text) for link in follow(published, ADDRESS) if link.status == "broken"]
    assert [name for name, _ in told] == [name for name, _ in found]
    assert all(words in text for (_, text), (_, words) in zip(told, found, strict=True))


def test_a_run_that_was_published_without_hashes_of_its_files_says_so(published: Run) -> None:
    (published.folder / publish.FILES).unlink()
    swapped(published.folder)
    (link,) = [link for link in follow(published, ADDRESS) if link.name == "figures"]
    assert (link.status, "was published before files.json was" in link.text) == ("not kept", True)


RECORD = RESULTS / "measurements" / CLAIM / "plain" / "torch.npz"


def of_records(run: Run) -> list[tuple[str, str]]:
    """What is said of the three records of the case."""
    return [(link.status, link.text) for link in follow(run, ADDRESS) if re.search(rf"{RESULTS}/\S*plain", link.text)]


def test_a_published_number_is_followed_to_the_hashes_of_records_that_are_not_kept(published: Run) -> None:
    content = records.read_record(RECORD).content
    shutil.rmtree(RESULTS)
    links = follow(published, ADDRESS)
    assert {link.status for link in links} == {"ok", "not kept"}
    assert {status for status, _ in of_records(published)} == {"not kept"}
    told = next(link.text for link in links if link.name == "measurement" and str(RECORD) in link.text)
    assert re.match(rf"sha256 {content}, \d+ bytes; made again by .*snakemake --cores all --config study=tiny {RECORD}$", told)
    assert {link.text.partition(":")[0] for link in links if link.name == "code"} == {"measure torch", "measure jax", "inputs"}
    others = 3 * (len(TINY["claims"][CLAIM]["cases"]) - 1)
    told = f"has the hashes of {others} records of the claim's cases besides plain, controls among them"
    assert [told in link.text for link in links if "has the hashes" in link.text] == [True]
    told = f"has the hashes of {others + 3} records of all the claim's cases"
    assert [told in link.text for link in follow(published, CLAIM) if "has the hashes" in link.text] == [True]


def test_records_that_are_there_are_held_against_the_published_hashes(published: Run) -> None:
    assert [(status, "the published one" in text) for status, text in of_records(published)] == [("ok", True)] * 3
    again = records.read_record(RECORD)
    records.write_record(RECORD, again.arrays, {"seconds": {}})
    assert [status for status, text in of_records(published) if "made again, the same arrays" in text] == ["ok"]
    rewrite(RECORD, **{name: array * 1.5 for name, array in again.arrays.items() if array.dtype.kind == "f"})
    found = [text for status, text in of_records(published) if status == "changed"]
    assert len(found) == 1
    assert f"{RECORD}: its arrays are" in found[0]
    byte(RECORD)
    assert [str(RECORD) in text for status, text in of_records(published) if status == "broken"] == [True]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"inputs": "0" * 64}, f"{CLAIM} mean-field jax is of other inputs than are published"),
        ({"case": "other"}, f"has no row of {CLAIM} mean-field jax"),
        ({"code": "0" * 64}, "measure jax: 000000000000 is neither this checkout's nor that of"),
    ],
)
def test_hashes_that_do_not_belong_together_are_broken(published: Run, change: dict[str, str], told: str) -> None:
    path = published.folder / publish.HASHES
    rows = tables.read_rows(path, "measurements")
    for row in rows:
        row.update(change if (row["case"], row["backend"]) == ("mean-field", "jax") else {})
    tables.write_table(path, "measurements", rows)
    list_files(published.folder)
    assert [told in link.text for link in follow(published, CLAIM) if link.status == "broken"] == [True]


def test_what_the_help_says_is_not_found_is_not_found(published: Run, unset: None) -> None:
    """If one of these comes to be found, the help of the command is to be renewed."""
    table = published.folder / "verdicts.csv"
    digit(table)
    swapped(published.folder)
    byte(published.folder / "paper.pdf")
    assert {link.name for link in follow(published, ADDRESS) if link.status == "broken"} == {"tables", "figures", "paper"}
    list_files(published.folder)
    assert [link.text for link in follow(published, ADDRESS) if link.status == "broken"] == []
    lineage.note(table, "collect", [], CLAIM)
    digit(table)
    list_files(published.folder)
    assert [link.name for link in follow(published, ADDRESS) if link.status == "broken"] == ["verdicts"]
    lineage.note(table, "collect", [], CLAIM)
    list_files(published.folder)
    assert [link.text for link in follow(published, ADDRESS) if link.status == "broken"] == []
    facts = records.read_record(RECORD).facts
    restate(RECORD, backend_facts=facts["backend_facts"] | {"device_name": "a device that nobody has"})
    links = follow(opened(), ADDRESS)
    assert [link.text for link in links if link.status == "broken"] == []
    assert any("a device that nobody has" in link.text for link in links if link.name == "machine")
    told = " ".join(CliRunner().invoke(app, ["trace", "--help"]).output.split())
    assert "does not find: a table, figure or PDF of a published run that was edited, together with its hash in" in told
    assert "names of devices" in told


def test_a_damaged_table_of_hashes_is_broken_and_a_run_without_one_says_so(published: Run) -> None:
    path = published.folder / publish.HASHES
    path.write_bytes(path.read_bytes()[:-9])
    list_files(published.folder)
    assert [link.name for link in follow(published, ADDRESS) if link.status == "broken"] == ["measurement"]
    path.unlink()
    list_files(published.folder)
    links = follow(published, ADDRESS)
    assert {link.status for link in links} == {"ok", "not kept"}
    assert any("published before measurements.csv was" in link.text for link in links)


def test_a_paper_that_was_made_of_another_run_is_not_this_ones(checkout: Path) -> None:
    assert opened().paper == Path("paper")
    shutil.copytree(RESULTS, "results/published")
    copy = Run.open(Path("results/published"), Path("workflow/config"), Path("paper"))
    assert copy.paper is None
    assert [link.status for link in follow(copy, ADDRESS) if link.name == "paper"] == ["not kept"]


def test_code_is_found_in_the_checkout_at_a_commit_or_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_checkout(tmp_path / "repository")
    monkeypatch.setattr(code, "ROOT", tmp_path / "repository")

    def commit() -> str:
        git = ["git", "-C", str(tmp_path / "repository"), "-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run([*git, "init", "-q"], check=True)
        subprocess.run([*git, "add", "ntkbench"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "a"], check=True)
        return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()

    first, here = commit(), stage_hash("inputs", CLAIM)
    assert code.at_commit(first, "inputs", CLAIM, None) == here
    with (tmp_path / "repository" / "ntkbench" / "claims" / "hierarchy" / "truncation.py").open("a") as file:
        file.write("#\n")
    second = commit()
    then = code.at_commit(second, "inputs", CLAIM, None)
    assert then not in (None, here)
    facts = {"commit": second, "dirty": False}
    assert code.told(here, facts, "inputs", CLAIM)[:2] == (True, True)
    assert code.told(str(then), facts, "inputs", CLAIM)[:2] == (True, False)
    assert code.told("0" * 64, facts, "inputs", CLAIM)[:2] == (False, False)
    assert code.told("0" * 64, {"commit": "unknown", "dirty": None}, "inputs", CLAIM)[:2] == (False, False)
    assert code.at_commit("--output=x", "inputs", CLAIM, None) is None


NUMBERS = (0.125, -0.005, 1.5747, -0.9808, 0.0, 2.34e-14, 9.99e-16, -9.94e-16, 0.0155, 123.4, 99.96, 9.96, -0.999, 1e5)


def test_numbers_are_printed_as_the_paper_prints_them(checkout: Path) -> None:
    listed = ", ".join(map(repr, NUMBERS))
    for digits in (0, 1, 2, 3):
        shown = computed(checkout / "paper", f"({listed}).map(x => fixed(x, digits: {digits}))")
        assert [text.replace("−", "-") for text in shown] == [printed.fixed(x, digits) for x in NUMBERS]
    shown = [text_of(content) for content in computed(checkout / "paper", f"({listed}).map(scientific)")]
    plain = [re.sub(r"\W*⋅\W*10(−?)", r"e\1", text).replace("−", "-") for text in shown]
    assert plain == [printed.scientific(x) for x in NUMBERS]
    assert printed.scientific(9.99e-16) == "1.0e-15"


@pytest.mark.parametrize(
    ("text", "plain"),
    [("−0.98", "-0.98"), ("2.1 · 10⁻¹⁴", "2.1e-14"), ("2.1 ⋅ 10^-14", "2.1e-14"), ("5.5 %", "5.5%"), ("406", "406")],
)
def test_what_is_copied_from_a_pdf_is_read(text: str, plain: str) -> None:
    assert printed.typed(text) == plain


def test_a_number_finds_its_places_or_those_that_round_to_it(checkout: Path) -> None:
    known = places(opened().content)
    one = next(place for place in known if place.address == ADDRESS and place.what == "torch, estimate")
    found, exact = matching(known, one.text.replace("-", "−"))
    assert exact
    assert one in found
    assert all(place.text == one.text for place in found)
    found, exact = matching(known, f"{one.value:.4f}")
    assert not exact
    assert one in found
    assert matching(known, "987654.3") == ([], False)


def test_the_command_traces_chooses_and_refuses(checkout: Path, unset: None) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["trace", "--results", "tiny", *arguments], env={"COLUMNS": "400"})
        return done.exit_code, done.output

    exit_code, output = run(ADDRESS)
    assert (exit_code, output.splitlines()[-1]) == (0, "No link is broken")
    one = next(place for place in places(opened().content) if place.address == ADDRESS and place.what == "torch, estimate")
    assert f"{one.text}: torch, estimate (claims.json [0]" in output
    exit_code, output = run("--", one.text)
    assert ADDRESS in output
    assert exit_code == (0 if output.startswith(ADDRESS) else 2)
    exit_code, output = run("987654.3")
    assert (exit_code, "that are followed none is 987654.3" in output) == (2, True)
    exit_code, output = run("hierarchy/horizon")
    assert (exit_code, "the study tiny has no hierarchy/horizon" in output) == (2, True)
    digit(RESULTS / "verdicts.csv")
    exit_code, output = run(ADDRESS)
    assert (exit_code, output.splitlines()[-1]) == (1, "broken at: verdicts")


def test_on_another_machine_a_table_may_differ_by_rounding_alone() -> None:
    row = {"a": 1.0, "b": "x"}
    assert again.same_rows([row], [row | {"a": 1 + 1e-11}], strict=False).kind == "same"
    assert again.same_rows([row], [row | {"a": 1 + 1e-11}], strict=True).kind == "differs"
    assert again.same_rows([row], [row | {"a": 1 + 1e-7}], strict=False).kind == "differs"
    assert again.same_rows([row], [row | {"b": "y"}], strict=False).kind == "differs"


def test_paired_differences_and_numbers_of_points_are_rounded_as_in_the_paper() -> None:
    assert 'kind == "paired" { [#fixed(x, digits: 3)]' in (ROOT / "paper" / "lib.typ").read_text(encoding="utf-8")
    assert printed.estimate(0.01249, "paired") == "0.012"
    assert [printed.points(n) for n in (910, 1234, 45831)] == ["910", "1200", "45000"]
