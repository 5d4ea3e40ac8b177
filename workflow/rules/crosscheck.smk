rule crosscheck:
    """The backends against each other, element by element; a disagreement fails the run."""
    input:
        inputs=rules.inputs.output,
        measurements=per_backend(rules.measure.output[0]),
        code=code("crosscheck", "claim"),
    output:
        f"{RESULTS}/crosscheck/{{claim}}/{{case}}.csv",
    params:
        cell=cell,
        backends=list(STUDY.backends),
    script:
        "../scripts/crosscheck.py"
