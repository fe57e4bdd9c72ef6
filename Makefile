# The commands of popwatch's developers and of those who try it. `make` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
STACK ?= popwatch

export SAM_CLI_TELEMETRY := 0
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install run test check docs build deploy bench chaos fuzz mutants sbom audit clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/run.installed ## install popwatch and what it runs on into .venv

run: $(VENV)/run.installed ## watch servers here: the whole stack, without an AWS account (TARGETS=file.yaml for your own, KEEP=1 to go on next time)
	@exec $(BIN)/python -m popwatch_cli.local $(if $(TARGETS),--targets "$(TARGETS)") $(if $(filter-out 0 no off false,$(KEEP)),--keep)

test: $(VENV)/dev.installed ## run the tests, but for those that need root, Debian packages or minutes
	$(BIN)/pytest -m "not debian and not fresh and not deploys and not lambda_runtime and not faults and not long" -n 4 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

check: docs ## lint, types, import rules, template, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy layers/popwatch/popwatch cli/popwatch_cli functions tests
	$(BIN)/lint-imports
	$(BIN)/cfn-lint template.yaml
	AWS_DEFAULT_REGION=us-east-1 $(BIN)/sam validate --lint

docs: $(VENV)/dev.installed ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

build: $(VENV)/run.installed ## build the function and its layer into .aws-sam
	$(BIN)/sam build

deploy: build ## deploy to your AWS account; asks what was not answered (STACK=name ASK=1 PARAMETERS="Name=value ...")
	@$(BIN)/python -m popwatch_cli.start deploying --stack "$(STACK)" $(if $(ASK),--ask)

bench: $(VENV)/dev.installed ## measure, all or some (BENCH="prober rtt"); WRITE=1 puts it into docs/measurements.md
	$(BIN)/python -m tests.bench.measure $(BENCH) $(if $(WRITE),--write)

chaos: $(VENV)/dev.installed ## look for lost and invented alerts in simulated months of failures (SEED=word HOURS=n WRITE=1; LIVE=1 MINUTES=n on the stack)
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed "$(SEED)") $(if $(HOURS),--hours $(HOURS)) \
		$(if $(ONLY),--only "$(ONLY)") $(if $(LIVE),--live) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(WRITE),--write)

fuzz: $(VENV)/dev.installed ## fuzz what reads bytes of servers, files and tables (SECONDS=60 or EXECUTIONS=n for each; CHECKS=conversation for one; WRITE=1)
	@$(PIP) --no-deps --requirement requirements/fuzz.txt 2> /dev/null || echo "Atheris cannot be installed here: bytes come by chance."
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60) $(if $(EXECUTIONS),--executions $(EXECUTIONS)) \
		$(if $(WRITE),--write) $(CHECKS)

mutants: $(VENV)/dev.installed ## change what decides and see whether a test notices; into .mutants/mutants.md (SECONDS=1800 WRITE=1)
	@$(PIP) --no-deps --requirement requirements/mutants.txt
	@$(BIN)/python -m tests.mutants --seconds $(or $(SECONDS),1800) $(if $(WRITE),--write)

sbom: $(VENV)/dev.installed ## write what is deployed into .aws-sam/popwatch.cdx.json (CycloneDX 1.6)
	@$(BIN)/python -m tests.supply.sbom .aws-sam/popwatch.cdx.json

audit: $(VENV)/dev.installed ## ask PyPI's advisories about every pinned package (needs PyPI)
	@$(PIP) --target .popwatch/audit --requirement requirements/audit.txt
	@set -e; for file in layers/popwatch/requirements.txt requirements/*.txt; do echo "$$file"; \
		PYTHONPATH=.popwatch/audit $(BIN)/python -m pip_audit --strict --no-deps --disable-pip --requirement "$$file"; done

clean: ## remove what was built and installed here
	rm -rf $(VENV) site .aws-sam .mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	[ ! -d .popwatch ] || find .popwatch -mindepth 1 -maxdepth 1 ! -name '*.toml' ! -name 'kept.*' -exec rm -rf {} + # answers are not built, nor is what KEEP=1 keeps
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "popwatch needs Python 3.11 or later, and '$(PYTHON)' is not: run make with PYTHON=/path/to/python3.13." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Python cannot make a virtual environment here: on Debian and Ubuntu, install python3-venv." >&2; exit 1; }

$(VENV)/run.installed: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing what popwatch runs on into $(VENV): a minute or two, once."
	@$(PIP) --no-deps --requirement requirements/run.txt || { \
		echo "The packages could not be installed: is PyPI, or your mirror of it, within reach?" >&2; exit 1; }
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.installed: requirements/dev.txt requirements/docs.txt $(VENV)/run.installed
	@echo "Installing what the tests need into $(VENV)."
	@$(PIP) --no-deps --requirement requirements/dev.txt --requirement requirements/docs.txt || { \
		echo "The packages could not be installed: is PyPI, or your mirror of it, within reach?" >&2; exit 1; }
	@touch $@
