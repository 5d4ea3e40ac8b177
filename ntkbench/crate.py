"""A run as a Workflow Run RO-Crate: the workflow, one action with its inputs and outputs, hashes and versions, as JSON-LD.

The profile is Workflow Run Crate 0.5 (Leo et al. 2024) on RO-Crate 1.1, <https://w3id.org/ro/wfrun/workflow>. What a run does
not record (who started it) is left out.
"""

import base64
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from ntkbench import citation, records
from ntkbench.provenance import PACKAGE, ROOT
from ntkbench.trace.run import Run

METADATA = "ro-crate-metadata.json"
WORKFLOW = "Snakefile"
CODE = {
    "workflow": "Rules, scripts and studies of the workflow.",
    "ntkbench": "The package that the workflow runs.",
    "profiles": "Settings of Snakemake.",
    "requirements": "The pinned environments.",
}
ALONE = {
    "CITATION.cff": ("How to cite the software.", "application/yaml"),
    "LICENSE": ("The licence of the code.", "text/plain"),
    "Makefile": ("Installs the pinned environment and runs the workflow.", "text/x-makefile"),
    "README.md": ("What the suite is and how it is used.", "text/markdown"),
    "environment.yml": ("The environment for conda.", "application/yaml"),
    "pyproject.toml": ("The package and what it needs.", "application/toml"),
}
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
WORKFLOW_PROFILE = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
PARAMETER_PROFILE = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
CONTEXT = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}]
"""RO-Crate's terms, and the one term of Workflow Run Crate that is needed beyond them."""
FORMATS = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".npz": "application/zip",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".yaml": "application/yaml",
}
RESULTS = {
    "tables": "Verdicts, cross-check, timings and environment of the whole study.",
    "quantities": "One scalar per seed of every quantity of a claim.",
    "judgements": "The verdicts of one claim.",
    "crosscheck": "torch against jax for one case, observable by observable.",
    "measurements": "Every observable of every seed of one case in one backend, with its provenance inside.",
    "inputs": "The data of one case, drawn from the study's seed.",
    "performance": "Seconds and memory of one backend against size.",
    "figures": "A figure of the paper.",
    "paper": "The paper, and the numbers that it prints.",
}
"""What a run leaves, by the folder that it lies in."""

Entity = dict[str, Any]


def build(run: Run, output: Path) -> Path:
    """Write the crate of a run into a new folder.

    Files keep the places that they have in the checkout.

    Returns:
        The metadata file.

    Raises:
        ValueError: if `output` holds anything.
        RecordError: if the run's tables cannot be read, or the crate cannot be written.
    """
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"{output} is not empty: name a new folder, or remove it")
    facts = records.read_json(run.folder / "environment.json")
    study = f"workflow/config/{run.study.name}.yaml"
    results = dict(_results(run))
    for source, place in [
        *_workflow_files(),
        (run.study_file, study),
        *((file, place) for place, (file, _) in results.items()),
    ]:
        _put(source, output / place)
    parameters = _parameters(results)
    graph = [*_about(run, facts, results), *_workflow(facts, parameters), *parameters, _action(run, study, results)]
    graph += [_file(output, study, "param-study", "The study: claims, cases, sizes, seed.")]
    graph += [_file(output, place, f"param-{kind}", RESULTS[kind]) for place, (_, kind) in results.items()]
    records.write_json(output / METADATA, {"@context": CONTEXT, "@graph": graph})
    return output / METADATA


def _workflow_files() -> Iterator[tuple[Path, str]]:
    """The files of the workflow and of the code that it runs."""
    for folder in CODE:
        for file in sorted((ROOT / folder).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield file, file.relative_to(ROOT).as_posix()
    yield from ((ROOT / name, name) for name in (WORKFLOW, *ALONE))


def _results(run: Run) -> Iterator[tuple[str, tuple[Path, str]]]:
    """Place in the crate -> the file, and which kind of result it is."""
    for file in sorted(path for path in run.folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        inside = file.relative_to(run.folder)
        kind = inside.parts[0] if len(inside.parts) > 1 else "paper" if file.suffix == ".pdf" else "tables"
        if kind in RESULTS and file.suffix in FORMATS:
            yield f"results/{run.study.name}/{inside.as_posix()}", (file, kind)
    if run.paper is not None:
        yield "paper/main.pdf", (run.paper / "main.pdf", "paper")
        for file in sorted((run.paper / "generated").glob("*.json")):
            yield f"paper/generated/{file.name}", (file, "paper")
        # Pictures of another study may lie beside this one's.
        names = ["scaling"] * run.timed + [claim.replace("/", "-") for claim in run.study.cases]
        for file in (run.paper / "figures" / f"{name}{suffix}" for name in names for suffix in (".svg", ".png")):
            if file.is_file():
                yield f"paper/figures/{file.name}", (file, "figures")


def _put(source: Path, target: Path) -> None:
    """Copies a file; a record is linked where the file system can: they are gigabytes, and nothing changes one in place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if source.suffix == ".npz":
            os.link(source.resolve(), target)
            return
    except OSError:  # another file system, or one without links
        pass
    shutil.copyfile(source, target)


def _about(run: Run, facts: Mapping[str, Any], results: Mapping[str, Any]) -> list[Entity]:
    """The metadata file, the crate itself, its authors, its licence and the profiles."""
    about = citation.facts()
    authors = [_author(author) for author in about["authors"]]
    licence = f"https://spdx.org/licenses/{about['license']}"
    parts = [WORKFLOW, *ALONE, f"workflow/config/{run.study.name}.yaml", *results]
    commit = str(facts["commit"]) + (", with uncommitted changes" if facts["dirty"] else "")
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"{about['title']} Study {run.study.name}",
        "description": f"{about['abstract'].strip()} One run of the study {run.study.name}, at commit {commit}.",
        "datePublished": date.today().isoformat(),
        "license": _ref(licence),
        "author": _refs(author["@id"] for author in authors),
        "conformsTo": _refs(PROFILES),
        "mainEntity": _ref(WORKFLOW),
        "mentions": _ref("#run"),
        "hasPart": _refs([*(f"{folder}/" for folder in CODE), *parts]),
    }
    named = [{"@id": key, "@type": "CreativeWork", "name": name, "version": of} for key, (name, of) in PROFILES.items()]
    folders = [{"@id": f"{name}/", "@type": "Dataset", "name": name, "description": text} for name, text in CODE.items()]
    plain: list[Entity] = [
        {"@id": name, "@type": "File", "name": name, "description": text, "encodingFormat": of}
        for name, (text, of) in ALONE.items()
    ]
    next(entity for entity in plain if entity["@id"] == "README.md")["about"] = _ref("./")
    known = {
        "@id": licence,
        "@type": "CreativeWork",
        "name": about["license"],
        "description": "The licence of the code.",
        "url": licence,
    }
    metadata = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": _ref("./"),
        "conformsTo": _refs(["https://w3id.org/ro/crate/1.1", "https://w3id.org/workflowhub/workflow-ro-crate/1.0"]),
    }
    return [metadata, root, *authors, known, *named, *folders, *plain]


def _author(author: Mapping[str, Any]) -> Entity:
    """A person, or a group, as `CITATION.cff` has them."""
    if "name" in author:
        return {"@id": f"#{author['name'].replace(' ', '-')}", "@type": "Organization", "name": author["name"]}
    name = f"{author['given-names']} {author['family-names']}"
    return {"@id": author.get("orcid", f"#{name.replace(' ', '-')}"), "@type": "Person", "name": name}


def _workflow(facts: Mapping[str, Any], parameters: Iterable[Entity]) -> list[Entity]:
    """The workflow, its language, and what it ran with."""
    about = citation.facts()
    versions = {name: version for name, version in facts["versions"].items() if name != PACKAGE}
    software = [
        {"@id": url, "@type": "SoftwareApplication", "name": name, "softwareVersion": version}
        for name, version, url in [
            ("python", facts["python"], "https://www.python.org/"),
            *((name, version, f"pkg:pypi/{name}@{version}") for name, version in versions.items()),
        ]
    ]
    devices = [
        {"@id": f"#{backend}-{k}-{name}", "@type": "PropertyValue", "name": f"{backend}: {name}", "value": str(value)}
        for backend, found in facts["backends"].items()
        for k, device in enumerate(found)
        for name, value in device.items()
    ]
    machine = [
        {"@id": f"#machine-{name}", "@type": "PropertyValue", "name": name, "value": str(facts[name])}
        for name in ("commit", "dirty", "platform", "processor", "cpus")
    ]
    language = {
        "@id": SNAKEMAKE,
        "@type": "ComputerLanguage",
        "name": "Snakemake",
        "alternateName": "snakemake",
        "identifier": _ref("https://github.com/snakemake/snakemake"),
        "url": _ref("https://github.com/snakemake/snakemake"),
        "version": facts["versions"]["snakemake"],
    }
    return [language, *software, *devices, *machine, _main(about, software, [*machine, *devices], parameters)]


def _main(
    about: Mapping[str, Any], software: Iterable[Entity], settings: Iterable[Entity], parameters: Iterable[Entity]
) -> Entity:
    given, made = (lambda entity: entity["valueRequired"]), (lambda entity: not entity["valueRequired"])
    return {
        "@id": WORKFLOW,
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": about["title"],
        "description": about["abstract"].strip(),
        "version": str(about["version"]),
        "encodingFormat": "text/plain",
        "license": _ref(f"https://spdx.org/licenses/{about['license']}"),
        "author": _refs(_author(author)["@id"] for author in about["authors"]),
        "conformsTo": _ref(WORKFLOW_PROFILE),
        "programmingLanguage": _ref(SNAKEMAKE),
        "softwareRequirements": _refs(entity["@id"] for entity in software),
        "additionalProperty": _refs(entity["@id"] for entity in settings),
        "input": _refs(entity["@id"] for entity in filter(given, parameters)),
        "output": _refs(entity["@id"] for entity in filter(made, parameters)),
    }


def _parameters(results: Mapping[str, tuple[Path, str]]) -> list[Entity]:
    """What goes in and what comes out of the workflow, in general."""
    kinds = dict.fromkeys(kind for _, kind in results.values())
    described = {"study": "Claims, cases, sizes and seed."} | {kind: RESULTS[kind] for kind in kinds}
    return [
        {
            "@id": f"#param-{name}",
            "@type": "FormalParameter",
            "additionalType": "File",
            "conformsTo": _ref(PARAMETER_PROFILE),
            "name": name,
            "description": text,
            "valueRequired": name == "study",
            "multipleValues": name != "study",
        }
        for name, text in described.items()
    ]


def _action(run: Run, study: str, results: Mapping[str, Any]) -> Entity:
    """This run of the workflow; its times are those that Snakemake noted of the files' jobs, where it did."""
    action = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"make reproduce STUDY={run.study.name}",
        "description": f"The study {run.study.name}, from nothing to verdicts, figures and paper.",
        "instrument": _ref(WORKFLOW),
        "object": _ref(study),
        "result": _refs(results),
        "actionStatus": "http://schema.org/CompletedActionStatus",
    }
    return action | times(run.folder.absolute().parent.parent, results)


def times(checkout: Path, places: Iterable[str]) -> dict[str, str]:
    """Start of the first and end of the last of the jobs that made some files, as Snakemake noted them, if it did."""
    folder = checkout / ".snakemake" / "metadata"
    wanted, spans = set(places), []
    for file in folder.rglob("*") if folder.is_dir() else ():
        # A long name is cut into folders whose names begin with @.
        coded = "".join(part.removeprefix("@") for part in file.relative_to(folder).parts)
        try:
            name = base64.b64decode(coded, validate=True).decode()
            spans += [(noted["starttime"], noted["endtime"]) for noted in [records.read_json(file)] if name in wanted]
        except (ValueError, KeyError, records.RecordError):
            continue
    if not spans:
        return {}
    ends = {"startTime": min(start for start, _ in spans), "endTime": max(end for _, end in spans)}
    return {name: datetime.fromtimestamp(second, UTC).isoformat(timespec="seconds") for name, second in ends.items()}


def _file(folder: Path, place: str, parameter: str, description: str) -> Entity:
    payload = (folder / place).read_bytes()
    return {
        "@id": place,
        "@type": "File",
        "name": place,
        "description": description,
        "encodingFormat": FORMATS[Path(place).suffix],
        "contentSize": str(len(payload)),
        "sha256": hashlib.sha256(payload).hexdigest(),
        "exampleOfWork": _ref(f"#{parameter}"),
    }


def _ref(entity: str) -> dict[str, str]:
    return {"@id": entity}


def _refs(entities: Iterable[str]) -> dict[str, str] | list[dict[str, str]]:
    """A single one stands alone, as RO-Crate wants it."""
    found = [_ref(entity) for entity in entities]
    return found[0] if len(found) == 1 else found
