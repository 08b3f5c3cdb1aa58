# quantumio: everything a newcomer or CI runs. Needs make and Python 3.11+, nothing else.
#
#   make demo                 the main job on a simulated night
#   make demo DATA=directory  the main job on real frames
#   make test                 all tests;  make test ARGS="-k commit"  some of them
#   make check                what CI holds besides the tests: lint, types, layers, documentation

PYTHON ?= python3
VENV   ?= .venv
DATA   ?=
ARGS   ?=
BUGS   ?=

BIN := $(VENV)/bin
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

# pip's settings that would send packages elsewhere than into $(VENV) are switched off; those that say
# where packages come from are kept.
PIP := env -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT -u PIP_NO_DEPS -u PIP_DRY_RUN -u PIP_REQUIRE_HASHES \
       PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1 \
       $(BIN)/python -m pip
INSTALL := $(PIP) install --quiet --constraint constraints.txt --editable

# One stamp for each set of extras: an install runs once, and again when what it depends on changes.
INPUTS := pyproject.toml constraints.txt
STAMP_DEMO  := $(VENV)/.installed-demo
STAMP_TEST  := $(VENV)/.installed-test
STAMP_PEER  := $(VENV)/.installed-peer
STAMP_CHECK := $(VENV)/.installed-check
STAMP_DOCS  := $(VENV)/.installed-docs

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# ------------------------------------------------------------------------------------- environment
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "quantumio needs Python 3.11 or newer; name one: make PYTHON=python3.13 ..." >&2; exit 1; }
	@echo "==> creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

define install
	@echo "==> installing quantumio$(1) into $(VENV) (a minute or two the first time)"
	@$(INSTALL) '.$(1)'
	@touch $@
endef

$(STAMP_DEMO): $(INPUTS) | $(BIN)/python
	$(call install,[demo])

$(STAMP_TEST): $(INPUTS) | $(BIN)/python
	$(call install,[test])
	@touch $(STAMP_DEMO)

$(STAMP_PEER): $(INPUTS) | $(BIN)/python
	$(call install,[test,peer])
	@touch $(STAMP_DEMO) $(STAMP_TEST)

$(STAMP_CHECK): $(INPUTS) | $(BIN)/python
	$(call install,[dev])
	@touch $(STAMP_DEMO) $(STAMP_DOCS) $(STAMP_TEST)

$(STAMP_DOCS): $(INPUTS) | $(BIN)/python
	$(call install,[docs])

.PHONY: venv
venv: $(STAMP_CHECK) ## Make .venv with everything a developer needs

# ------------------------------------------------------------------------------------- the main job
.PHONY: demo
demo: $(STAMP_DEMO) ## Run the main job (DATA=directory: on real frames)
	@$(BIN)/python examples/reduction/run.py $(if $(DATA),--data "$(DATA)")

# ------------------------------------------------------------------------------------- tests
.PHONY: test
test: $(STAMP_TEST) ## Run all tests (ARGS=...: arguments for pytest; ARGS=-n0: in one process)
	@$(BIN)/python -m pytest -n 4 --dist worksteal $(ARGS)

COVERAGE_TESTS := tests/unit/system tests/unit/registry tests/unit/destinations tests/unit/engine \
                  tests/conformance tests/acceptance tests/compat

# It has an audit hook, during which threads change: a thread that begins while another one installs its
# tracer ends at once (Python 3.11), and who waits for it waits for ever.
COVERAGE_WITHOUT := --ignore=tests/acceptance/test_event_loops.py

.PHONY: coverage
coverage: $(STAMP_TEST) ## Hold that quick tests take every branch of what may lose an output
	@$(BIN)/python -m coverage run -m pytest -q $(COVERAGE_TESTS) $(COVERAGE_WITHOUT) $(ARGS)
	@$(BIN)/python -m coverage report

.PHONY: campaign
campaign: $(STAMP_TEST) ## Crashes, power cuts and nights in large numbers; goes on where it ended (HOURS=1: an hour)
	@$(BIN)/python -m tests.campaign $(if $(HOURS),--hours $(HOURS))

.PHONY: planted
planted: $(STAMP_TEST) ## Plant every bug once (BUGS=names: only these): its suite must find it
	@$(BIN)/python -m tests.planted $(BUGS)

.PHONY: bench
bench: $(STAMP_TEST) ## Run every benchmark
	@for bench in benchmarks/bench_*.py; do \
	  [ -e "$$bench" ] || { echo "no benchmarks yet"; break; }; \
	  echo "==> $$bench"; $(BIN)/python "$$bench" || exit 1; \
	done

.PHONY: bench-registry
bench-registry: $(STAMP_PEER) ## Run the benchmark of the registry, beside its peer
	@$(BIN)/python benchmarks/bench_registry.py

.PHONY: figures
figures: $(STAMP_TEST) ## Measure, and write the figures of README.md and docs
	@$(BIN)/python benchmarks/write_figures.py

# ------------------------------------------------------------------------------------- checks
.PHONY: check
check: lint types layers docs ## Lint, types, layers, documentation

.PHONY: lint
lint: $(STAMP_CHECK) ## ruff: rules and format
	@echo "==> ruff"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || \
	  { $(BIN)/ruff format --diff --quiet . | head -40; echo "make format mends this" >&2; exit 1; }

.PHONY: format
format: $(STAMP_CHECK) ## Format the code and mend what ruff can
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

.PHONY: types
types: $(STAMP_CHECK) ## mypy, strict
	@echo "==> mypy"
	@$(BIN)/mypy

.PHONY: layers
layers: $(STAMP_CHECK) ## import-linter: who may import whom
	@echo "==> import-linter"
	@$(BIN)/lint-imports --no-logo --no-cache

.PHONY: docs
docs: $(STAMP_DOCS) ## Build the documentation; every warning is an error
	@echo "==> sphinx"
	@rm -rf docs/reference/generated
	@$(BIN)/python -m sphinx --builder html --fresh-env --nitpicky --fail-on-warning --keep-going --quiet \
	  docs docs/_build/html
	@echo "docs/_build/html/index.html"

# ------------------------------------------------------------------------------------- upkeep
.PHONY: constraints
constraints: ## Pin anew, in constraints.txt, what .[dev] resolves to today
	@echo "==> resolving the newest versions in $(VENV)-constraints"
	@rm -rf $(VENV)-constraints
	@$(PYTHON) -m venv $(VENV)-constraints
	@$(subst $(BIN),$(VENV)-constraints/bin,$(PIP)) install --quiet --editable '.[dev]'
	@{ echo "# The versions that quantumio is developed and tested with, on its oldest Python."; \
	   echo "# Written by 'make constraints'; not edited by hand."; \
	   $(subst $(BIN),$(VENV)-constraints/bin,$(PIP)) list --format=freeze --exclude-editable \
	     --exclude pip --exclude setuptools --exclude wheel; } > constraints.txt.new
	@mv constraints.txt.new constraints.txt
	@rm -rf $(VENV)-constraints
	@echo "$$(grep -c == constraints.txt) versions in constraints.txt"

.PHONY: clean
clean: ## Remove .venv and everything that was built
	@rm -rf $(VENV) $(VENV)-constraints build dist docs/_build docs/reference/generated demo-output
	@rm -rf .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
