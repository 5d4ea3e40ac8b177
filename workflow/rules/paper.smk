rule paper:
    """The numbers, and the paper that is made of them."""
    input:
        tables=rules.collect.output,
        figures=[f"paper/figures/{claim.replace('/', '-')}.svg" for claim in STUDY.cases],
        quantities=expand(rules.analyse.output.quantities, claim=STUDY.cases),
        source=["paper/main.typ", "paper/references.bib"],
        code=code("paper"),
    output:
        report("paper/main.pdf", category="Paper", caption="../report/paper.rst"),
    params:
        study=STUDY.name,
    script:
        "../scripts/paper.py"
