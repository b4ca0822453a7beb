# The one set of commands, the same for a person and for CI. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python

# One thread per process: the tiny models gain nothing from more, sums come out the same on any number of cores, and the
# processes of a Ray cluster do not fight for two of them.
export OMP_NUM_THREADS ?= 1
export RAY_AUTH_MODE := token
export RAY_USAGE_STATS_ENABLED ?= 0
export MLFLOW_DISABLE_TELEMETRY ?= true

# Tests that cannot run under the shape checker: it breaks torch.compile and does not reach into Ray's processes.
UNCHECKED := ray or compile or distributed
SHAPES := --jaxtyping-packages=bfs_model,beartype.beartype
PYTEST := $(RUN) -m pytest
# Extra arguments for pytest, for example: make test ARGS="-k sharing -x"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-slow test-quantised check format bench soak lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: ## create .venv and install the locked dependencies; does nothing the second time
	@$(PYTHON) infra/setup.py

demo: setup ## the whole of it, small: render, build, train, evaluate, promote, serve, generate
	@PATH="$(CURDIR)/$(BIN):$$PATH" exec $(RUN) -m bfs_platform.demo

test: setup ## all tests, in two passes
	@$(MAKE) --no-print-directory test-fast
	@$(MAKE) --no-print-directory test-slow

test-fast: setup ## first pass: unit tests, shapes in signatures checked at every call of bfs_model
	$(PYTEST) $(SHAPES) -m "not ($(UNCHECKED) or soak or bench)" $(ARGS)

test-slow: setup ## second pass: Ray, torch.compile and multi-process tests, without the shape checker
	$(PYTEST) -m "($(UNCHECKED)) and not soak and not bench" $(ARGS)

test-quantised: setup ## int8 and fp8 weights, with torchao beside the locked environment: once there, it greets at every start
	@[ -d build/torchao ] || $(BIN)/pip install --quiet --no-deps --target build/torchao torchao==0.18.0
	PYTHONPATH=build/torchao $(PYTEST) tests/bfs_model/test_memory.py $(ARGS)

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

soak: setup ## tests that take many minutes
	$(PYTEST) -m soak $(ARGS)

lock: ## resolve all dependencies anew and rewrite requirements.lock
	@$(PYTHON) infra/lock.py

clean: ## remove what was built or cached, also .venv
	rm -rf .venv build dist *.egg-info .bfs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
