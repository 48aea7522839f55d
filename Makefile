# Each target does its own set-up, in .venv. `make help` lists them.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
WORKERS ?= auto

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 14

demo: $(VENV)/.installed-demo  ## LeNet on real handwritten digits, from module to TensorRT plan
	@$(BIN)/trtnet demo

test: lint  ## ruff, mypy and the whole test suite
	$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/.installed-test  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.installed-test  ## every benchmark: a table each, and benchmarks/results/*.json
	@set -e; for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

clean:  ## remove .venv and everything that the other targets made
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

# .installed-demo and .installed-test: trtnet, editable, with that extra.
$(VENV)/.installed-%: pyproject.toml constraints.txt hatch_build.py | $(BIN)/python
	@echo "Installing trtnet[$*] into $(VENV) (the first time downloads several hundred MB)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	    echo "trtnet needs Python 3.10 or newer, and there is no '$(PYTHON)' here. Try: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "trtnet needs Python 3.10 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
