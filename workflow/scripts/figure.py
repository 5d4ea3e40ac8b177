from pathlib import Path

from ntkbench.stages.session import job

with job(snakemake.threads, snakemake.output[0]):
    from ntkbench import claims, figures, lineage, tables
    from ntkbench.stages.cell import Cell, by_claim

    claim = claims.get(snakemake.params.claim)
    sources = [Path(snakemake.input.quantities), Path(snakemake.input.verdicts)]
    known = {}
    checked = [lineage.check(path, known) for path in sources]
    quantities, verdicts = map(tables.read_table, checked, ("quantities", "verdicts"))
    cases = by_claim(Cell.make(**cell) for cell in snakemake.params.cells)[claim.id]
    figures.draw_claim(claim, quantities, verdicts, Path(snakemake.output.svg).with_suffix(""), cases=cases)
    for output in snakemake.output:
        lineage.note(Path(output), "figures", sources, claim.id)
