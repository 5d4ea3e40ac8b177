from pathlib import Path

from ntkbench.stages.session import job

with job(snakemake.threads, snakemake.output[0]):
    from ntkbench.stages.analyse import analyse
    from ntkbench.stages.cell import Cell

    paths = [Path(path) for path in snakemake.input.measurements]
    count = len(snakemake.params.cells)
    backends = snakemake.params.backends
    analyse(
        [Cell.make(**cell) for cell in snakemake.params.cells],
        [Path(path) for path in snakemake.input.inputs],
        {backend: paths[k * count : (k + 1) * count] for k, backend in enumerate(backends)},
        [Path(path) for path in snakemake.input.crosscheck],
        Path(snakemake.output.quantities),
        Path(snakemake.output.judgements),
    )
