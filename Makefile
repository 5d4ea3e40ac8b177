# `make help` lists the targets.
STUDY ?= default
CORES ?= all
PYTHON ?= python3
VENV ?= .venv
# cuda where an NVIDIA GPU answers, else cpu: it chooses the lock and the build of torch.
ACCELERATOR ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
TORCH ?= 2.13.0
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

SHELL := /bin/sh
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(ACCELERATOR)
SCRATCH := build/smoke
KILLS ?= 50
# Benchmarks: the sizes (usual or large), QUICK=1 without peers and memory, where a run is stored, what is compared, threads.
SIZE ?= usual
QUICK ?= 0
RUN_FILE ?= .benchmarks/$(SIZE)-$(shell date +%Y%m%d-%H%M%S).json
RUN_FILE := $(RUN_FILE)
BASE ?= results/reference/benchmark.json
NEW ?= $(shell ls -t .benchmarks/$(SIZE)-*.json 2>/dev/null | head -n 1)
THREADS ?= 1
TIMED = OMP_NUM_THREADS=$(THREADS) OPENBLAS_NUM_THREADS=$(THREADS) PJRT_NPROC=$(THREADS) \
        NTKBENCH_BENCHMARK_THREADS=$(THREADS) NTKBENCH_BENCHMARK_SIZE=$(SIZE) NTKBENCH_BENCHMARK_QUICK=$(QUICK)
PEERS_PYTHON ?= python3.11
SIZE_cpu := about 2 GB into $(VENV), one to three minutes
SIZE_cuda := several GB into $(VENV), a few minutes
# Snakemake reads True and False; "false" would be a text.
RUN := $(BIN)/python -m snakemake --cores $(CORES) --config study=$(STUDY) summary=False
# A constraint or a --user set for the whole machine would contradict the lock.
PIP := PIP_CONSTRAINT=/dev/null PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip
COMPILE := build/uv/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-emit-package torch --no-annotate --quiet --custom-compile-command 'make lock'

export PYTHONNOUSERSITE := 1

# A misspelt variable would be no error to make, and its job another one than was meant.
KNOWN := STUDY CORES PYTHON VENV ACCELERATOR TORCH TORCH_CPU_INDEX KILLS SIZE QUICK RUN_FILE BASE NEW THREADS PEERS_PYTHON
UNKNOWN := $(filter-out $(KNOWN),$(foreach given,$(MAKEOVERRIDES),$(if $(findstring =,$(given)),$(firstword $(subst =, ,$(given))))))
$(if $(UNKNOWN),$(error there is no variable $(UNKNOWN): give one of $(KNOWN)))

.PHONY: help environment reproduce report plan test lint dry-run smoke faults slurm-check test-matrix matrix canary test-gpu benchmark benchmark-compare benchmark-rule benchmark-peers lock audit crate numbers schema clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile
	@echo "  variables: STUDY=$(STUDY) CORES=$(CORES) PYTHON=$(PYTHON) VENV=$(VENV) ACCELERATOR=$(ACCELERATOR)"

environment: $(STAMP) ## an isolated environment in .venv, from the pinned lock

$(STAMP): requirements/$(ACCELERATOR).txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing $(SIZE_$(ACCELERATOR))"
	@$(PYTHON) -m venv $(VENV)
	@echo "  the packages of $<"
	@$(PIP) install -qq --require-hashes --no-deps -r requirements/$(ACCELERATOR).txt
	@echo "  torch $(TORCH)"
	@$(MAKE) --no-print-directory torch-$(ACCELERATOR)
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@$(PIP) check
	@rm -f $(VENV)/.installed-*
	@touch $@
	@echo "Installed. For ntkbench and snakemake in your shell: . $(VENV)/bin/activate"

# torch stands apart from the lock, since its hash differs per build. --no-deps: the rest is in the lock.
.PHONY: torch-cpu torch-cuda
torch-cpu:
	@$(PIP) install --quiet --no-deps 'torch==$(TORCH)+cpu' 2>/dev/null || \
	$(PIP) install --quiet --no-deps --index-url $(TORCH_CPU_INDEX) 'torch==$(TORCH)+cpu' 2>/dev/null || \
	$(PIP) install --quiet 'torch==$(TORCH)'

torch-cuda:
	@$(PIP) install --quiet --no-deps 'torch==$(TORCH)'

reproduce: $(STAMP) ## every number, figure and the PDF of STUDY; prints the verdicts
	$(RUN)
	@$(BIN)/ntkbench verdicts results/$(STUDY)
	@if [ "$(STUDY)" = default ] && [ -f results/reference/verdicts.csv ]; then \
		$(BIN)/ntkbench compare results/$(STUDY) results/reference; \
		[ $$? -ne 1 ] || echo "This run differs from the published one."; fi

plan: $(STAMP) ## what a run of STUDY would still do, job by job
	@$(BIN)/python -m snakemake --dry-run --quiet host --config study=$(STUDY)

report: $(STAMP) ## the HTML report of STUDY, in results/<study>/report.html; runs the study where it has not
	$(RUN)
	$(RUN) --report results/$(STUDY)/report.html

test: $(STAMP) lint build/citation/.installed build/crate-validator/.installed ## everything that CI checks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
	$(MAKE) --no-print-directory dry-run smoke

lint: $(STAMP) ## style, types, format of the workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow/rules

dry-run: $(STAMP) ## plan every study from nothing
	rm -rf build/dry-run
	$(BIN)/python tests/scratch.py build/dry-run
	@cd build/dry-run && for file in workflow/config/*.yaml; do study=$$(basename $$file .yaml); \
		echo "dry run of $$study"; \
		$(abspath $(BIN))/python -m snakemake --cores 2 --dry-run --quiet all --config study=$$study || exit 1; done

smoke: $(STAMP) ## the smoke study end to end, in a copy, so that nobody's results are touched
	rm -rf $(SCRATCH)
	$(BIN)/python tests/scratch.py $(SCRATCH)
	cd $(SCRATCH) && $(abspath $(BIN))/python -m snakemake --cores 2 --config study=smoke
	test -s $(SCRATCH)/paper/main.pdf

test-matrix: $(STAMP) ## the core tests in every supported combination of Python, torch and jax; docs/environments.md
	$(BIN)/python -m tests.environments.matrix build/environments

matrix: $(STAMP) ## one small study under other versions, threads and orders, compared; docs/reproduction.md
	$(BIN)/python -m tests.matrix build/matrix

canary: $(STAMP) ## store results for a raised RESULTS_VERSION; docs/versioning.md
	$(BIN)/python -m tests.canary

test-gpu: $(STAMP) ## every check of an NVIDIA GPU, in eight minutes; docs/gpu.md
	$(BIN)/python -m tests.gpu

slurm-check: $(STAMP) ## the smoke study on a Slurm cluster of one node (root, apt), killed and resumed, against a run without
	@$(BIN)/python -m tests.slurm.check --local $(SCRATCH) || [ $$? -eq 77 ]

faults: $(STAMP) ## the smoke study killed KILLS times at random moments, against a run that nobody disturbs
	rm -rf build/faults
	$(BIN)/python -m tests.faults.kills build/faults --study smoke --kills $(KILLS)

benchmark: $(STAMP) ## speed, alone on the machine: ratios to peers and to the roofline, stored in RUN_FILE
	@mkdir -p $(dir $(RUN_FILE))
	@$(TIMED) $(BIN)/python -m pytest -m "performance and not slow" --benchmark-enable --benchmark-quiet \
		--benchmark-json=$(RUN_FILE) -p no:xdist -p no:cacheprovider -q tests/performance; failed=$$?; \
		$(BIN)/python -m tests.performance.ratios $(RUN_FILE) && exit $$failed

benchmark-compare: $(STAMP) ## what became slower: BASE=stored run, NEW=another (the newest run of make benchmark)
	@$(BIN)/python -m tests.performance.compare $(BASE) $(NEW)

benchmark-rule: $(STAMP) ## that the rule of benchmark-compare holds on this machine: equal runs, and a planted slowdown
	$(TIMED) $(BIN)/python -m pytest -s -q -m "performance and slow" -p no:xdist -p no:cacheprovider tests/performance

benchmark-peers: $(STAMP) build/peers/.installed ## against neural-tangents, in an environment of its own
	$(TIMED) $(BIN)/python -m tests.performance.neural_tangents

# neural-tangents needs a jax that the suite cannot use, and a Python that this jax knows.
build/peers/.installed: requirements/peers.txt
	@$(PEERS_PYTHON) -m venv build/peers
	@PIP_CONSTRAINT=/dev/null PIP_USER=0 build/peers/bin/python -m pip install --quiet --no-deps -r requirements/peers.txt
	@touch $@

# A folder of its own: what the package depends on contradicts the lock, and only its schema is read.
build/citation/.installed: requirements/citation.txt $(STAMP)
	@$(PIP) install --quiet --no-deps --require-hashes --target build/citation -r requirements/citation.txt
	@touch $@

lock: $(STAMP) ## resolve requirements/*.txt and environment.yml anew
	$(PIP) install --quiet --upgrade --target build/uv uv
	$(COMPILE) --extra dev --excludes requirements/cpu-excludes.txt --output-file requirements/cpu.txt
	$(COMPILE) --extra dev --extra cuda --output-file requirements/cuda.txt
	$(BIN)/python tests/pins.py > environment.yml

crate: $(STAMP) ## STUDY as a Workflow Run RO-Crate in build/crate/<study>, validated
	rm -rf build/crate/$(STUDY)
	$(BIN)/ntkbench crate results/$(STUDY) --output build/crate/$(STUDY)
	@$(MAKE) --no-print-directory build/crate-validator/.installed
	build/crate-validator/bin/python tests/validate_crate.py build/crate/$(STUDY)

# A venv of its own: the validator's many packages have no place in ours.
build/crate-validator/.installed: requirements/crate.txt
	@$(PYTHON) -m venv build/crate-validator
	@PIP_CONSTRAINT=/dev/null PIP_USER=0 build/crate-validator/bin/python -m pip install --quiet --no-deps -r requirements/crate.txt
	@touch $@

numbers: $(STAMP) ## renew the measured numbers in the READMEs from the tables that they name
	$(BIN)/python -m tests.typed_numbers --write

audit: $(STAMP) ## known vulnerabilities of the locked packages, by pip-audit; fails where its service gives no answer
	@test -x build/audit/bin/pip-audit || { $(BIN)/python -m venv build/audit && \
		PIP_CONSTRAINT=/dev/null PIP_USER=0 build/audit/bin/python -m pip install --quiet pip-audit; }
	@echo 'torch==$(TORCH)' > build/audit/torch.txt
	@$(BIN)/python -m tests.audit build/audit/bin/pip-audit requirements/$(ACCELERATOR).txt build/audit/torch.txt

schema: $(STAMP) ## write workflow/schemas/study.schema.json
	$(BIN)/ntkbench schema > workflow/schemas/study.schema.json

clean: ## remove what runs and tests have made (results/reference and .venv stay)
	rm -rf build .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks *.egg-info
	rm -rf paper/main.pdf paper/figures paper/generated
	find results -mindepth 1 -maxdepth 1 ! -name reference -exec rm -rf {} + 2>/dev/null || true
	find . -name __pycache__ -not -path './.venv/*' -exec rm -rf {} +
