# Every target makes .venv and installs the pinned dependencies by itself where they are missing.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# one worker a core of the smallest machine the tests are meant for; a file stays on one, in the order of the files
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder

$(STAMP): requirements-dev.lock requirements-bootstrap.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo 'installing the pinned dependencies into $(VENV) …'
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); echo 'Python could not make $(VENV); on Debian: apt-get install python3-venv'; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements-dev.lock
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q ensemble_pipeline
	@touch $@

.PHONY: help install demo up test test-all check format bench lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP)  ## create .venv and install the pinned dependencies

demo: $(STAMP)  ## play a synthetic world through the whole pipeline, with the UI on 127.0.0.1:3000
	@exec $(BIN)/ensemble demo $(ARGS)

up: $(STAMP)  ## run against the real world in paper mode (needs provider keys in the environment)
	@exec $(BIN)/ensemble up $(ARGS)

test: $(STAMP)  ## run the tests (under 10 minutes on 2 cores)
	@$(BIN)/python -m pytest $(WORKERS) $(ARGS)

test-all: $(STAMP)  ## run the tests, the slow ones too, and properties on ten times as many examples
	@$(BIN)/python -m pytest $(WORKERS) -m 'slow or not slow' --hypothesis-profile=thorough $(ARGS)

check: $(STAMP)  ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP)  ## format the code and apply safe fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP)  ## run the benchmarks; each prints a ratio against a named alternative
	@$(BIN)/python -m benchmarks $(ARGS)

lock: $(STAMP)  ## resolve the dependencies again and write the lock files
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade requirements-bootstrap.in -o requirements-bootstrap.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade requirements-dev.in -o requirements-dev.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header -c requirements-dev.lock requirements.in -o requirements.lock

clean:  ## remove .venv and caches; data folders stay
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
