for claim, number, cases in BATCHES:

    rule:
        """The backends against each other, element by element; a disagreement fails the run."""
        name:
            of_batch("crosscheck", claim, number)
        input:
            inputs=expand(INPUTS, claim=claim, case=cases),
            measurements=[path for pattern in per_backend(MEASURED) for path in expand(pattern, claim=claim, case=cases)],
            done=[pattern.format(claim=claim, case=cases[0]) for pattern in per_backend(DONE)],
            code=code("crosscheck", claim=claim),
        output:
            expand(CROSSCHECKED, claim=claim, case=cases),
        group:
            together("claims")
        resources:
            **LIGHT,
        params:
            cells=[STUDY.cell(claim, case) for case in cases],
            backends=list(STUDY.backends),
        script:
            "../scripts/crosscheck.py"
