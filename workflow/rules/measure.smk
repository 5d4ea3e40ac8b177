rule measure:
    """Every width and seed of a case in one backend: one process, one framework, compiled once."""
    input:
        inputs=rules.inputs.output,
        code=code("measure", "claim", "backend"),
    output:
        f"{RESULTS}/measurements/{{claim}}/{{case}}/{{backend}}.npz",
    threads: STUDY.threads
    resources:
        gpu=int(ON_GPU),
        mem_mib=STUDY.memory_bytes // 2**20,
    params:
        cell=cell,
    script:
        "../scripts/measure.py"
