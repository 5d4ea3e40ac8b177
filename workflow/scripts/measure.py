from pathlib import Path

from ntkbench.stages.session import job

with job(snakemake.threads, snakemake.output[0], gpus=snakemake.resources.gpu):
    from ntkbench.stages.cell import Cell
    from ntkbench.stages.measure import measure

    measure(
        [Cell.make(**cell) for cell in snakemake.params.cells],
        snakemake.wildcards.backend,
        snakemake.threads,
        snakemake.resources.budget_mib * 2**20,
        [Path(path) for path in snakemake.input.inputs],
        [Path(path) for path in snakemake.output.records],
    )
