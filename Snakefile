"""From a study's configuration to its verdicts, figures and paper. `snakemake --cores all --config study=smoke`."""

import os
import sys
from pathlib import Path

# Jobs run this checkout's package, whichever one is installed.
sys.path.insert(0, workflow.basedir)
os.environ["PYTHONPATH"] = os.pathsep.join([workflow.basedir, *filter(None, [os.environ.get("PYTHONPATH")])])

from ntkbench import provenance, config as studies
from ntkbench.stages.dependencies import stage_code

try:
    STUDY = studies.from_options(Path("workflow/config"), config)
except studies.ConfigError as error:
    sys.exit(f"ntkbench: {error}")  # a WorkflowError would point at this line
RESULTS = f"results/{STUDY.name}"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/crosscheck.smk"
include: "workflow/rules/analyse.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/performance.smk"
include: "workflow/rules/paper.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        rules.collect.input.measurements,
        rules.collect.input.crosscheck,
        MARKS,
        rules.collect.output,
        rules.paper.output,


onstart:
    start_alone()


onsuccess:
    if config.get("summary", True):
        # Here and not above: a run reads this file at its start, and so does every job of a cluster.
        from ntkbench.cli.findings import verdicts

        verdicts(Path(RESULTS))


onerror:
    print(session.farewell(Path(RESULTS)), file=sys.stderr)
