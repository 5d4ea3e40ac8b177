from ntkbench import claims


def claim_of(wildcards):
    """The id of the claim that a figure is of."""
    return f"{wildcards.family}/{wildcards.name}"


rule figure:
    """One figure per claim, both backends in it."""
    input:
        quantities=f"{RESULTS}/quantities/{{family}}/{{name}}.csv",
        verdicts=f"{RESULTS}/judgements/{{family}}/{{name}}.csv",
        code=lambda wildcards: code("figures", "claim")({"claim": claim_of(wildcards)}),
    output:
        svg=report(
            "paper/figures/{family}-{name}.svg",
            category="Figures",
            subcategory=STUDY_TITLE,
            labels=lambda wildcards: {"claim": claims.get(claim_of(wildcards)).title},
            caption="../report/figure.rst",
        ),
        png="paper/figures/{family}-{name}.png",
    group:
        together("claims")
    resources:
        **LIGHT,
    params:
        claim=claim_of,
        title=lambda wildcards: claims.get(claim_of(wildcards)).title,
        statement=lambda wildcards: claims.get(claim_of(wildcards)).statement,
        caption=lambda wildcards: claims.get(claim_of(wildcards)).caption,
        cells=lambda wildcards: [STUDY.cell(claim_of(wildcards), case) for case in STUDY.cases[claim_of(wildcards)]],
    script:
        "../scripts/figure.py"
