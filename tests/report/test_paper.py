"""The PDF: it compiles from whatever a study may hold, without warnings, to the same bytes."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typst

from ntkbench import claims, tables
from ntkbench.claims import FAMILIES, Case, all_claims, get
from ntkbench.files import RecordError
from ntkbench.performance import scaling
from ntkbench.report import paper
from tests.figures import synthetic
from tests.report import studies


def elements(folder: Path, selector: str) -> list[Any]:
    """What the paper has of a kind, as typst's JSON."""
    return list(json.loads(typst.query(str(folder / "main.typ"), selector, root=str(folder), ignore_system_fonts=True)))


def text_of(node: Any) -> str:
    """Without what layout alone can fill in (the figures' numbers)."""
    return " ".join("".join(_texts(node)).split())


def _texts(node: Any) -> Iterator[str]:
    if node.get("func") == "space":
        yield " "
    yield node.get("text", "")
    for child in (*node.get("children", []), *(node[name] for name in ("body", "child") if name in node)):
        yield from _texts(child)


def headings(folder: Path) -> list[str]:
    """Texts of the paper's headings of levels 1 and 2."""
    return [text_of(heading) for heading in elements(folder, "heading.where(level: 1).or(heading.where(level: 2))")]


def abstract(folder: Path) -> str:
    (found,) = elements(folder, "<abstract>")
    return text_of(found)


def computed(folder: Path, expression: str) -> Any:
    """The value of an expression of the paper's library."""
    (folder / "asked.typ").write_text(f'#import "/lib.typ": *\n#metadata({expression}) <asked>', encoding="utf-8")
    (found,) = json.loads(typst.query(str(folder / "asked.typ"), "<asked>", root=str(folder), field="value"))
    return found


ONE = "gap/kernel_regression"


def one_claim() -> Mapping[str, Mapping[str, Case]]:
    """Of the default study, where what is asked is the same of all claims."""
    return {ONE: synthetic.cases()[ONE]}


def test_the_paper_is_built_and_rebuilt_to_the_same_bytes(tmp_path: Path) -> None:
    cases = synthetic.cases()
    study = studies.write(tmp_path, cases)
    output = tmp_path / "paper" / "main.pdf"
    paper.build(study, output, cases=cases)
    first = output.read_bytes()
    assert first.startswith(b"%PDF")
    assert len(first) > 50_000
    assert {file.name for file in (tmp_path / "paper" / "generated").iterdir()} == {
        "references.bib", *(f"{name}.json" for name in ("study", "claims", "example", "scaling"))
    }  # fmt: skip
    paper.build(study, output, cases=cases)
    assert output.read_bytes() == first


def test_claims_come_by_family_and_within_one_as_the_study_has_them(tmp_path: Path) -> None:
    cases = dict(reversed(synthetic.cases().items()))
    paper.build(studies.write(tmp_path, cases), tmp_path / "paper" / "main.pdf", cases=cases)
    titles = [all_claims()[id_].title for family in FAMILIES for id_ in cases if id_.startswith(f"{family}/")]
    assert len(titles) == len(cases)
    assert [title for title in headings(tmp_path / "paper") if title in titles] == titles


def test_expectations_that_speak_of_no_case_say_so_wherever_their_numbers_would_be(tmp_path: Path) -> None:
    given = synthetic.cases()
    dense = {name: case for name, case in given["gap/kernel_regression"].items() if not getattr(case, "image", None)}
    for id_, cases in (("gap/kernel_regression", dense), ("gap/measures", given["gap/measures"])):
        regular = [case for case in cases.values() if case.control is None]
        unasked = [not any(map(expectation.applies, regular)) for expectation in get(id_).expectations].count(True)
        assert (unasked > 0) == (cases is dense)
        paper.build(studies.write(tmp_path, {id_: cases}), tmp_path / "paper" / "main.pdf", cases={id_: cases})
        tables = elements(tmp_path / "paper", "figure.where(kind: table)")
        overview, verdicts = (table for table in tables if text_of(table).lower().startswith("expectation"))
        assert [text_of(table).count("no case of this study") for table in (overview, verdicts)] == [unasked] * 2
        assert ("no case of this study and" in text_of(overview["caption"])) == (unasked > 0)
        findings = " ".join(map(text_of, elements(tmp_path / "paper", "list")))
        assert findings.count("No case of this study is judged by it.") == unasked


def test_captions_speak_of_slopes_where_they_are_drawn_and_findings_follow_their_line(tmp_path: Path) -> None:
    chosen = {id_: found for id_, found in synthetic.cases().items() if id_ in ("hierarchy/recipe", "constancy/gradient_flow")}
    paper.build(studies.write(tmp_path, chosen), tmp_path / "paper" / "main.pdf", cases=chosen)
    captions = [text_of(figure["caption"]) for figure in elements(tmp_path / "paper", "figure.where(kind: image)")]
    shown = {id_: next(text for text in captions if text.startswith(get(id_).title)) for id_ in chosen}
    assert {id_: "Thin lines: the expected slope." in text for id_, text in shown.items()} == {
        "hierarchy/recipe": False, "constancy/gradient_flow": True,
    }  # fmt: skip
    assert [line["sticky"] for line in elements(tmp_path / "paper", "<findings>")] == [True] * len(chosen)


def test_captions_say_which_panels_have_no_cases(tmp_path: Path) -> None:
    given = synthetic.cases()["gap/hierarchy"]
    dense = {name: case for name, case in given.items() if not getattr(case, "image", None)}
    for cases, letters in ((given, ""), (dense, "(c)")):
        paper.build(
            studies.write(tmp_path, {"gap/hierarchy": cases}), tmp_path / "paper" / "main.pdf", cases={"gap/hierarchy": cases}
        )
        captions = [text_of(figure["caption"]) for figure in elements(tmp_path / "paper", "figure.where(kind: image)")]
        (caption,) = (text for text in captions if text.startswith(get("gap/hierarchy").title))
        assert caption.endswith(f"This study has no cases for {letters}.") == bool(letters)


def test_pictures_that_are_higher_than_a_page_are_made_smaller(tmp_path: Path) -> None:
    cases = {id_: found for id_, found in synthetic.cases().items() if id_ in ("hierarchy/recipe", "gap/hierarchy")}
    study = studies.write(tmp_path, cases)
    tall = studies.SVG.replace(b'height="100"', b'height="1000"')
    (tmp_path / "paper" / "figures" / "gap-hierarchy.svg").write_bytes(tall)
    paper.build(study, tmp_path / "paper" / "main.pdf", cases=cases)
    pictures = elements(tmp_path / "paper", "image")
    assert [(picture["width"], picture["height"]) for picture in pictures] == [
        ("100% + 0pt", "auto"),
        ("auto", "0% + 552.76pt"),
    ]


def test_scaling_curves_have_a_section_where_a_study_has_them(tmp_path: Path) -> None:
    cases = one_claim()
    study, output = studies.write(tmp_path, cases), tmp_path / "paper" / "main.pdf"
    paper.build(study, output, cases=cases)
    assert "Cost" not in headings(tmp_path / "paper")
    paper.build(study, output, cases=cases, timed=True)
    assert "Cost" in headings(tmp_path / "paper")
    printed = json.loads((tmp_path / "paper" / "generated" / "scaling.json").read_text())
    curves = printed["curves"]
    (ntk,) = [curve for curve in curves if curve["name"] == "ntk-points"]
    assert (ntk["theory"], ntk["theory_of_memory"], ntk["fixed"]) == ("1 to 2", "0 to 2", "m 128, depth 3, tanh")
    assert [backend["backend"] for backend in ntk["backends"]] == ["torch", "jax"]
    assert ntk["backends"][0]["ratio"] == 2.0
    naive = {found["name"]: found for found in printed["naive"]}
    assert naive["naive-k4-points"]["sizes"] == [["n", 8], ["m", 128], ["depth", 2]]
    assert [found["quantity"] for found in naive.values()] == ["K4", "K5"]
    assert [row["order"] for row in printed["affordable"]["rows"]] == [2, 3, 3, 4, 4, 5, 6]
    assert printed["affordable"]["bases"] == [6, 12]
    assert (printed["affordable"]["evaluations"], printed["affordable"]["gigabytes"]) == (1000, 10)
    (curve,) = [curve for curve in curves if curve["name"] == "naive-k4-points"]
    assert (curve["quantity"], curve["theory"], curve["theory_of_memory"], curve["flops"]) == ("K4, naive", "4", "3 to 4", None)


def test_timings_without_the_naive_way_have_a_section_too(tmp_path: Path) -> None:
    """As those of a study without such curves, and without any curve of kernels against points."""
    cases = one_claim()
    study, output = studies.write(tmp_path, cases), tmp_path / "paper" / "main.pdf"
    rows = tables.read_rows(study / "performance.csv", "performance")
    kept = [row for row in rows if row["curve"] in ("ntk-width", "limiting-points")]
    tables.write_table(study / "performance.csv", "performance", kept)
    tables.write_table(study / "scaling.csv", "scaling", scaling.table(kept))
    paper.build(study, output, cases=cases, timed=True)
    printed = json.loads((tmp_path / "paper" / "generated" / "scaling.json").read_text())
    assert (printed["naive"], printed["affordable"]["rows"]) == ([], [])


def test_another_number_is_another_paper(tmp_path: Path) -> None:
    cases = one_claim()
    output = tmp_path / "paper" / "main.pdf"
    paper.build(studies.write(tmp_path, cases), output, cases=cases)
    first = output.read_bytes()
    paper.build(studies.write(tmp_path, cases, lambda v: v.assign(estimate=v["estimate"] + 0.01)), output, cases=cases)
    assert output.read_bytes() != first


def verdict(verdicts: pd.DataFrame, name: str, of: Mapping[str, str]) -> pd.DataFrame:
    """Another verdict in the rows that have these values in the columns."""
    chosen = (verdicts[list(of)] == pd.Series(of)).all(axis=1)
    assert chosen.any()
    return verdicts.assign(verdict=verdicts["verdict"].mask(chosen, name))


def test_the_abstract_names_claims_by_title_and_rival_readings_apart(tmp_path: Path) -> None:
    cases = {id_: synthetic.cases()[id_] for id_ in ("hierarchy/truncation", "hierarchy/sizes", "hierarchy/depth")}
    chosen = [
        ("hierarchy/truncation", "error_p3"), ("hierarchy/truncation", "formula_read_at_p3"),
        ("hierarchy/sizes", "bound_read_as_sharp_3"), ("hierarchy/sizes", "bound_read_as_sharp_5"),
        ("hierarchy/depth", "drift_power"), ("hierarchy/depth", "error_p2_power"),
    ]  # fmt: skip

    def edit(verdicts: pd.DataFrame) -> pd.DataFrame:
        verdicts = verdicts.assign(verdict="supported")
        for claim, expectation in chosen:
            verdicts = verdict(verdicts, "contradicted", {"claim": claim, "expectation": expectation})
        return verdicts

    study, output = studies.write(tmp_path, cases, edit), tmp_path / "paper" / "main.pdf"
    paper.build(study, output, cases=cases)
    text = abstract(tmp_path / "paper")
    counted = pd.read_csv(study / "verdicts.csv").query("backend == 'torch' and verdict == 'contradicted'")
    rivals = int(counted["expectation"].isin(["formula_read_at_p3", "bound_read_as_sharp_3", "bound_read_as_sharp_5"]).sum())
    assert f"{len(counted)} contradicted ({rivals} of them rival readings" in text
    stated = text.partition("Verdicts that contradict an expectation")[2].partition("Rival readings were rejected on ")
    rejected = stated[2].partition("Rival readings were supported on ")

    def titled(claim: str, *expectations: str) -> str:
        """A claim's title, and how many of its verdicts are counted behind it."""
        rows = pd.read_csv(study / "verdicts.csv").query("backend == 'torch' and claim == @claim")
        return f"“{all_claims()[claim].title}” ({rows['expectation'].isin(expectations).sum()},"

    depth, sizes, truncation = "hierarchy/depth", "hierarchy/sizes", "hierarchy/truncation"
    assert titled(depth, "drift_power", "error_p2_power") in stated[0]
    assert titled(truncation, "error_p3") in stated[0]
    assert all_claims()[sizes].title not in stated[0]
    assert titled(sizes, "bound_read_as_sharp_3", "bound_read_as_sharp_5") in rejected[0]
    assert titled(truncation, "formula_read_at_p3") in rejected[0]
    assert titled(truncation, "formula_read_at_p5") in rejected[2]


def test_without_rival_readings_the_abstract_does_not_speak_of_them(tmp_path: Path) -> None:
    cases = {"convergence/initialization": synthetic.cases()["convergence/initialization"]}
    paper.build(studies.write(tmp_path, cases), tmp_path / "paper" / "main.pdf", cases=cases)
    text = abstract(tmp_path / "paper")
    assert "Nothing was contradicted." in text
    assert "rival" not in text


def test_what_the_widths_settle_is_counted_in_the_table(tmp_path: Path) -> None:
    of = "hierarchy/truncation"
    cases = {of: synthetic.cases()[of]}

    def edit(verdicts: pd.DataFrame) -> pd.DataFrame:
        verdicts = verdict(verdicts.assign(verdict="supported"), "inconclusive", {"claim": of, "expectation": "error_p4"})
        verdicts = verdict(verdicts, "invalid", {"claim": of, "expectation": "error_p6"})
        verdicts = verdict(verdicts, "supported", {"claim": of, "expectation": "error_p4", "case": "gelu-1-digits"})
        fourth = (verdicts["claim"] == of) & (verdicts["expectation"] == "error_p4")
        steeper, corrected = (fourth & (verdicts["case"] == case) for case in ("tanh-1-antisymmetric", "tanh-1-plain"))
        verdicts.loc[steeper, ["ci_low", "ci_high"]] = [-2.4, -2.1]
        verdicts.loc[fourth & ~steeper, ["ci_low", "ci_high"]] = [-2.1, -1.9]
        verdicts.loc[fourth & (verdicts["case"] == "tanh-2-antisymmetric"), ["ci_low", "ci_high"]] = [-1.9, -1.7]
        verdicts.loc[steeper | corrected, "reason"] = "the interval alone would support it (p = 0.01), the family does not"
        return verdicts

    study = studies.write(tmp_path, cases, edit)
    paper.build(study, tmp_path / "paper" / "main.pdf", cases=cases)
    verdicts = pd.read_csv(study / "verdicts.csv").query(f"claim == '{of}' and backend == 'torch'")
    judged = verdicts.groupby("expectation").size()
    found = computed(tmp_path / "paper", "(orders: settled-orders, even: even-orders)")
    assert found["orders"] == [2, 3, 5]
    both = int(judged["error_p4"] + judged["error_p6"])
    assert found["even"] == {"all": both, "open": both - 1, "steeper": 1, "shallower": 1, "corrected": 1}
    counted = [f"in 1 of {judged['error_p4']} at p = 4", f"in 0 of {judged['error_p6']} at p = 6"]
    assert all(words in abstract(tmp_path / "paper") for words in counted)


def hostile(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Every kind of row that a study may hold, and reasons that look like markup."""
    verdicts = verdicts.reset_index(drop=True)
    verdicts["seeds"] = verdicts["seeds"].astype(str)
    pair = verdicts.index // 2
    for k, verdict in enumerate(("invalid", "inconclusive", "contradicted")):
        verdicts.loc[pair % 7 == k, "verdict"] = verdict
        verdicts.loc[pair % 7 == k, "reason"] = "#panic(1) *b* $x$ @none <a> [ ] _u_ \\ `c`"
    verdicts.loc[::11, "verdict"] = "invalid"
    verdicts.loc[1::5, ["estimate", "ci_low", "ci_high", "p_value"]] = np.nan
    verdicts.loc[2::5, "ci_low"] = -np.inf
    verdicts.loc[2::5, "ci_high"] = np.inf
    verdicts.loc[3::5, "estimate"] = 123456.789
    verdicts.loc[4::5, ["estimate", "ci_low"]] = [0.0, -1e-17]
    verdicts.loc[::3, "seeds"] = "64..1024"
    return verdicts


def test_no_verdict_and_no_reason_breaks_the_paper(tmp_path: Path) -> None:
    cases = synthetic.cases()
    study = studies.write(tmp_path, cases, hostile)
    paper.build(study, tmp_path / "paper" / "main.pdf", cases=cases)
    found = json.loads((tmp_path / "paper" / "generated" / "study.json").read_text())
    assert all(found["counts"][name] > 0 for name in ("supported", "contradicted", "inconclusive", "invalid", "split"))


@pytest.mark.parametrize("name", ["smoke", "paper"])
def test_the_other_studies_compile(tmp_path: Path, name: str) -> None:
    cases = synthetic.cases(name)
    paper.build(studies.write(tmp_path, cases), tmp_path / "paper" / "main.pdf", cases=cases)
    assert (tmp_path / "paper" / "main.pdf").stat().st_size > 50_000


def test_one_claim_is_enough(tmp_path: Path) -> None:
    cases = one_claim()
    paper.build(studies.write(tmp_path, cases), tmp_path / "paper" / "main.pdf", cases=cases)
    assert headings(tmp_path / "paper")[4] == get(ONE).title


def test_a_new_claim_of_a_new_family_appears_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = get("convergence/initialization")
    new = type("New", (type(old),), {"id": "spectrum/edge", "title": "A new claim"})()
    known = all_claims() | {new.id: new}
    monkeypatch.setattr(claims, "all_claims", lambda: known)
    monkeypatch.setattr(studies, "all_claims", lambda: known)
    cases = {**one_claim(), new.id: synthetic.cases()[old.id]}
    paper.build(studies.write(tmp_path, cases), tmp_path / "paper" / "main.pdf", cases=cases)
    shown = headings(tmp_path / "paper")
    place = shown.index(get(ONE).title)
    assert shown[place + 1 : place + 3] == ["spectrum", "A new claim"]


def test_a_paper_that_does_not_compile_leaves_the_old_one(tmp_path: Path) -> None:
    cases = one_claim()
    study = studies.write(tmp_path, cases)
    output = tmp_path / "paper" / "main.pdf"
    output.write_bytes(b"the old one")
    source = tmp_path / "paper" / "main.typ"
    source.write_text(source.read_text() + "\n#nonsense\n")
    with pytest.raises(paper.PaperError, match=r"main.typ does not compile: .*unknown variable: nonsense"):
        paper.build(study, output, cases=cases)
    assert output.read_bytes() == b"the old one"


def test_a_missing_font_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "x.typ"
    source.write_text('#set text(font: "No Such Font")\nA')
    with pytest.raises(paper.PaperError, match="warnings: .*unknown font family"):
        paper.render(source)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    cases = one_claim()
    study = studies.write(tmp_path, cases)
    (study / "crosscheck.csv").unlink()
    with pytest.raises(RecordError, match="crosscheck.csv is missing"):
        paper.build(study, tmp_path / "paper" / "main.pdf", cases=cases)
