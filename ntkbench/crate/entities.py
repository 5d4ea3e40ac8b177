"""What a crate says of itself as JSON-LD: who, what, by which workflow, on which machine, and each file with its hash.

The profile is Workflow Run Crate 0.5 (Leo et al. 2024) on RO-Crate 1.1, <https://w3id.org/ro/wfrun/workflow>.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from ntkbench import citation
from ntkbench.crate.contents import ALONE, CODE, FORMATS, RESULTS, WORKFLOW, study
from ntkbench.crate.times import times
from ntkbench.provenance import PACKAGE, environment
from ntkbench.trace.run import Run

METADATA = "ro-crate-metadata.json"
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

Entity = dict[str, Any]
Results = Mapping[str, tuple[Path, str]]
"""Place in the crate -> the file, and which kind of result it is."""


def graph(run: Run, folder: Path, results: Results) -> list[Entity]:
    """Every entity of a crate.

    Args:
        folder: of the crate, whose files are there.
        results: those of the run.
    """
    facts = run.facts
    parameters = _parameters(results)
    found = [*_about(run, facts, results), *_workflow(facts, parameters), *parameters, _action(run, results)]
    found.append(_file(folder, study(run), "study", "The study: claims, cases, sizes, seed."))
    return found + [_file(folder, place, kind, RESULTS[kind]) for place, (_, kind) in results.items()]


def _about(run: Run, facts: Mapping[str, Any], results: Results) -> list[Entity]:
    """The metadata file, the crate itself, its authors, its licence and the profiles."""
    about = citation.facts()
    authors = [_author(author) for author in about["authors"]]
    licence = _licence(about)
    parts = [WORKFLOW, *ALONE, study(run), *results]
    commit = str(facts["commit"]) + (", with uncommitted changes" if facts["dirty"] else "")
    here = environment()
    if (here["commit"], here["dirty"]) != (facts["commit"], False):
        changed = " with uncommitted changes" if here["dirty"] else ""
        commit += f"; workflow and code in this crate are those of another state, commit {here['commit']}{changed}"
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


def _licence(about: Mapping[str, Any]) -> str:
    """Its address, in the list whose names `CITATION.cff` takes."""
    return f"https://spdx.org/licenses/{about['license']}"


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
        "version": facts["versions"].get("snakemake", "unknown"),
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
        "license": _ref(_licence(about)),
        "author": _refs(_author(author)["@id"] for author in about["authors"]),
        "conformsTo": _ref(WORKFLOW_PROFILE),
        "programmingLanguage": _ref(SNAKEMAKE),
        "softwareRequirements": _refs(entity["@id"] for entity in software),
        "additionalProperty": _refs(entity["@id"] for entity in settings),
        "input": _refs(entity["@id"] for entity in filter(given, parameters)),
        "output": _refs(entity["@id"] for entity in filter(made, parameters)),
    }


def _parameters(results: Results) -> list[Entity]:
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


def _action(run: Run, results: Results) -> Entity:
    """This run of the workflow; its times are those that Snakemake noted of the jobs of its tables, where it did."""
    action = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"make reproduce STUDY={run.study.name}",
        "description": f"The study {run.study.name}, from nothing to verdicts, figures and paper.",
        "instrument": _ref(WORKFLOW),
        "object": _ref(study(run)),
        "result": _refs(results),
        "actionStatus": "http://schema.org/CompletedActionStatus",
    }
    folder = run.folder.absolute()
    # There is one paper for all studies: its figures' jobs may be another run's.
    own = [name for name in results if name.startswith(f"{folder.parent.name}/{folder.name}/")]
    return action | times(folder.parent.parent, own)


def _file(folder: Path, place: str, parameter: str, description: str) -> Entity:
    """A file of the crate, as an example of a parameter of the workflow."""
    payload = (folder / place).read_bytes()
    return {
        "@id": place,
        "@type": "File",
        "name": place,
        "description": description,
        "encodingFormat": FORMATS[Path(place).suffix],
        "contentSize": str(len(payload)),
        "sha256": hashlib.sha256(payload).hexdigest(),
        "exampleOfWork": _ref(f"#param-{parameter}"),
    }


def _ref(entity: str) -> dict[str, str]:
    return {"@id": entity}


def _refs(entities: Iterable[str]) -> dict[str, str] | list[dict[str, str]]:
    """A single one stands alone, as RO-Crate wants it."""
    found = [_ref(entity) for entity in entities]
    return found[0] if len(found) == 1 else found
