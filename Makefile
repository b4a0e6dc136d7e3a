PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup test test-fast lint format quickstart smoke hooks clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## the virtual environment .venv with everything in it (PYTHON=... chooses the Python)

$(STAMP): setup.py pyproject.toml
	$(PYTHON) tools/setup_venv.py $(VENV)
	@touch $@

test: $(STAMP)  ## all tests (WORKERS=2 processes)
	$(PYTEST)

test-fast: $(STAMP)  ## the tests without the slow ones
	$(PYTEST) -m "not slow"

lint: $(STAMP)  ## style and likely faults, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)  ## put the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

quickstart: $(STAMP)  ## draw a data set, train, evaluate, export, in quickstart/
	$(BIN)/python -m tools.quickstart

smoke: $(STAMP)  ## every entry point answers --help
	@set -e; for script in training.py test.py; do \
		echo "$$script --help"; $(BIN)/python $$script --help > /dev/null; done
	@set -e; for tool in $$(grep -l '__main__' tools/*.py); do \
		module=tools.$$(basename $$tool .py); \
		echo "python -m $$module --help"; $(BIN)/python -m $$module --help > /dev/null; done

hooks: $(STAMP)  ## run the checks of .pre-commit-config.yaml at every commit
	$(BIN)/pre-commit install

clean:  ## remove .venv and caches; data/ and archive/ stay
	rm -rf $(VENV) *.egg-info build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
