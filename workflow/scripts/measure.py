from pathlib import Path

from ntkbench.stages.session import job

with job(snakemake.threads):
    from ntkbench.stages.cell import Cell
    from ntkbench.stages.measure import measure

    measure(
        Cell.make(**snakemake.params.cell),
        snakemake.wildcards.backend,
        snakemake.threads,
        snakemake.resources.mem_mib * 2**20,
        Path(snakemake.input.inputs[0]),
        Path(snakemake.output[0]),
    )
