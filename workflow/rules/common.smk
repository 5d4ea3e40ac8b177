"""What the rules share: the cells of the study, and the code that each stage runs."""


wildcard_constraints:
    claim="[a-z_]+/[a-z0-9_]+",
    family="[a-z_]+",
    name="[a-z0-9_]+",
    case=r"[a-z0-9][a-z0-9_.-]*",
    backend="|".join(STUDY.backends),


# Heads the results of each category of the report.
STUDY_TITLE = f"Study {STUDY.name}"
CURVES = STUDY.performance.curves if STUDY.performance else ()
ON_GPU = STUDY.device == "cuda" or (STUDY.device == "auto" and studies.gpu_present())


def cell(wildcards):
    """One case, as plain values: a job runs again when any of them changes."""
    return STUDY.cell(wildcards.claim, wildcards.case)


def cells(wildcards):
    """All cases of a claim."""
    return [STUDY.cell(wildcards.claim, case) for case in STUDY.cases[wildcards.claim]]


def code(stage, *axes):
    """An input function: the files that `stage` runs, for the wildcards named in `axes`."""
    return lambda wildcards: [os.path.relpath(file) for file in stage_code(stage, **{axis: wildcards[axis] for axis in axes})]


def of_claim(pattern):
    """An input function: `pattern` for each case of the claim."""
    return lambda wildcards: expand(pattern, claim=wildcards.claim, case=STUDY.cases[wildcards.claim])


def everywhere(pattern):
    """`pattern` for each case of each claim."""
    return [path for claim, cases in STUDY.cases.items() for path in expand(pattern, claim=claim, case=cases)]


def per_backend(pattern):
    """`pattern` for each backend; the other wildcards stay."""
    return [pattern.replace("{backend}", backend) for backend in STUDY.backends]
