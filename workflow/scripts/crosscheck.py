from pathlib import Path

from ntkbench.stages.session import job

with job(snakemake.threads, snakemake.output[0]):
    from ntkbench.stages.cell import Cell
    from ntkbench.stages.crosscheck import crosscheck

    paths = [Path(path) for path in snakemake.input.measurements]
    count = len(snakemake.params.cells)
    crosscheck(
        [Cell.make(**cell) for cell in snakemake.params.cells],
        [Path(path) for path in snakemake.input.inputs],
        {backend: paths[k * count : (k + 1) * count] for k, backend in enumerate(snakemake.params.backends)},
        [Path(path) for path in snakemake.output],
    )
