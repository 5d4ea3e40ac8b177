from pathlib import Path

from ntkbench.stages.session import job

with job(snakemake.params.settings["threads"], snakemake.output[0], gpus=snakemake.resources.gpu):
    from ntkbench.performance.workloads import Curve
    from ntkbench.stages.performance import performance

    performance(
        [Curve.make(**curve) for curve in snakemake.params.curves],
        snakemake.wildcards.backend,
        snakemake.params.rounds,
        Path(snakemake.output[0]),
        memory_bytes=snakemake.resources.budget_mib * 2**20,
        **snakemake.params.settings,
    )
