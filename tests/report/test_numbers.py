"""What the paper prints, against the tables it comes from."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ntkbench.claims import get
from ntkbench.claims.base import Case
from ntkbench.report import numbers, paper
from ntkbench.verdicts.expectations import Bound, Equivalence, Expectation, Identity, Paired, Rate
from tests.figures import synthetic
from tests.report import studies

Cases = Mapping[str, Mapping[str, Case]]
COMMON: dict[str, Any] = {"name": "e", "statement": "S.", "source": "s", "quantity": "q", "control": "c"}


@pytest.fixture(scope="module")
def cases() -> Cases:
    return synthetic.cases()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, cases: Cases) -> Path:
    return studies.write(tmp_path_factory.mktemp("study"), cases)


def changed(verdicts: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    """`verdicts` of the truncation at p = 3 read as a rate, tanh-1-plain in jax, with other values."""
    verdicts = verdicts.reset_index(drop=True).astype({"p_value": float})
    one = (verdicts["expectation"] == "error_p3") & (verdicts["case"] == "tanh-1-plain") & (verdicts["backend"] == "jax")
    assert one.sum() == 1
    for column, value in columns.items():
        verdicts.loc[one, column] = value
    return verdicts


@pytest.mark.parametrize(
    ("expectation", "text"),
    [
        (Rate(**COMMON, exponent=-0.5, margin=0.1), "slope −0.5 ± 0.1"),
        (Bound(**COMMON, exponent=-1.0, margin=0.2), "slope ≤ −1 + 0.2"),
        (Identity(**COMMON, tolerance=1e-6), "≤ 1e−06"),
        (Equivalence(**COMMON, value=-0.5, margin=0.25), "−0.5 ± 0.25, largest width"),
        (Paired(**COMMON, size=0.01, at="smallest"), "|difference| > 0.01, smallest width"),
        (Paired(**COMMON, size=0.0, sign=1), "difference > 0, largest width"),
        (Paired(**COMMON, size=0.5, sign=-1), "difference < −0.5, largest width"),
        (Paired(**COMMON, size=0.0, sign=-1), "difference < 0, largest width"),
    ],
)
def test_expected_in_words(expectation: Expectation, text: str) -> None:
    assert numbers.expected(expectation) == text


def test_unknown_expectations_are_refused() -> None:
    with pytest.raises(ValueError, match="e: no words for an expectation of type Expectation"):
        numbers.expected(Expectation(**COMMON))


def test_sources_are_split_into_key_and_place() -> None:
    text = "huang2020dynamics, section 1; arora2019exact, Theorem 3.2 (rate: a, b)"
    assert numbers.sources(text) == [
        {"key": "huang2020dynamics", "place": "section 1"},
        {"key": "arora2019exact", "place": "Theorem 3.2 (rate: a, b)"},
    ]
    assert numbers.sources("jacot2018neural") == [{"key": "jacot2018neural", "place": ""}]


def test_counts_add_up_to_the_verdict_table(study: Path, cases: Cases) -> None:
    found = paper.collect(study, cases)["study"]
    verdicts = pd.read_csv(study / "verdicts.csv")
    per_row = verdicts.groupby(["claim", "expectation", "case"])["verdict"].first()
    assert found["judged"] == len(per_row) == sum(found["counts"].values())
    for name in ("supported", "contradicted"):
        assert found["counts"][name] == (per_row == name).sum() > 0
    named = [*found["notable"]["contradicted"], *found["rivals"]["contradicted"]]
    contradicted = {(item["claim"], item["name"]): len(item["rows"]) for item in named}
    assert len(contradicted) == len(named)
    assert contradicted == per_row[per_row == "contradicted"].groupby(level=["claim", "expectation"]).size().to_dict()
    assert found["cases"] == sum(len(named) for named in cases.values())
    assert found["controls"] == sum(case.control is not None for named in cases.values() for case in named.values())
    assert found["commit"] == synthetic.FACTS["commit"]


def test_rival_readings_are_named_apart_from_what_the_sources_state(tmp_path: Path, cases: Cases) -> None:
    def edit(verdicts: pd.DataFrame) -> pd.DataFrame:
        chosen = verdicts["expectation"].isin(["error_p3", "formula_read_at_p3"]) & (
            verdicts["claim"] == "hierarchy/truncation"
        )
        return verdicts.assign(verdict=np.where(chosen, "contradicted", "supported"))

    found = paper.collect(studies.write(tmp_path, cases, edit), cases)
    assert [item["name"] for item in found["study"]["notable"]["contradicted"]] == ["error_p3"]
    assert [item["name"] for item in found["study"]["rivals"]["contradicted"]] == ["formula_read_at_p3"]
    supported = {item["name"] for item in found["study"]["rivals"]["supported"]}
    assert supported == {"bound_read_as_sharp_3", "bound_read_as_sharp_5", "formula_read_at_p5", "distance_without_f0"}
    rivals = {e["name"]: e["rival_to"] for claim in found["claims"] for e in claim["expectations"] if e["rival_to"]}
    assert set(rivals) == supported | {"formula_read_at_p3"}
    assert rivals["formula_read_at_p3"] == "error_p3"


def test_every_estimate_is_that_of_the_table(study: Path, cases: Cases) -> None:
    verdicts = pd.read_csv(study / "verdicts.csv").set_index(["claim", "expectation", "case", "backend"])
    seen = 0
    for entry in paper.collect(study, cases)["claims"]:
        for expectation in entry["expectations"]:
            for row in expectation["rows"]:
                for of in row["estimates"]:
                    line = verdicts.loc[(entry["id"], expectation["name"], row["case"], of["backend"])]
                    assert (of["estimate"], of["low"], of["high"]) == (line["estimate"], line["ci_low"], line["ci_high"])
                    seen += 1
            estimates = [of["estimate"] for row in expectation["rows"] for of in row["estimates"]]
            extent = (min(estimates), max(estimates)) if estimates else (None, None)
            assert (expectation["lowest"], expectation["highest"]) == extent
    assert seen == len(verdicts)


def test_expectations_that_speak_of_no_case_have_no_rows_and_are_counted_apart(tmp_path: Path, cases: Cases) -> None:
    id_, dense = "gap/kernel_regression", "relu-1-digits"
    chosen = {id_: {name: case for name, case in cases[id_].items() if name == dense or case.control}}
    speaking = {e.name for e in get(id_).expectations if e.applies(chosen[id_][dense])}
    found = paper.collect(studies.write(tmp_path, chosen), chosen)
    (entry,) = found["claims"]
    assert 0 < len(speaking) < len(entry["expectations"])
    for expectation in entry["expectations"]:
        asked = expectation["name"] in speaking
        assert len(expectation["rows"]) == asked
        assert (expectation["lowest"] is not None, sum(expectation["counts"].values())) == (asked, asked)
    assert found["study"]["expectations"] == len(speaking)
    assert found["study"]["unasked"] == len(entry["expectations"]) - len(speaking)


def test_claims_are_printed_from_their_fields(study: Path, cases: Cases) -> None:
    for entry in paper.collect(study, cases)["claims"]:
        claim = get(entry["id"])
        for field in ("title", "statement", "assumptions", "limitations", "caption"):
            assert entry[field] == getattr(claim, field)
        assert [e["name"] for e in entry["expectations"]] == [e.name for e in claim.expectations]
        assert {c["kind"]: c["text"] for c in entry["controls"]} == dict(claim.controls)
        assert [c["name"] for c in entry["cases"]] == list(cases[claim.id])


def test_backends_that_differ_are_shown_apart(tmp_path: Path, cases: Cases) -> None:
    study = studies.write(tmp_path, cases, lambda v: changed(v, verdict="inconclusive", estimate=-0.7))
    found = paper.collect(study, cases)
    (item,) = found["study"]["notable"]["split"]
    assert item["name"] == "error_p3"
    (row,) = item["rows"]
    assert {of["backend"]: of["verdict"] for of in row["estimates"]} == {"torch": "supported", "jax": "inconclusive"}
    assert (item["lowest"], item["highest"]) == (-1.0, -0.7)
    assert found["study"]["counts"]["split"] == 1


def test_json_has_no_nan_and_says_unbounded(tmp_path: Path, cases: Cases) -> None:
    values = {"estimate": np.nan, "ci_low": -np.inf, "ci_high": np.inf, "p_value": np.nan}
    study = studies.write(tmp_path, cases, lambda v: changed(v, **values))
    found = paper.collect(study, cases)
    text = json.dumps(found, allow_nan=False)
    assert "NaN" not in text
    assert "Infinity" not in text
    entry = next(c for c in found["claims"] if c["id"] == "hierarchy/truncation")
    (row,) = [r for e in entry["expectations"] if e["name"] == "error_p3" for r in e["rows"] if r["case"] == "tanh-1-plain"]
    (jax,) = [of for of in row["estimates"] if of["backend"] == "jax"]
    assert jax == {"backend": "jax", "estimate": None, "low": "-inf", "high": "inf", "p_value": None, "verdict": "supported"}


def test_the_worst_crosscheck_is_found() -> None:
    rows = [("a", 1e-15, 1e-10), ("b", 3e-14, 1e-12), ("c", 5e-13, 1e-4)]
    table = pd.DataFrame(rows, columns=["quantity", "max_rel", "allowed"]).assign(claim="x", case="y", agrees=True)
    found = numbers.worst(table)
    assert found is not None
    assert (found["largest"], found["nearest"]["quantity"], found["comparisons"], found["agree"]) == (5e-13, "b", 3, 3)
    table.loc[0, "max_rel"] = np.nan
    missing = numbers.worst(table)
    assert missing is not None
    assert (missing["largest"], missing["nearest"]["quantity"]) == (None, "a")
    assert numbers.worst(table.iloc[:0]) is None


def test_the_worked_example_shows_its_own_data(study: Path, cases: Cases) -> None:
    example = paper.collect(study, cases)["example"]
    case = cases["convergence/initialization"][example["case"]]
    assert (example["claim"], example["name"], case.control) == ("convergence/initialization", "fluctuation", None)
    rows = pd.read_csv(study / "quantities" / "convergence" / "initialization.csv")
    rows = rows[(rows["case"] == example["case"]) & (rows["quantity"] == "deviation") & (rows["backend"] == "jax")]
    assert [w["width"] for w in example["widths"]] == list(case.widths)
    for entry in example["widths"]:
        logs = [math.log(value) for value in rows[rows["width"] == entry["width"]]["value"]]
        assert entry["jax"] == pytest.approx(math.exp(sum(logs) / len(logs)), rel=1e-12)
        assert entry["seeds"] == len(logs)
    assert set(example["fitted"]) <= set(case.widths)
    assert len(example["rows"]) == 1


def test_case_fields_beyond_the_common_ones_are_named_where_they_differ() -> None:
    claim = get("hierarchy/truncation")
    entry = numbers.case_entry("a", synthetic.case(claim, antisymmetric=True, weight_variance=1.5, step=0.25, times=(1.0, 2.0)))
    assert entry["more"] == "weight_variance 1.5, antisymmetric, step 0.25, times 1–2, integrator rk4"
    assert (entry["train_size"], entry["control"]) == (8, None)


def test_a_study_without_cases_is_refused(study: Path) -> None:
    with pytest.raises(ValueError, match="default has no cases of any claim"):
        paper.collect(study, {})
