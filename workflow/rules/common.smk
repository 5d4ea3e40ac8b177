"""What the rules share: the cells of the study, and the code that each stage runs."""

from ntkbench import layout
from ntkbench.performance import planning
from ntkbench.stages import session


wildcard_constraints:
    claim="[a-z_]+/[a-z0-9_]+",
    family="[a-z_]+",
    name="[a-z0-9_]+",
    backend="|".join(STUDY.backends),


# One file per case, whichever job makes it.
INPUTS = str(layout.inputs(Path(RESULTS), "{claim}", "{case}"))
MEASURED = str(layout.measurement(Path(RESULTS), "{claim}", "{case}", "{backend}"))
CROSSCHECKED = str(layout.crosscheck(Path(RESULTS), "{claim}", "{case}"))
# Snakemake takes no function for outputs: each batch of cases that share a process has rules of its own.
BATCHES = [(claim, number, cases) for claim, batches in STUDY.batches.items() for number, cases in enumerate(batches, start=1)]
# Records that a failed job could not renew Snakemake puts back, younger than the code that failed, and would take them for results.
# An empty mark is gone before a job starts and comes when it has succeeded; a study is done when all are there. It has the name
# of the batch's first case and not its number, which a new case before it would change.
PREPARED, DONE = (str(Path(pattern).with_suffix(".done")) for pattern in (INPUTS, MEASURED))
MARKS = [
    pattern.format(claim=claim, case=cases[0])
    for claim, _, cases in BATCHES
    for pattern in (PREPARED, *(DONE.replace("{backend}", backend) for backend in STUDY.backends))
]
PRIORITIES = planning.priorities(STUDY)
MEMORY = planning.host_memory(STUDY)
BUDGET_MIB = STUDY.memory_bytes // 2**20
# Minutes and memory that a cluster is asked for; a run on one machine asks for neither.
LIGHT = {"runtime": 20, "mem_mib": 2048}
# Heads the results of each category of the report.
STUDY_TITLE = f"Study {STUDY.name}"
CURVES = STUDY.performance.curves if STUDY.performance else ()
# The machine that starts a run speaks for its own jobs, not for a cluster's nodes.
GPU_HERE = workflow.is_main_process and STUDY.device == "auto" and studies.gpu_present()


def gpus(wildcards):
    """Of a job that measures. Where the study says `auto`, jobs on a cluster have none."""
    return int(STUDY.device == "cuda" or (GPU_HERE and workflow.local_exec))


def together(name):
    """The group that a rule is of on a cluster; a dry run on one machine would show groups that there are not."""
    return lambda wildcards: None if workflow.local_exec else name


def more_each_time(mebibytes):
    """A job that was killed for its memory is tried again with half as much more."""
    return lambda wildcards, attempt: mebibytes * (1 + attempt) // 2


def start_alone():
    """Refuses a device that is not there, read-only folders, a second run here; the rest of the machine is for the jobs."""
    try:
        if workflow.local_exec:
            studies.check_device(STUDY)
        session.check_writable(Path(RESULTS).parent, Path(RESULTS), Path("paper"))
        session.lock(Path(RESULTS).parent)
        if not workflow.local_exec:
            session.check_orphans(Path.cwd())
        session.await_jobs(Path(RESULTS).parent)
        session.sweep(Path(RESULTS), Path("paper"))
    except (studies.ConfigError, session.NotWritable, session.AlreadyRunning) as error:
        sys.exit(f"ntkbench: {error}")
    session.note_interruptions()
    # Under its limit of jobs per second Snakemake looks for work once more each second for every job that is done: by the end
    # of a study that takes a core, beside the timings. Without, it looks when a job is done; clusters keep the limit.
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


def of_batch(stage, claim, number):
    """The name of the rule that runs a stage for one batch of cases."""
    return f"{stage}_{claim.replace('/', '_')}_{number}"


def cells(wildcards):
    """All cases of a claim, as plain values: a job runs again when any of them changes."""
    return [STUDY.cell(wildcards.claim, case) for case in STUDY.cases[wildcards.claim]]


def code(stage, *axes, **known):
    """An input function: the files that `stage` runs, for the wildcards named in `axes` and what is known beforehand."""
    return lambda wildcards: [
        os.path.relpath(file) for file in stage_code(stage, **known, **{axis: wildcards[axis] for axis in axes})
    ]


def of_claim(pattern):
    """An input function: `pattern` for each case of the claim."""
    return lambda wildcards: expand(pattern, claim=wildcards.claim, case=STUDY.cases[wildcards.claim])


def everywhere(pattern):
    """`pattern` for each case of each claim."""
    return [path for claim, cases in STUDY.cases.items() for path in expand(pattern, claim=claim, case=cases)]


def per_backend(pattern):
    """`pattern` for each backend; the other wildcards stay."""
    return [pattern.replace("{backend}", backend) for backend in STUDY.backends]
