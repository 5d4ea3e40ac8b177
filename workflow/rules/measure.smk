for claim, number, cases in BATCHES:

    rule:
        """Every width and seed of some cases in one backend: one process, one framework, compiled once."""
        name:
            of_batch("measure", claim, number)
        input:
            inputs=expand(INPUTS, claim=claim, case=cases),
            prepared=PREPARED.format(claim=claim, case=cases[0]),
            code=code("measure", "backend", claim=claim),
        # A record that still holds is kept: a changed case is measured alone.
        output:
            records=update([MEASURED.format(claim=claim, case=case, backend="{backend}") for case in cases]),
            done=touch(DONE.format(claim=claim, case=cases[0], backend="{backend}")),
        priority: PRIORITIES[claim, cases]
        group:
            together("measurements")
        threads: STUDY.threads
        resources:
            gpu=gpus,
            budget_mib=BUDGET_MIB,
            mem_mib=more_each_time(MEMORY[claim, cases] // 2**20),
        params:
            cells=[STUDY.cell(claim, case) for case in cases],
        script:
            "../scripts/measure.py"
