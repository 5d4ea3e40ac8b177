for claim, number, cases in BATCHES:

    rule:
        """The data of each case, drawn once for all seeds and both backends."""
        name:
            of_batch("inputs", claim, number)
        input:
            code=code("inputs", claim=claim),
            data=[os.path.relpath(file) for file in provenance.data_files()],
        output:
            records=update(expand(INPUTS, claim=claim, case=cases)),
            done=touch(PREPARED.format(claim=claim, case=cases[0])),
        # All measurements are to be ready when the longest of them is chosen.
        priority: 1 + max(PRIORITIES.values())
        group:
            together("inputs")
        resources:
            **LIGHT,
        params:
            cells=[STUDY.cell(claim, case) for case in cases],
        script:
            "../scripts/inputs.py"
