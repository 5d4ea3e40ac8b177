"""Whom to cite for the software, for a claim, and for a method or a data set."""

import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

import yaml

from ntkbench import bibliography, names
from ntkbench.bibliography import Entry
from ntkbench.claims import Claim, all_claims
from ntkbench.provenance import PACKAGE, ROOT

FILE, LICENCE = "CITATION.cff", "LICENSE"

METHODS: Mapping[str, tuple[str, ...]] = {
    # What a backend is asked for, and what is built of it.
    "ntk": ("jacot2018neural", "novak2022fast"),
    "empirical_ntk": ("jacot2018neural", "novak2022fast"),
    "hierarchy": ("huang2020dynamics",),
    "contracted_hierarchy": ("huang2020dynamics",),
    "integrate_hierarchy": ("huang2020dynamics",),
    "predict_training": ("huang2020dynamics", "dyer2020asymptotics"),
    "first_order": ("dyer2020asymptotics",),
    "limiting_kernels": ("jacot2018neural", "cho2009kernel", "williams1997computing", "trefethen2014exponentially"),
    "cntk": ("arora2019exact", "garriga2019deep", "novak2019bayesian"),
    "kernel_descent": ("lee2019wide",),
    "train": ("hairer1993solving",),
    "euler": ("hairer1993solving",),
    "rk4": ("hairer1993solving",),
    "dop853": ("hairer1993solving",),
    # Networks: parametrizations, and the initialization with f_0 = 0.
    "ntk_parametrization": ("jacot2018neural",),
    "standard": ("lee2019wide",),
    "mean_field": ("bordelon2022self",),
    "antisymmetric": ("chizat2019lazy",),
    # How claims are judged, and random numbers drawn.
    "verdicts": ("schuirmann1987comparison", "holm1979simple", "efron1993introduction"),
    "ranks": ("demsar2006statistical",),
    "seeds": ("salmon2011parallel",),
    # Programs that do the work.
    "torch": ("paszke2019pytorch",),
    "jax": ("jax2018github",),
    "snakemake": ("molder2021sustainable",),
    "scikit-learn": ("pedregosa2011scikit",),
    # Data that somebody published: the name of the source, or what it begins with.
    "digits": ("pedregosa2011scikit",),
    "fashion_mnist": ("xiao2017fashion",),
    "mnist": ("lecun1998gradient",),
    "cifar10": ("krizhevsky2009learning",),
    "uci": ("arora2020harnessing",),
}
"""Methods, programs and data -> keys of the bibliography."""


def sources(text: str) -> list[dict[str, str]]:
    """`key, place; key, place`, as claims name their sources, to its parts; the place may be empty."""
    parts = [part.strip().partition(",") for part in text.split(";")]
    return [{"key": key.strip(), "place": place.strip()} for key, _, place in parts]


def keys_of_claim(claim: Claim) -> tuple[str, ...]:
    """The papers that a claim and its expectations name, its own sources first."""
    texts = [claim.source, *(expectation.source for expectation in claim.expectations)]
    return tuple(dict.fromkeys(part["key"] for text in texts for part in sources(text)))


def keys() -> dict[str, tuple[str, ...]]:
    """What can be cited besides the software, methods before claims -> keys of the bibliography."""
    return {**METHODS, **{id_: keys_of_claim(claim) for id_, claim in all_claims().items()}}


def cited(asked: Iterable[str]) -> list[Entry]:
    """The entries of claims and methods, each once; of the software where nothing is asked for.

    Raises:
        ValueError: for a name that is neither, with the nearest that is.
    """
    known, found = keys(), dict[str, None]()
    for name in asked:
        names.check("claim or method", name, known)
        found |= dict.fromkeys(known[name])
    return [bibliography.entries()[key] for key in found] if found else [software()]


def software() -> Entry:
    """The entry of the software itself, made of `CITATION.cff`; its year is the licence's until a release has a date.

    Raises:
        ValueError: if an installed package has lost one of the two files, or the licence its year.
    """
    known = facts()
    fields = {
        "author": " and ".join(map(_author, known["authors"])),
        "title": f"{{{known['title']}}}",
        "note": f"Version {known['version']}",
        "year": str(known["date-released"])[:4] if "date-released" in known else _year_of_licence(),
    }
    links = {name: known[key] for name, key in (("doi", "doi"), ("url", "repository-code")) if key in known}
    return Entry("misc", PACKAGE, fields | links)


def facts() -> dict[str, Any]:
    """What `CITATION.cff` says."""
    return dict(yaml.safe_load(_shipped(FILE)))


def _year_of_licence() -> str:
    found = re.search(r"Copyright \(c\) (\d{4})", _shipped(LICENCE))
    if found is None:
        raise ValueError(f"{LICENCE} has no line `Copyright (c) YEAR`, and {FILE} no `date-released`")
    return found[1]


def _author(author: Mapping[str, Any]) -> str:
    # The name of a group in braces of its own, so that BibTeX finds no first and last name in it.
    return f"{{{author['name']}}}" if "name" in author else f"{author['family-names']}, {author['given-names']}"


def _shipped(name: str) -> str:
    """The text of a file of the checkout or, where the package is installed, of its metadata."""
    if (ROOT / name).is_file():
        return (ROOT / name).read_text(encoding="utf-8")
    text = metadata.distribution(PACKAGE).read_text(f"licenses/{name}")
    if text is None:
        raise ValueError(f"the installed {PACKAGE} has lost its {name}: install it again")
    return text
