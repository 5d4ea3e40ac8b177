from pathlib import Path

from ntkbench.stages.session import job

with job(snakemake.threads):
    from ntkbench.report.paper import build

    build(Path(snakemake.input.tables[0]).parent, Path(snakemake.output[0]))
