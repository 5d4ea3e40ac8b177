from pathlib import Path

from ntkbench.stages.session import job

with job(snakemake.threads):
    from ntkbench.stages.cell import Cell
    from ntkbench.stages.crosscheck import crosscheck

    measurements = dict(zip(snakemake.params.backends, map(Path, snakemake.input.measurements), strict=True))
    crosscheck(Cell.make(**snakemake.params.cell), Path(snakemake.input.inputs[0]), measurements, Path(snakemake.output[0]))
