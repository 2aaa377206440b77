# The two commands of the README (demo, test) and what CI runs besides (check). Needs Python >= 3.11, git and make.

VENV := .venv
BIN := $(VENV)/bin
BENCH := var/bench
SOURCES := serve logproc tests benchmarks kibana pipelines deploy docs/generate_settings.py

# The first interpreter that is new enough and can make virtual environments: python3, else the newest python3.x.
ifndef PYTHON
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$python"; break; }; \
	done)
endif

.DEFAULT_GOAL := help
.PHONY: help demo test check bench torture nightly page clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# With ELASTICSEARCH=URL the documents go there; its client is one of the packages for development.
demo: $(VENV)/installed$(if $(ELASTICSEARCH),-dev) ## play an inference server with two incidents, and watch logproc see them (Ctrl-C ends it)
	@$(BIN)/logproc demo $(if $(ELASTICSEARCH),--elasticsearch $(ELASTICSEARCH))

test: $(VENV)/installed-dev ## run all tests; those whose server is not installed are skipped with the reason
	@$(BIN)/python -m pytest

check: $(VENV)/installed-dev ## ruff (lint and format) and mypy (strict)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy

KILLS ?= 1000
torture: $(VENV)/installed-dev ## kill logproc a thousand times amid rotation, and recount everything (half an hour; KILLS=100 for less)
	@$(BIN)/python -m tests.torture --kills $(KILLS)

bench: $(VENV)/installed-dev $(BENCH)/million.jsonl $(BENCH)/million_full.jsonl ## measure speed, freshness and cost (20 minutes; mtail and rsyslog beside us)
	$(BIN)/python benchmarks/measure_speed.py $(BENCH)/million.jsonl
	$(BIN)/python benchmarks/own_commands.py $(BENCH)/million.jsonl $(BENCH)/million_full.jsonl
	$(BIN)/python benchmarks/alerts_cost.py $(BENCH)/million.jsonl $(BENCH)/million_full.jsonl
	$(BIN)/python benchmarks/freshness.py
	$(BIN)/python benchmarks/idle.py
	$(BIN)/python benchmarks/scrape.py
	$(BIN)/python benchmarks/peers.py $(BENCH)/million.jsonl

$(BENCH)/million.jsonl $(BENCH)/million_full.jsonl:
	@mkdir -p $(BENCH)
	@$(BIN)/python benchmarks/make_log.py 1000000 $@ $(if $(findstring full,$@),--full)

nightly: $(VENV)/installed-dev ## the models of following and delivery with many examples, 200 kills over Elasticsearch, both tortures
	@LOGPROC_EXAMPLES=5000 $(BIN)/python -m pytest tests/tailing/test_follower_model.py --timeout 3600
	@LOGPROC_EXAMPLES=1000 $(BIN)/python -m pytest tests/notify/test_delivery_model.py --timeout 3600
	@LOGPROC_KILLS=200 LOGPROC_OUTAGE_S=60 $(BIN)/python -m pytest -rP tests/e2e/test_elasticsearch_exact.py
	@$(BIN)/python -m tests.torture --kills $(KILLS)
	@$(BIN)/python -m tests.torture.notify --rounds $(KILLS)

page: page/node_modules/.package-lock.json ## build the web page into logproc/web/assets (needs Node >= 18 and npm; users need neither)
	@cd page && npm run --silent build

page/node_modules/.package-lock.json: page/package.json page/package-lock.json
	@cd page && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && touch node_modules/.package-lock.json

clean: ## remove the virtual environment and caches; logs and databases stay
	rm -rf $(VENV) page/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find serve logproc tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is younger than pyproject.toml while the environment holds what pyproject.toml asks for.
$(VENV)/installed $(VENV)/installed-dev: pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "logproc needs Python 3.11 or newer with venv (on Debian: apt install python3-venv)." \
		"Found: $$(python3 --version 2>&1). Name another one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version) (about half a minute) ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.$(if $(findstring dev,$@),[dev])'
	@touch $@
