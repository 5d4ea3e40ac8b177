from pathlib import Path

from ntkbench.stages.session import job

with job(snakemake.threads):
    from ntkbench import claims, figures, records
    from ntkbench.stages.cell import Cell, by_claim

    cells = [Cell.make(**cell) for cell in snakemake.params.cells]
    figures.draw_claim(
        claims.get(snakemake.params.claim),
        records.read_table(Path(snakemake.input.quantities), "quantities"),
        records.read_table(Path(snakemake.input.verdicts), "verdicts"),
        Path(snakemake.output.svg).with_suffix(""),
        cases=by_claim(cells)[snakemake.params.claim],
    )
