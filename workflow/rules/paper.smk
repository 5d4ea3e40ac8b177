rule paper:
    """The numbers, and the paper that is made of them."""
    input:
        tables=rules.collect.output,
        figures=[f"paper/figures/{layout.figure(claim)}.svg" for claim in STUDY.cases],
        scaling=list(rules.scaling.output) if CURVES else [],
        quantities=expand(rules.analyse.output.quantities, claim=STUDY.cases),
        source=sorted(map(str, Path("paper").rglob("*.typ"))),
        bibliography="ntkbench/references.bib",
        code=sorted({path for claim in STUDY.cases for path in code("paper", "claim")({"claim": claim})}),
    output:
        pdf=report(
            "paper/main.pdf",
            category="Paper",
            subcategory=STUDY_TITLE,
            labels={"document": "The paper, as PDF"},
            caption="../report/paper.rst",
        ),
        numbers=[f"paper/generated/{name}.json" for name in ("study", "claims", "example", "scaling")],
        bibliography="paper/generated/references.bib",
    resources:
        **LIGHT,
    params:
        cells=[STUDY.cell(claim, case) for claim, cases in STUDY.cases.items() for case in cases],
    script:
        "../scripts/paper.py"
