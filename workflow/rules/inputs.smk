rule inputs:
    """The data of a case, drawn once for all seeds and both backends."""
    input:
        code=code("inputs", "claim"),
        data=[os.path.relpath(file) for file in provenance.data_files()],
    output:
        f"{RESULTS}/inputs/{{claim}}/{{case}}.npz",
    params:
        cell=cell,
    script:
        "../scripts/inputs.py"
