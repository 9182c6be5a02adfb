# Everything is done in .venv, made from constraints.txt. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check fix bench clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "offhook needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable . --group dev
	@touch $@

demo: $(VENV)/installed  ## a conversation with the example bot, then stays up (ARGS=--once ends it)
	$(BIN)/offhook demo $(ARGS)

test: check  ## format, lint, types, layering, then every test but the long ones
	$(BIN)/python -m pytest -m 'not long' $(ARGS)

check: $(VENV)/installed  ## format, lint, types, layering
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fix: $(VENV)/installed  ## format, and mend what the linter can
	$(BIN)/ruff check --fix --unsafe-fixes .
	$(BIN)/ruff format .

bench: $(VENV)/installed  ## the benchmarks, each a ratio within one run
	$(BIN)/python -m benchmarks.acknowledge $(ARGS)

clean:  ## removes what the targets above made
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
