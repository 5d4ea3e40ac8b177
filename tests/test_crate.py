"""A run as a crate: what it says of its files is so, what it names is there, and the field's own validator accepts it."""

import base64
import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ntkbench import crate, files
from ntkbench.citation import facts
from ntkbench.cli import app
from ntkbench.crate import contents
from ntkbench.crate import entities as entities_of_crates
from ntkbench.trace import Run
from tests.scratch import ROOT

REFERENCE = ROOT / "results" / "reference"
VALIDATOR = ROOT / "build" / "crate-validator" / "bin" / "python"
Entities = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = Run.open(REFERENCE, ROOT / "workflow" / "config", ROOT / "paper")
    return crate.build(run, tmp_path_factory.mktemp("crate") / "default").parent


@pytest.fixture(scope="module")
def entities(made: Path) -> Entities:
    graph = json.loads((made / crate.METADATA).read_text(encoding="utf-8"))["@graph"]
    named = {entity["@id"]: entity for entity in graph}
    assert len(named) == len(graph)
    return named


def references(value: Any) -> set[str]:
    if isinstance(value, list):
        return {name for part in value for name in references(part)}
    if not isinstance(value, dict):
        return set()
    return {value["@id"]} if set(value) == {"@id"} else {name for part in value.values() for name in references(part)}


def wrong_files(folder: Path, entities: Entities) -> list[str]:
    """Files that are not there, or not those that the crate describes."""
    found = []
    for entity in entities.values():
        if "sha256" in entity:
            payload = (folder / entity["@id"]).read_bytes() if (folder / entity["@id"]).is_file() else b""
            told = (entity["sha256"], entity["contentSize"])
            found += [] if told == (hashlib.sha256(payload).hexdigest(), str(len(payload))) else [entity["@id"]]
    return found


def test_every_file_is_the_one_that_is_described(made: Path, entities: Entities, tmp_path: Path) -> None:
    assert wrong_files(made, entities) == []
    shutil.copytree(made, tmp_path / "copy")
    table = tmp_path / "copy" / "results" / "default" / "verdicts.csv"
    table.write_bytes(table.read_bytes().replace(b"supported", b"Supported", 1))
    (tmp_path / "copy" / "results" / "default" / "scaling.csv").unlink()
    assert wrong_files(tmp_path / "copy", entities) == ["results/default/scaling.csv", "results/default/verdicts.csv"]


def test_what_is_named_is_described_and_what_is_described_is_there(made: Path, entities: Entities) -> None:
    named = {name for entity in entities.values() for name in references({k: v for k, v in entity.items() if k != "@id"})}
    assert {name for name in named if not name.startswith("http")} - set(entities) == set()
    local = [name for name in entities if not name.startswith(("http", "pkg:", "#"))]
    assert [name for name in local if not (made / name).exists()] == []
    parts = references(entities["./"]["hasPart"])
    assert {name for name, entity in entities.items() if entity["@type"] == "File"} <= parts


def test_the_action_runs_the_workflow_from_the_study_to_every_result(entities: Entities) -> None:
    action = entities["#run"]
    assert entities["./"]["mainEntity"] == action["instrument"] == {"@id": "Snakefile"}
    assert "ComputationalWorkflow" in entities["Snakefile"]["@type"]
    assert action["object"] == {"@id": "workflow/config/default.yaml"}
    results = references(action["result"])
    assert {
        f"results/default/{name}" for name in ("verdicts.csv", "crosscheck.csv", "environment.json", "paper.pdf")
    } <= results
    assert results == {name for name, entity in entities.items() if "sha256" in entity} - {"workflow/config/default.yaml"}
    inside = {entities[name]["exampleOfWork"]["@id"] for name in results}
    assert inside == references(entities["Snakefile"]["output"])


def test_software_authors_and_licence_are_those_that_are_recorded(entities: Entities) -> None:
    recorded = files.read_json(REFERENCE / "environment.json")
    software = {e["name"]: e["softwareVersion"] for e in entities.values() if e["@type"] == "SoftwareApplication"}
    expected = {"python": recorded["python"], **recorded["versions"]}
    assert software == {name: version for name, version in expected.items() if name != "ntkbench"}
    assert entities["#machine-commit"]["value"] == recorded["commit"]
    about = facts()
    assert entities["./"]["license"] == {"@id": f"https://spdx.org/licenses/{about['license']}"}
    authors = [entities[name]["name"] for name in references(entities["./"]["author"])]
    assert authors == [author.get("name") or f"{author['given-names']} {author['family-names']}" for author in about["authors"]]


def test_times_are_those_that_snakemake_noted_or_none(entities: Entities, tmp_path: Path) -> None:
    assert {"startTime", "endTime", "agent"} & set(entities["#run"]) == set()
    noted = {
        "results/a/verdicts.csv": (60.0, 65.5),
        "results/a/quantities/b/c.csv": (2.0, 3.0),
        "results/other.csv": (0.0, 99.0),
    }
    for k, (name, (start, end)) in enumerate(noted.items()):
        coded = base64.b64encode(name.encode()).decode()
        place = Path(f"@{coded[:12]}", coded[12:]) if k == 1 else Path(coded)  # as a long name is kept
        files.write_json(tmp_path / ".snakemake" / "metadata" / place, {"starttime": start, "endtime": end})
    (tmp_path / ".snakemake" / "metadata" / "of something else").write_text("x")
    found = crate.times(tmp_path, ["results/a/verdicts.csv", "results/a/quantities/b/c.csv"])
    assert found == {"startTime": "1970-01-01T00:00:02+00:00", "endTime": "1970-01-01T00:01:05+00:00"}
    assert crate.times(tmp_path, ["results/b.csv"]) == {}


def test_times_of_the_one_paper_are_not_taken_for_a_runs(tmp_path: Path) -> None:
    run = Run.open(REFERENCE, ROOT / "workflow" / "config", tmp_path / "none")
    copy = replace(run, folder=tmp_path / "results" / "reference")
    named = ("paper/figures/gap-transfer.svg", "results/reference/verdicts.csv")
    for name, start in zip(named, (7.0, 3.0), strict=True):
        coded = base64.b64encode(name.encode()).decode()
        files.write_json(tmp_path / ".snakemake" / "metadata" / coded, {"starttime": start, "endtime": start + 1})
    noted = entities_of_crates._action(copy, dict.fromkeys(named, (Path(), "a table")))
    assert (noted["startTime"], noted["endTime"]) == ("1970-01-01T00:00:03+00:00", "1970-01-01T00:00:04+00:00")


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    done = CliRunner().invoke(app, ["crate", str(REFERENCE), "--output", str(tmp_path)])
    assert done.exit_code == 2
    assert "is not empty: name a new folder, or remove it" in done.output
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    shutil.copytree(REFERENCE, tmp_path / "reference", ignore=shutil.ignore_patterns("g*", "images*"))
    return tmp_path / "reference"


def build(folder: Path) -> str:
    run = Run.open(folder, ROOT / "workflow" / "config", folder / "none")
    return crate.build(run, folder.parent / "crate").read_text(encoding="utf-8")


def test_a_damaged_table_is_not_exported(published: Path) -> None:
    (published / "crosscheck.csv").write_bytes(b"garbage\n")
    with pytest.raises(files.RecordError, match="has the columns garbage"):
        build(published)


def test_a_figure_that_is_not_what_its_note_says_is_not_exported(published: Path) -> None:
    picture = next((published / "figures").glob("*.svg"))
    files.write_note(picture, stage="figures", claim=None, backend=None, code="", made_from={})
    with picture.open("ab") as file:
        file.write(b" ")
    with pytest.raises(files.RecordError, match="do not have the hash that"):
        build(published)


def test_what_a_link_leads_to_is_not_exported(published: Path) -> None:
    (published / "figures" / "x.csv").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="x.csv is a link"):
        build(published)


def test_a_crate_says_so_if_its_code_is_not_that_of_the_run(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = files.read_json(published / "environment.json")
    told = "workflow and code in this crate are those of another state, commit "
    for here, said in (({}, False), ({"commit": "1234"}, True), ({"dirty": True}, True)):
        monkeypatch.setattr(entities_of_crates, "environment", lambda here=here: facts | {"dirty": False} | here)
        assert (told in build(published)) is said
        shutil.rmtree(published.parent / "crate")


def test_records_are_linked_and_what_people_edit_is_copied(tmp_path: Path) -> None:
    for name in ("a.npz", "b.csv"):
        (tmp_path / name).write_bytes(b"x")
        contents.put(tmp_path / name, tmp_path / "crate" / name)
    assert (tmp_path / "crate" / "a.npz").stat().st_nlink == 2
    assert (tmp_path / "crate" / "b.csv").stat().st_nlink == 1


def validated(folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [VALIDATOR, ROOT / "tests" / "validate_crate.py", folder]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not VALIDATOR.exists(), reason="the validator is not installed: make build/crate-validator/.installed")
def test_the_validator_accepts_the_crate_and_refuses_a_spoilt_one(made: Path, tmp_path: Path) -> None:
    done = validated(made)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is a valid workflow-run-crate-0.5" in " ".join(done.stdout.split())
    shutil.copytree(made, tmp_path / "copy")
    metadata = tmp_path / "copy" / crate.METADATA
    found = json.loads(metadata.read_text(encoding="utf-8"))
    del next(entity for entity in found["@graph"] if entity["@id"] == "#run")["instrument"]
    metadata.write_text(json.dumps(found), encoding="utf-8")
    assert validated(tmp_path / "copy").returncode == 1
