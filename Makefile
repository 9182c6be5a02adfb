# Everything is done in .venv, made from constraints.txt. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
TESTS := -m 'not long' --numprocesses 5 --dist loadfile --no-loadscope-reorder

# Where it is set, each of the hundreds of processes that the tests start would compile offhook anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check collected fix bench fuzz crash proxies docs pictures model clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "offhook needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[postgres,redis,otel,dev]' --group dev
	@touch $@

.venv-peers/installed: pyproject.toml benchmarks/peers/constraints.txt
	$(call environment,.venv-peers,peers,benchmarks/peers/constraints.txt)

.venv-arq/installed: pyproject.toml benchmarks/peers/constraints-arq.txt
	$(call environment,.venv-arq,peer-arq,benchmarks/peers/constraints-arq.txt)

define environment
	$(PYTHON) -m venv --clear $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(3) 'pip>=25.1'
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(3) --group $(2)
	@touch $(1)/installed
endef

demo: $(VENV)/installed  ## a conversation with the example bot, then stays up (ARGS=--once ends it)
	$(BIN)/offhook demo $(ARGS)

test: $(VENV)/installed  ## format, lint, types, layering, then every test but the long ones
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target types style collected
	$(BIN)/python -m pytest $(TESTS) $(ARGS)

# In parallel with the linters; the test processes then find the tests compiled.
collected: $(VENV)/installed
	@said=$$($(BIN)/python -m pytest $(TESTS) --numprocesses 0 --collect-only --quiet) \
	  || { echo "$$said"; exit 1; }

.PHONY: steady
steady: $(VENV)/installed  ## the tests ten times, while something else keeps a core busy (ARGS="--runs 2")
	$(BIN)/python -m tools.steady $(TESTS) $(ARGS)

check: style types  ## format, lint, types, layering

.PHONY: style types
style: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/installed
	$(BIN)/mypy

fix: $(VENV)/installed  ## format, and mend what the linter can
	$(BIN)/ruff check --fix --unsafe-fixes .
	$(BIN)/ruff format .

bench: $(VENV)/installed .venv-peers/installed .venv-arq/installed  ## beside what else one would build: 15 minutes (ARGS=--quick: 5)
	$(BIN)/python -m benchmarks.compare $(ARGS)

.PHONY: bench-all soak users
bench-all: $(VENV)/installed .venv-peers/installed .venv-arq/installed  ## the same with every peer: 40 minutes
	$(BIN)/python -m benchmarks.compare --all $(ARGS)

soak: $(VENV)/installed  ## half of the maximum for half an hour: nothing lost, memory and p99 flat (ARGS="--minutes 2")
	$(BIN)/python -m benchmarks.soak $(ARGS)

users: $(VENV)/installed  ## 10,000 open connections, 100,000 conversations
	$(BIN)/python -m benchmarks.users $(ARGS)

.PHONY: observed
observed: $(VENV)/installed  ## what metrics, alerts, the log and five dashboards cost; and a webhook's steps
	$(BIN)/python -m benchmarks.counting
	$(BIN)/python -m benchmarks.cost
	$(BIN)/python -m benchmarks.observed $(ARGS)

.PHONY: inbox
inbox: $(VENV)/installed  ## what the dashboard asks of a million messages, each within 200 ms: 5 minutes (ARGS="--store sqlite")
	$(BIN)/python -m benchmarks.dashboard $(ARGS)

.PHONY: guard
guard: $(VENV)/installed  ## the cache and its Redis, Redis gone under load, a flood of forgeries: 8 minutes
	$(BIN)/python -m benchmarks.cache
	$(BIN)/python -m benchmarks.redis_outage
	$(BIN)/python -m benchmarks.flood

.PHONY: stores
stores: $(VENV)/installed  ## both stores by themselves, and a claim's time when a million waits: 10 minutes (ARGS=--quick)
	$(BIN)/python -m benchmarks.stores $(ARGS)

fuzz: $(VENV)/installed  ## 1,000,000 odd requests in-process, 100,000 over sockets (FUZZ_SEED=n; atheris if installed)
	$(BIN)/python -m pytest tests/fuzz -m long -s $(ARGS)
	$(BIN)/python -m tests.fuzz.coverage_guided -runs=500000

crash: $(VENV)/installed  ## kills at random moments, and all ways beside all else; nothing may be lost (CRASH_KILLS=n)
	$(BIN)/python -m pytest tests/crash -m long -s $(ARGS)

proxies: $(VENV)/installed  ## all ways through a real nginx, and what each is answered (needs nginx-light)
	$(BIN)/python -m tests.proxies.table

model: $(VENV)/installed  ## many long random histories of the protocol, on a model and on both stores
	$(BIN)/python -m pytest tests/conformance/test_model.py -m long $(ARGS)

docs: $(VENV)/installed  ## those parts of the documentation that are made from code, made anew
	$(BIN)/python -m tools.pages.plots
	$(BIN)/python -m tools.pages
	$(BIN)/python -m tools.deploy

pictures: $(VENV)/installed  ## the documentation's screenshots, taken anew (needs a Chromium)
	$(BIN)/python -m tests.browser.pictures
	$(BIN)/python -m tools.pages.picture

.venv-site/installed: pyproject.toml constraints.txt
	$(call environment,.venv-site,site,constraints.txt)

.PHONY: dist
dist: $(VENV)/installed  ## the wheel and the sdist, in dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation

.PHONY: site
site: $(VENV)/installed .venv-site/installed  ## the documentation as a site with search, in build/site/html (ARGS="--source URL")
	$(BIN)/python -m tools.site $(ARGS)

clean:  ## removes what the targets above made
	rm -rf $(VENV) .venv-peers .venv-arq .venv-site .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
