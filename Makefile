PYTHON ?= python3
PYTHON_ADDONS ?= $(PYTHON)
VENV ?= .venv
VENV_ADDONS ?= .venv-addons
WORKERS ?= 2
BIN := $(VENV)/bin
BIN_ADDONS := $(VENV_ADDONS)/bin
STAMP := $(VENV)/.installed
STAMP_ADDONS := $(VENV_ADDONS)/.installed
PYTEST := pytest -n $(WORKERS) --dist loadfile

# tests/test_two_stacks.py passes work between the two environments, where both exist.
test test-fast: export BLITZNET_OTHER_PYTHON := $(abspath $(BIN_ADDONS))/python
test-addons: export BLITZNET_OTHER_PYTHON := $(abspath $(BIN))/python

.DEFAULT_GOAL := help
.PHONY: help setup setup-addons test test-fast test-addons lint format quickstart smoke hooks clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## the virtual environment .venv with everything in it (PYTHON=... chooses the Python)

$(STAMP): setup.py pyproject.toml
	$(PYTHON) tools/setup_venv.py $(VENV)
	@touch $@

setup-addons: $(STAMP_ADDONS)  ## .venv-addons: TensorFlow 2.15, tensorflow-addons (PYTHON_ADDONS=...)

$(STAMP_ADDONS): setup.py pyproject.toml
	$(PYTHON_ADDONS) tools/setup_venv.py $(VENV_ADDONS) --addons
	@touch $@

test: $(STAMP)  ## all tests (WORKERS=2 processes)
	$(BIN)/$(PYTEST)

test-fast: $(STAMP)  ## the tests without the slow ones
	$(BIN)/$(PYTEST) -m "not slow"

test-addons: $(STAMP) $(STAMP_ADDONS)  ## all tests on .venv-addons, and across both environments
	$(BIN_ADDONS)/$(PYTEST)

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
	@set -e; for tool in $$(grep -rl --include='*.py' '__main__' tools | sort); do \
		module=$$(echo $${tool%.py} | tr / .); module=$${module%.__main__}; \
		echo "python -m $$module --help"; $(BIN)/python -m $$module --help > /dev/null; done

hooks: $(STAMP)  ## run the checks of .pre-commit-config.yaml at every commit
	$(BIN)/pre-commit install

clean:  ## remove .venv, .venv-addons and caches; data/ and archive/ stay
	rm -rf $(VENV) $(VENV_ADDONS) *.egg-info build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
