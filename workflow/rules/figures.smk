rule figure:
    """One figure per claim, both backends in it."""
    input:
        quantities=f"{RESULTS}/quantities/{{family}}/{{name}}.csv",
        verdicts=f"{RESULTS}/judgements/{{family}}/{{name}}.csv",
        code=lambda wildcards: code("figures", "claim")({"claim": f"{wildcards.family}/{wildcards.name}"}),
    output:
        svg=report(
            "paper/figures/{family}-{name}.svg",
            category="Figures",
            labels={"claim": "{family}/{name}"},
            caption="../report/figure.rst",
        ),
        png="paper/figures/{family}-{name}.png",
    params:
        claim="{family}/{name}",
        cells=lambda wildcards: [
            STUDY.cell(f"{wildcards.family}/{wildcards.name}", case)
            for case in STUDY.cases[f"{wildcards.family}/{wildcards.name}"]
        ],
    script:
        "../scripts/figure.py"
