# The one set of commands, the same for a person and for CI. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python

# One thread per process: the tiny models gain nothing from more, sums come out the same on any number of cores, and the
# processes of a Ray cluster do not fight for two of them.
export OMP_NUM_THREADS ?= 1
export MLFLOW_DISABLE_TELEMETRY ?= true

# Tests that cannot run under the shape checker: it breaks torch.compile and does not reach into Ray's processes.
UNCHECKED := ray or compile or distributed
SHAPES := --jaxtyping-packages=bfs_model,beartype.beartype
PYTEST := $(RUN) -m pytest
# Extra arguments for pytest or the demo, for example: make test ARGS="-k sharing -x", make demo ARGS="--scenes 16"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test test-fast test-slow test-portable test-quantised check format bench bench-gpu soak plugins lock tools audit clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: ## create .venv and install the locked dependencies; does nothing the second time
	@$(PYTHON) infra/setup.py

demo: setup ## the whole of it, small: render, build, train, evaluate, promote, serve, generate
	@PATH="$(CURDIR)/$(BIN):$$PATH" exec $(RUN) -m bfs_platform.demo $(ARGS)

up: setup ## Ray, MLflow, the service and the studio on this machine; heals what died. Data and logs in .bfs/stack
	@$(BIN)/bfs up $(ARGS)

down: setup ## end what `make up` started; data and logs stay
	@$(BIN)/bfs down $(ARGS)

test: setup ## all tests, in two passes
	@$(MAKE) --no-print-directory test-fast
	@$(MAKE) --no-print-directory test-slow

# Processes of the first pass; the second has clusters, whose processes fill the cores by themselves.
SPREAD := -n auto --maxprocesses 4 --dist loadfile

test-fast: setup ## first pass: unit tests, shapes in signatures checked at every call of bfs_model
	$(PYTEST) $(SHAPES) $(SPREAD) -m "not ($(UNCHECKED) or soak or bench)" $(ARGS)

test-slow: setup ## second pass: Ray, torch.compile and multi-process tests, without the shape checker
	$(PYTEST) -m "($(UNCHECKED)) and not soak and not bench" $(ARGS)

# Instruction sets of torch (default, avx2, avx512) and of oneDNN (SSE41, AVX2, AVX512_CORE).
CAPABILITY ?= default
ISA ?= SSE41

test-portable: setup ## all tests, with the instructions of an older processor
	ATEN_CPU_CAPABILITY=$(CAPABILITY) ONEDNN_MAX_CPU_ISA=$(ISA) $(MAKE) --no-print-directory test

test-quantised: setup ## weights and moments in eight and four bits, and Prodigy's authors', with libraries beside the locked environment
	@[ -d build/torchao ] || $(BIN)/pip install --quiet --no-deps --target build/torchao torchao==0.18.0
	@[ -d build/bitsandbytes ] || $(BIN)/pip install --quiet --no-deps --target build/bitsandbytes bitsandbytes==0.50.2
	@[ -d build/prodigyopt ] || $(BIN)/pip install --quiet --no-deps --target build/prodigyopt prodigyopt==1.1.2
	PYTHONPATH=build/torchao:build/bitsandbytes:build/prodigyopt $(PYTEST) tests/bfs_model/weight/test_memory.py \
		tests/bfs_platform/data/model/test_shadow_memory.py tests/bfs_platform/train/test_optimizers.py \
		tests/bfs_platform/train/state/test_prodigy.py $(ARGS)

tools: setup ## programs that check infra/, into build/tools; without them their tests skip
	@[ -x build/tools/bin/pip ] || $(RUN) -m venv build/tools
	@build/tools/bin/pip install --quiet --disable-pip-version-check -r infra/tools.txt

audit: tools ## known weaknesses of the locked versions, by the lists of osv.dev and npm: needs the internet
	$(RUN) infra/security/audit.py $(ARGS)

check: setup ## lint, format, types, floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## measure and print
	$(PYTEST) -m bench -s $(ARGS) tests/bench

bench-gpu: setup ## what an accelerator of 80 GB shows in under ten minutes: steps and training pairs at 512 and 1024 pixels, kernels, caches, compiled blocks, a profile
	$(RUN) tests/bench/accelerator.py --geometry flux-fill-512 --geometry flux-fill-1024 --all --profile build/profile $(ARGS)

soak: setup ## tests that take many minutes
	$(PYTEST) -m soak $(ARGS)

plugins: setup ## pack the plug-ins for Krita and ComfyUI into dist/
	@$(RUN) infra/plugins.py --output dist

lock: ## resolve all dependencies anew and rewrite requirements.lock
	@$(PYTHON) infra/lock.py

clean: ## remove what was built or cached, also .venv
	rm -rf .venv build dist *.egg-info .bfs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
