from pathlib import Path

from ntkbench.stages.session import job

with job(snakemake.threads, snakemake.output[0]):
    from ntkbench.stages.cell import Cell
    from ntkbench.stages.prepare import prepare

    prepare([Cell.make(**cell) for cell in snakemake.params.cells], [Path(path) for path in snakemake.output.records])
