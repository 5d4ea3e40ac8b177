rule analyse:
    """Rates, intervals, controls and verdicts of a claim."""
    input:
        inputs=of_claim(INPUTS),
        measurements=lambda wildcards: [path for pattern in per_backend(MEASURED) for path in of_claim(pattern)(wildcards)],
        crosscheck=of_claim(CROSSCHECKED),
        code=code("analyse", "claim"),
    output:
        quantities=f"{RESULTS}/quantities/{{claim}}.csv",
        judgements=f"{RESULTS}/judgements/{{claim}}.csv",
    group:
        together("claims")
    resources:
        **LIGHT,
    params:
        cells=cells,
        backends=list(STUDY.backends),
    script:
        "../scripts/analyse.py"


rule collect:
    """The tables of the whole study, and where it ran."""
    input:
        judgements=expand(rules.analyse.output.judgements, claim=STUDY.cases),
        crosscheck=everywhere(CROSSCHECKED),
        measurements=[path for pattern in per_backend(MEASURED) for path in everywhere(pattern)],
        code=code("collect"),
    output:
        verdicts=report(
            f"{RESULTS}/verdicts.csv",
            category="Verdicts",
            subcategory=STUDY_TITLE,
            labels={"table": "Every expectation, case and backend"},
            caption="../report/verdicts.rst",
        ),
        crosscheck=report(
            f"{RESULTS}/crosscheck.csv",
            category="Cross-check",
            subcategory=STUDY_TITLE,
            labels={"table": "torch against jax, every observable"},
            caption="../report/crosscheck.rst",
        ),
        environment=f"{RESULTS}/environment.json",
    resources:
        **LIGHT,
    params:
        study=STUDY.name,
    script:
        "../scripts/collect.py"
