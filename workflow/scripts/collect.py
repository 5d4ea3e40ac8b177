from pathlib import Path

from ntkbench.stages.session import job

with job(snakemake.threads, snakemake.output[0]):
    from ntkbench.stages.collect import collect

    collect(
        snakemake.params.study,
        [Path(path) for path in snakemake.input.judgements],
        [Path(path) for path in snakemake.input.crosscheck],
        [Path(path) for path in snakemake.input.measurements],
        *map(Path, snakemake.output),
    )
