from pathlib import Path

from ntkbench.stages.session import job

with job(snakemake.threads, snakemake.output[0]):
    from ntkbench import lineage
    from ntkbench.report.paper import build
    from ntkbench.stages.cell import Cell, by_claim

    known = {}
    for name in ("tables", "figures", "scaling", "quantities"):
        for path in getattr(snakemake.input, name):
            lineage.check(Path(path), known)
    cells = [Cell.make(**cell) for cell in snakemake.params.cells]
    study, timed = Path(snakemake.input.tables[0]).parent, len(snakemake.input.scaling) > 0
    build(study, Path(snakemake.output.pdf), cases=by_claim(cells), timed=timed)
