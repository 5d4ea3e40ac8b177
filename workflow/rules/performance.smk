rule performance:
    """Seconds and memory against size, one backend: after every measurement, with all cores to itself."""
    input:
        after=rules.collect.input.measurements,
        code=code("performance", "backend"),
    output:
        f"{RESULTS}/performance/{{backend}}.csv",
    # After everything else that is ready: new verdicts on old measurements need no new timings, and do not wait for them.
    priority: -1
    threads: workflow.cores
    resources:
        gpu=gpus,
        budget_mib=BUDGET_MIB,
        mem_mib=more_each_time(max(MEMORY.values()) // 2**20),
    params:
        curves=[curve.as_dict() for curve in CURVES],
        rounds=STUDY.performance.rounds if STUDY.performance else 0,
        settings={"device": STUDY.device, "precision": STUDY.precision, "threads": STUDY.threads},
    script:
        "../scripts/performance.py"


rule scaling:
    """The timings of both backends, the exponents fitted to them, and their figure."""
    input:
        parts=per_backend(rules.performance.output[0]),
        code=code("scaling"),
    output:
        performance=report(
            f"{RESULTS}/performance.csv",
            category="Performance",
            subcategory=STUDY_TITLE,
            labels={"table": "Seconds and memory, every size"},
            caption="../report/performance.rst",
        ),
        exponents=report(
            f"{RESULTS}/scaling.csv",
            category="Performance",
            subcategory=STUDY_TITLE,
            labels={"table": "Exponents, counted, measured and of theory"},
            caption="../report/scaling.rst",
        ),
        svg=report(
            "paper/figures/scaling.svg",
            category="Performance",
            subcategory=STUDY_TITLE,
            labels={"table": "Seconds and memory against size"},
            caption="../report/scaling.rst",
        ),
        png="paper/figures/scaling.png",
    resources:
        **LIGHT,
    script:
        "../scripts/scaling.py"
