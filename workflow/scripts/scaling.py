from pathlib import Path

from ntkbench.stages.session import job

with job(snakemake.threads, snakemake.output[0]):
    from ntkbench.stages.scaling import scaling

    scaling(
        [Path(path) for path in snakemake.input.parts],
        Path(snakemake.output.performance),
        Path(snakemake.output.exponents),
        Path(snakemake.output.svg).with_suffix(""),
    )
